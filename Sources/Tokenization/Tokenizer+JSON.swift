package import Diagnostics
import StrictJSON

extension Tokenizer {
    /// Reads a tokenizer.json.
    ///
    /// - Parameter file: the name that errors give the file.
    /// - Throws: a `TokenizerCode` or, where the text is no strict JSON, a `JSONCode`.
    package convenience init(tokenizerJSON bytes: UnsafeRawBufferPointer, file: String) throws(Diagnostic) {
        try self.init(tokenizerJSON: bytes, file: file, names: SpecialNames())
    }

    convenience init(
        tokenizerJSON bytes: UnsafeRawBufferPointer, file: String, names: SpecialNames
    ) throws(Diagnostic) {
        self.init(try Self.parts(bytes, file: file, names: names))
    }

    static func parts(
        _ bytes: UnsafeRawBufferPointer, file: String, names: SpecialNames
    ) throws(Diagnostic) -> Parts {
        do {
            let root = try JSONSection(
                try JSONValue(parsing: bytes, maximumBytes: TokenizerLimit.fileBytes), path: "")
            var parts = try parts(root)
            parts.beginningOfText = names.beginning.flatMap { id(of: $0, in: parts) }
            parts.endOfText = names.end.flatMap { id(of: $0, in: parts) }
            return parts
        } catch {
            throw error.inFile(file)
        }
    }

    private static func id(of name: String, in parts: Parts) -> Int32? {
        parts.addedTokens.first { $0.content.elementsEqual(name.utf8) }?.id ?? parts.model.vocabulary.id(of: name)
    }

    private static func parts(_ root: JSONSection) throws(Diagnostic) -> Parts {
        let normalizer = try Normalizer(try root.optionalSection("normalizer"))
        var preTokenizer = try PreTokenizer(try root.optionalSection("pre_tokenizer"))
        let endsInBytes = if case .encodeBytes? = preTokenizer.steps.last { true } else { false }
        let model = try Model(try root.section("model"), takesRawBytes: endsInBytes)
        // The model reads bytes as the characters that stand for them, so they need not be written out.
        if endsInBytes, case .bytePair(let model) = model, model.options.takesRawBytes {
            preTokenizer.steps.removeLast()
        }
        return Parts(
            normalizer: normalizer, preTokenizer: preTokenizer, model: model,
            postProcessor: try PostProcessor(try root.optionalSection("post_processor")),
            decoder: try Decoder(try root.optionalSection("decoder")),
            addedTokens: try addedTokens(root, model.vocabulary))
    }

    private static func addedTokens(_ root: JSONSection, _ vocabulary: Vocabulary) throws(Diagnostic) -> [AddedToken] {
        guard root.value("added_tokens") != nil else { return [] }
        var result: [AddedToken] = []
        var contents: [Int32: [UInt8]] = [:]
        for section in try root.sections("added_tokens") {
            let token = try AddedToken(section, id: try section.tokenID("id"))
            let content = token.content
            let known = contents.updateValue(content, forKey: token.id) ?? vocabulary.token(token.id).map(Array.init)
            if let known, known != content {
                throw invalid(section, "the id \(token.id), which another token has", "an id of its own")
            }
            if let id = vocabulary.id(of: content), id != token.id {
                throw invalid(section, "the id \(token.id) for a token with the id \(id)", "the id of the vocabulary")
            }
            result.append(token)
        }
        return result
    }

    private static func invalid(_ section: JSONSection, _ found: String, _ expected: String) -> Diagnostic {
        Diagnostic(TokenizerCode.addedToken, at: section.path, found: found, expected: expected)
    }
}
