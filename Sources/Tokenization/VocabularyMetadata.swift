/// A tokenizer as GGUF's metadata states it: the values under `tokenizer.ggml.`, nil or empty where a key is missing.
package struct VocabularyMetadata: Sendable {
    /// `gpt2` for byte-level BPE, `llama` for SentencePiece.
    package var model: String
    /// The name of the pattern that cuts text into words.
    package var pre: String?
    package var tokens: [String]
    package var scores: [Float] = []
    /// 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte.
    package var tokenTypes: [Int32] = []
    /// `left right`, the earliest first.
    package var merges: [String] = []
    package var beginningOfText: Int?
    package var endOfText: Int?
    package var unknown: Int?
    package var padding: Int?
    package var addsBeginning: Bool?
    package var addsEnd: Bool?
    package var addsSpacePrefix: Bool?
    package var removesExtraWhitespace: Bool?
    package var precompiledCharacterMap: [UInt8] = []

    package init(model: String, pre: String? = nil, tokens: [String]) {
        self.model = model
        self.pre = pre
        self.tokens = tokens
    }
}

extension VocabularyMetadata {
    /// What GGUF's `token_type` says of a token.
    enum TokenType: Int32 {
        case normal = 1
        case unknown, control, userDefined, unused, byte
    }

    /// The type of a token; those of files without types are normal.
    func type(of id: Int) -> TokenType {
        id < tokenTypes.count ? TokenType(rawValue: tokenTypes[id]) ?? .normal : .normal
    }
}
