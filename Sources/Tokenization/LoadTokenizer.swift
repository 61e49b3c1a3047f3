package import Diagnostics
import StrictJSON

/// Loads the tokenizer of a model folder (its tokenizer.json, or else its tokenizer.model), or from such a file.
///
/// The names of the tokens that begin and end a text come from the tokenizer_config.json beside the file, or else from
/// its special_tokens_map.json.
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
            if FileBytes.kind(file) != .missing { return try loadTokenizerFile(file, folder: path) }
        }
        throw Diagnostic(
            TokenizerCode.missing, file: path, found: "a folder without a tokenizer",
            expected: "tokenizer.json or tokenizer.model")
    case .file:
        let folder = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
        return try loadTokenizerFile(path, folder: folder.isEmpty ? "/" : folder)
    }
}

private func loadTokenizerFile(_ path: String, folder: String) throws(Diagnostic) -> any TextTokenizer {
    let names = try specialNames(in: folder)
    return try FileBytes.read(path, maximum: TokenizerLimit.fileBytes) { bytes throws(Diagnostic) in
        try Tokenizer(tokenizerJSON: bytes, file: path, names: names)
    }
}

private func specialNames(in folder: String) throws(Diagnostic) -> Tokenizer.SpecialNames {
    var names = Tokenizer.SpecialNames()
    for file in ["tokenizer_config.json", "special_tokens_map.json"] {
        let path = folder + "/" + file
        guard FileBytes.kind(path) == .file else { continue }
        let found = try FileBytes.read(path, maximum: 1 << 26) { bytes throws(Diagnostic) in
            do throws(Diagnostic) {
                let root = try JSONSection(try JSONValue(parsing: bytes), path: "")
                return (try root.tokenName("bos_token"), try root.tokenName("eos_token"))
            } catch {
                throw error.inFile(path)
            }
        }
        names.beginning = names.beginning ?? found.0
        names.end = names.end ?? found.1
    }
    return names
}

extension JSONSection {
    /// A token given as its text, or as an object with its text under `content`.
    fileprivate func tokenName(_ key: String) throws(Diagnostic) -> String? {
        guard let value = value(key) else { return nil }
        return value.string == nil ? try section(key).string("content") : value.string
    }
}
