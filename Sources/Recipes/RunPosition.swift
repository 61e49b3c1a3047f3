import Diagnostics
import Formats
import Models
import StrictJSON

/// How far a run has come: what a checkpoint holds beside the trainer's tensors.
struct RunPosition {
    /// Row tokens that were trained on.
    var tokens = 0
    var lastLoss = 0.0
    /// Of training, the time before an interruption included.
    var trainSeconds = 0.0
    /// The length of metrics.jsonl: what a stopped run wrote after its checkpoint is written once more.
    var metricsBytes = 0
    /// The lowest loss on held-out rows, and the step that had it.
    var best: (step: Int, loss: Double)?
    /// The step of the checkpoint from which this process went on.
    var resumedFrom: Int?
    /// What had changed when the run went on, and was allowed to.
    var drift: [String] = []
    var watchdog = LossWatchdog()

    init() {}

    /// - Throws: `RunCode.checkpoint` if the checkpoint's state has not this form.
    init(_ state: JSONValue, step: Int, file: String) throws(Diagnostic) {
        guard let tokens = state["tokens"]?.integer, let loss = state["last_loss"]?.number,
            let seconds = state["train_seconds"]?.number, let bytes = state["metrics_bytes"]?.integer, bytes >= 0
        else { throw Self.unreadable(file) }
        (self.tokens, lastLoss, trainSeconds, metricsBytes, resumedFrom) = (tokens, loss, seconds, bytes, step)
        if let best = state["best"], let step = best["step"]?.integer, let loss = best["loss"]?.number {
            self.best = (step, loss)
        }
        watchdog = LossWatchdog(state["watchdog"])
        drift = state["drift"]?.array?.compactMap(\.string) ?? []
    }

    func state(_ memory: MemoryPlan, _ identity: RunIdentity) -> JSONValue {
        .object([
            "tokens": .integer(tokens), "last_loss": .number(lastLoss), "train_seconds": .number(trainSeconds),
            "metrics_bytes": .integer(metricsBytes),
            "best": best.map { .object(["step": .integer($0.step), "loss": .number($0.loss)]) } ?? .null,
            "watchdog": watchdog.json, "memory": memory.json, "identity": identity.json,
            "drift": .array(drift.map(JSONValue.string)),
        ])
    }

    static func unreadable(_ file: String) -> Diagnostic {
        Diagnostic(
            RunCode.checkpoint, file: file, found: "a state of another form", expected: "that of this version",
            fix: "Go on with the version that wrote it, or start again with --fresh")
    }
}
