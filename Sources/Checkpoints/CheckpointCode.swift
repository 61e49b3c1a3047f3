package import Diagnostics

/// What can be wrong with the checkpoints of a run, or with the folder that holds them.
package enum CheckpointCode: String, DiagnosticCode, CaseIterable {
    /// Every published checkpoint is damaged.
    case damaged = "E-CHECKPOINT-DAMAGED"
    /// Another process writes to the folder.
    case busy = "E-RUN-BUSY"

    package var exit: ExitStatus {
        switch self {
        case .damaged: .badData
        case .busy: .busy
        }
    }
}
