import Autograd
import Diagnostics

extension ExampleEncoder {
    typealias Outcome = Result<EncodedRecord?, Diagnostic>

    /// Encodes every conversation, in their order; the result does not depend on the number of threads.
    func encodeAll(_ conversations: [Conversation], threads: ThreadPool?) -> [Outcome] {
        guard let threads, threads.count > 1, conversations.count > 1 else { return conversations.map(outcome) }
        var outcomes = [Outcome?](repeating: nil, count: conversations.count)
        outcomes.withUnsafeMutableBufferPointer { outcomes in
            // Each index is written once, by whichever thread takes it.
            threads.forEachRange(conversations.count, grain: 16) { range, _ in
                for index in range { outcomes[index] = outcome(conversations[index]) }
            }
        }
        return zip(conversations, outcomes).map { $1 ?? outcome($0) }
    }

    private func outcome(_ conversation: Conversation) -> Outcome {
        Result { () throws(Diagnostic) in try encode(conversation) }
    }
}
