package import Diagnostics

/// What can be wrong with a tokenizer's files.
package enum TokenizerCode: String, DiagnosticCode, CaseIterable {
    /// A key is missing or holds a value of the wrong type.
    case structure = "E-TOKENIZER-STRUCTURE"
    case unsupported = "E-TOKENIZER-UNSUPPORTED"
    case vocabulary = "E-TOKENIZER-VOCABULARY"
    case merges = "E-TOKENIZER-MERGES"
    case addedToken = "E-TOKENIZER-ADDED-TOKEN"
    case pattern = "E-TOKENIZER-PATTERN"
    case characterMap = "E-TOKENIZER-CHARACTER-MAP"
    case limit = "E-TOKENIZER-LIMIT"
    case sentencePiece = "E-TOKENIZER-SENTENCEPIECE"
    case missing = "E-TOKENIZER-MISSING"
    case unreadable = "E-TOKENIZER-READ"

    package var exit: ExitStatus {
        switch self {
        case .missing: .missingInput
        case .unreadable: .inputOutput
        default: .badData
        }
    }
}

/// The bounds that keep a hostile file from costing more than its size.
enum TokenizerLimit {
    /// Ids are indices of arrays: one far id must not allocate gigabytes.
    static let tokenID = 1 << 22
    /// Every search for a longest match may walk a token's whole length at every position of a text.
    static let searchedTokenBytes = 1024
    static let fileBytes = 1 << 29
}
