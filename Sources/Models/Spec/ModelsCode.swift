package import Diagnostics

package enum ModelsCode: String, DiagnosticCode, CaseIterable {
    /// The architecture, or an option of it, is not supported.
    case unsupported = "E-MODEL-UNSUPPORTED"
    /// A key of config.json or of the GGUF metadata is missing or out of range.
    case config = "E-MODEL-CONFIG"
    /// A tensor that the config asks for is missing, has another shape, or has no place.
    case tensor = "E-MODEL-TENSOR"
    case missing = "E-MODEL-MISSING"
    case adapter = "E-ADAPTER-MISMATCH"
    case targets = "E-ADAPTER-TARGETS"
    case prompt = "E-PROMPT"
    /// What an adapter says of its base cannot be read.
    case origin = "E-ADAPTER-ORIGIN"
    /// The base is not the one that the adapter was trained on.
    case otherBase = "E-ADAPTER-BASE"
    /// The weights of the base cannot hold what the adapter says.
    case merge = "E-MERGE"

    package var exit: ExitStatus {
        switch self {
        case .missing: .missingInput
        case .targets: .badRecipe
        case .otherBase: .refused
        default: .badData
        }
    }
}
