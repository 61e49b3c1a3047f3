package import Diagnostics

package enum TrainingCode: String, DiagnosticCode, CaseIterable {
    /// The inputs or hyperparameters of a comparison are missing or do not fit.
    case parityInputs = "E-PARITY-INPUTS"
    /// Compared, and not within the tolerance.
    case parity = "E-PARITY"
    /// The loss or a gradient is no longer a number.
    case diverged = "E-TRAIN-DIVERGED"
    /// A checkpoint holds the state of another adapter.
    case state = "E-TRAIN-STATE"

    package var exit: ExitStatus { .badData }
}
