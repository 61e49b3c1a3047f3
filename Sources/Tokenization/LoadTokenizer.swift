package import Diagnostics

/// Loads the tokenizer of a model folder (its tokenizer.json, or else its tokenizer.model), or from such a file.
///
/// The names of the tokens that begin and end a text come from the tokenizer_config.json beside a tokenizer.json, or
/// else from its special_tokens_map.json. A folder's tokenizer.model gets its special tokens from there too; a `.model`
/// file by itself behaves as SentencePiece does, which finds no control token in a text and adds none.
///
/// - Throws: a `TokenizerCode` or `JSONCode`, with the file that is wrong.
package func loadTokenizer(at path: String) throws(Diagnostic) -> any TextTokenizer {
    switch FileBytes.kind(path) {
    case .missing:
        throw Diagnostic(
            TokenizerCode.missing, file: path, found: "nothing", expected: "a model folder or a tokenizer's file")
    case .folder:
        for name in ["tokenizer.json", "tokenizer.model", "spiece.model", "sentencepiece.bpe.model"] {
            let file = path + "/" + name
            if FileBytes.kind(file) != .missing {
                return try loadTokenizerFile(file, configuration: .init(folder: path, isModelFolder: true))
            }
        }
        throw Diagnostic(
            TokenizerCode.missing, file: path, found: "a folder without a tokenizer",
            expected: "tokenizer.json or tokenizer.model")
    case .file:
        let folder = path.lastIndex(of: "/").map { path[..<$0].isEmpty ? "/" : String(path[..<$0]) } ?? "."
        return try loadTokenizerFile(path, configuration: .init(folder: folder, isModelFolder: false))
    }
}

private func loadTokenizerFile(
    _ path: String, configuration: TokenizerConfiguration
) throws(Diagnostic) -> any TextTokenizer {
    return try FileBytes.read(path, maximum: TokenizerLimit.fileBytes) { bytes throws(Diagnostic) in
        // A serialised model begins with the tag of its first piece, which in JSON is a line's end.
        if path.hasSuffix(".json") || !path.hasSuffix(".model") && bytes.first != 0x0A {
            return try Tokenizer(tokenizerJSON: bytes, file: path, names: configuration.names)
        }
        guard configuration.isModelFolder else { return try SentencePieceTokenizer(model: bytes, file: path) }
        return try SentencePieceTokenizer(model: bytes, file: path, configuration)
    }
}
