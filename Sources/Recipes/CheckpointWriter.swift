import Checkpoints
import Diagnostics
import Dispatch
import Formats
import StrictJSON
import Synchronization

/// Saves beside the training: a thread of its own writes one checkpoint at a time, from values that are as they were when
/// the save began, while the next steps change copies.
final class CheckpointWriter: Sendable {
    struct Request: Sendable {
        let step: Int
        let tensors: [OutgoingTensor]
        let state: JSONValue
        /// A step whose checkpoint stays however old it is.
        let best: Int?
    }

    struct Outcome: Sendable {
        let step: Int
        let seconds: Double
        /// nil: the checkpoint survives a power cut.
        let error: Diagnostic?
    }

    private let store: CheckpointStore
    private let queue = DispatchQueue(label: "espalier.checkpoints")
    private let outcomes = Mutex<[Outcome]>([])

    init(_ store: CheckpointStore) { self.store = store }

    /// Begins to save; the one before must have ended.
    func begin(_ request: Request) {
        queue.async { [self] in
            let clock = ContinuousClock()
            let start = clock.now
            var failure: Diagnostic?
            do throws(Diagnostic) {
                try store.publish(
                    step: request.step, tensors: request.tensors, state: request.state, best: request.best)
            } catch { failure = error }
            let outcome = Outcome(step: request.step, seconds: (clock.now - start).inSeconds, error: failure)
            outcomes.withLock { $0.append(outcome) }
        }
    }

    /// What became of the last save; nil if that was said before, or it is still going on.
    func outcome() -> Outcome? { outcomes.withLock { $0.popLast() } }

    /// Waits until nothing is being saved.
    func wait() { queue.sync {} }
}
