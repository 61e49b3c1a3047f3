package import Diagnostics

/// What can be wrong with a recipe.
package enum RecipeCode: String, DiagnosticCode, CaseIterable {
    /// The text is no YAML, or uses what a recipe may not use: anchors, aliases, tags, merge keys, several documents.
    case syntax = "E-RECIPE-SYNTAX"
    case limit = "E-RECIPE-LIMIT"
    case unknownKey = "E-RECIPE-KEY"
    case missingKey = "E-RECIPE-MISSING-KEY"
    case type = "E-RECIPE-TYPE"
    case range = "E-RECIPE-RANGE"
    case path = "E-RECIPE-PATH"
    /// Two keys that do not go together.
    case conflict = "E-RECIPE-CONFLICT"
    /// The recipe's file is a folder, a pipe or the like.
    case file = "E-RECIPE-FILE"
    /// `--set` without a key or a value.
    case argument = "E-RECIPE-SET"

    /// The run needs more memory than it may take.
    case memory = "E-RECIPE-MEMORY"
    /// The recipe asks for a precision or a provider that this machine has not got.
    case machine = "E-RECIPE-MACHINE"

    package var exit: ExitStatus {
        switch self {
        case .argument: .usage
        case .memory, .machine: .unavailable
        default: .badRecipe
        }
    }
}
