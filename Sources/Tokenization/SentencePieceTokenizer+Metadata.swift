package import Diagnostics

/// Builds the tokenizer that GGUF's metadata describes: byte-level BPE (`gpt2`) or SentencePiece (`llama`, `t5`).
///
/// - Parameter file: the name that errors give the file.
/// - Throws: a `TokenizerCode`, with the key that is wrong.
package func makeTokenizer(_ metadata: VocabularyMetadata, file: String) throws(Diagnostic) -> any TextTokenizer {
    switch metadata.model {
    case "gpt2": return try Tokenizer(byteLevel: metadata, file: file)
    case "llama", "t5": return try SentencePieceTokenizer(metadata, file: file)
    default:
        throw Diagnostic(
            TokenizerCode.unsupported, file: file, at: "key \"tokenizer.ggml.model\"",
            found: "the model \"\(metadata.model.prefix(40))\"", expected: "gpt2, llama or t5")
    }
}

extension SentencePieceTokenizer {
    /// A SentencePiece tokenizer (`model` is `llama` for BPE, `t5` for Unigram) from GGUF's metadata.
    ///
    /// The control tokens and the unknown token are special: they are found in a text only if that is asked for.
    package convenience init(_ metadata: VocabularyMetadata, file: String) throws(Diagnostic) {
        do {
            try metadata.check()
            let model = try metadata.sentencePieceModel()
            var options = Options()
            options.beginningOfText = metadata.beginningOfText.map(Int32.init)
            options.endOfText = metadata.endOfText.map(Int32.init)
            options.addsBeginning = metadata.addsBeginning ?? (metadata.model == "llama")
            options.addsEnd = metadata.addsEnd ?? (metadata.model == "t5")
            options.addedTokens = model.specialTokens
            try self.init(model, options)
        } catch {
            throw error.inFile(file)
        }
    }
}

extension SentencePieceModel {
    /// The control pieces and the unknown piece, as tokens that are found in trusted text.
    var specialTokens: [AddedToken] {
        pieces.enumerated().filter { $1.type == .control || $1.type == .unknown }.map {
            AddedToken(content: $1.text, id: Int32($0), isSpecial: true)
        }
    }
}

extension VocabularyMetadata {
    fileprivate func sentencePieceModel() throws(Diagnostic) -> SentencePieceModel {
        var model = SentencePieceModel()
        model.pieces = tokens.enumerated().map { id, token in
            // The numbers are SentencePiece's own.
            let type = SentencePieceModel.PieceType(rawValue: UInt64(self.type(of: id).rawValue)) ?? .normal
            // llama.cpp's converter writes the ▁ of user-defined pieces as spaces.
            let text = type == .userDefined ? token.replacing(" ", with: "▁") : token
            return SentencePieceModel.Piece(
                text: Array(text.utf8), score: id < scores.count ? scores[id] : 0, type: type)
        }
        if let unknown, !model.pieces.contains(where: { $0.type == .unknown }) {
            model.pieces[unknown].type = .unknown
        }
        model.algorithm = self.model == "t5" ? .unigram : .bytePair
        model.fallsBackToBytes = model.pieces.contains { $0.type == .byte }
        model.normalization.characterMap = precompiledCharacterMap
        model.normalization.addsDummyPrefix = addsSpacePrefix ?? true
        model.normalization.removesExtraWhitespace = removesExtraWhitespace ?? (self.model == "t5")
        try model.check()
        return model
    }
}
