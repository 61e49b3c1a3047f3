package import Diagnostics

extension Tokenizer {
    /// A byte-level BPE tokenizer (`model` is `gpt2`) from GGUF's metadata.
    ///
    /// Control and unknown tokens are special; user-defined tokens are recognised in any text.
    ///
    /// - Parameter file: the name that errors give the file.
    package convenience init(byteLevel metadata: VocabularyMetadata, file: String) throws(Diagnostic) {
        do {
            self.init(try Self.parts(metadata))
        } catch {
            throw error.inFile(file)
        }
    }

    private static func parts(_ metadata: VocabularyMetadata) throws(Diagnostic) -> Parts {
        try metadata.check()
        let named = try NamedPreTokenizer(metadata.pre)
        let vocabulary = try vocabulary(metadata)
        var options = BytePairModel.Options(takesRawBytes: true)
        options.ignoresMergesOfWholeWords = named.ignoresMerges
        let merges = try merges(metadata, vocabulary)
        var preTokenizer = PreTokenizer(steps: [])
        if metadata.addsSpacePrefix == true { preTokenizer.steps.append(.prependSpace) }
        for pattern in named.patterns {
            preTokenizer.steps.append(.split(try Pattern(oniguruma: pattern), .isolated, isInverted: false))
        }
        let beginning = metadata.beginningOfText.map(Int32.init)
        let end = metadata.endOfText.map(Int32.init)
        return Parts(
            normalizer: Normalizer(steps: named.composes ? [.unicode(.nfc)] : []), preTokenizer: preTokenizer,
            model: .bytePair(BytePairModel(vocabulary: vocabulary, merges: merges, options: options)),
            postProcessor: PostProcessor(
                beginning: metadata.addsBeginning ?? named.addsBeginning ? beginning : nil,
                end: metadata.addsEnd ?? false ? end : nil),
            decoder: Decoder(steps: [.byteLevel]), addedTokens: addedTokens(metadata), beginningOfText: beginning,
            endOfText: end)
    }

    private static func vocabulary(_ metadata: VocabularyMetadata) throws(Diagnostic) -> Vocabulary {
        var builder = Vocabulary.Builder(capacity: metadata.tokens.count)
        for (id, token) in metadata.tokens.enumerated() where !token.isEmpty {
            try Vocabulary.add(token, Int32(id), to: &builder, at: "key \"tokenizer.ggml.tokens\"")
        }
        return builder.build()
    }

    private static func merges(
        _ metadata: VocabularyMetadata, _ vocabulary: Vocabulary
    ) throws(Diagnostic) -> MergeTable {
        var builder = MergeTableBuilder(vocabulary, capacity: metadata.merges.count, prefixCount: 0)
        for (index, merge) in metadata.merges.enumerated() {
            let place = "key \"tokenizer.ggml.merges\", item \(index)"
            // The left token may itself begin with a space.
            guard let space = merge.utf8.dropFirst().firstIndex(of: 0x20) else {
                throw Diagnostic(
                    TokenizerCode.merges, at: place, found: "a merge that is not two words",
                    expected: "two tokens with a space between them")
            }
            try builder.add(
                String(merge[..<space]), String(merge[merge.utf8.index(after: space)...]), at: place)
        }
        return builder.table
    }

    private static func addedTokens(_ metadata: VocabularyMetadata) -> [AddedToken] {
        metadata.tokens.indices.compactMap { id in
            let type = metadata.type(of: id)
            let content = Array(metadata.tokens[id].utf8)
            guard !content.isEmpty, content.count <= TokenizerLimit.searchedTokenBytes else { return nil }
            guard type == .control || type == .unknown || type == .userDefined else { return nil }
            return AddedToken(content: content, id: Int32(id), isSpecial: type != .userDefined)
        }
    }
}

extension PostProcessor {
    /// The tokens that begin and end every text.
    init(beginning: Int32?, end: Int32?) {
        let start: [Part] = beginning.map { [.tokens([$0], type: 0)] } ?? []
        let stop: [Part] = end.map { [.tokens([$0], type: 0)] } ?? []
        let secondStart: [Part] = beginning.map { [.tokens([$0], type: 1)] } ?? []
        let secondStop: [Part] = end.map { [.tokens([$0], type: 1)] } ?? []
        single = start + [.first(type: 0)] + stop
        pair = single + secondStart + [.second(type: 1)] + secondStop
    }
}

extension VocabularyMetadata {
    /// - Throws: `TokenizerCode.vocabulary` if the lists do not fit each other or an id is out of range.
    func check() throws(Diagnostic) {
        guard !tokens.isEmpty, tokens.count <= TokenizerLimit.tokenID else {
            throw invalid("tokens", "\(tokens.count) tokens", "1 to \(TokenizerLimit.tokenID)")
        }
        for (key, count) in [("scores", scores.count), ("token_type", tokenTypes.count)] {
            guard count == 0 || count == tokens.count else {
                throw invalid(key, "\(count) items", "\(tokens.count), one for each token")
            }
        }
        let ids = [
            ("bos_token_id", beginningOfText), ("eos_token_id", endOfText), ("unknown_token_id", unknown),
            ("padding_token_id", padding),
        ]
        for (key, id) in ids {
            guard let id, !tokens.indices.contains(id) else { continue }
            throw invalid(key, "the id \(id)", "0 to \(tokens.count - 1)")
        }
        if let type = tokenTypes.first(where: { TokenType(rawValue: $0) == nil }), type != 0 {
            throw invalid("token_type", "the type \(type)", "0 to 6")
        }
        guard scores.allSatisfy(\.isFinite) else { throw invalid("scores", "a score that is not finite", "finite") }
    }

    private func invalid(_ key: String, _ found: String, _ expected: String) -> Diagnostic {
        Diagnostic(
            TokenizerCode.vocabulary, at: "key \"tokenizer.ggml.\(key)\"", found: found, expected: expected)
    }
}
