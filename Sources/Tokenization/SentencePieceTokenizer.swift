package import Diagnostics
import StrictJSON

/// A SentencePiece model in its own library, with the tokens that are recognised before it and put around it.
package final class SentencePieceTokenizer: TextTokenizer {
    private let processor: SentencePieceProcessor
    /// For text after a special token, if such text is cut otherwise.
    private let continuing: SentencePieceProcessor?
    private let pieces: [SentencePieceModel.Piece]
    private let ids: [BytewiseString: Int32]
    private let added: [Int32: AddedToken]
    private let matcher: AddedTokenMatcher
    private let postProcessor: PostProcessor
    package let vocabularyCount: Int
    package let beginningOfText: Int32?
    package let endOfText: Int32?

    /// What a tokenizer adds to its model.
    struct Options {
        /// Tokens that are looked for in the text, of the model's control pieces and beyond its vocabulary.
        var addedTokens: [AddedToken] = []
        var beginningOfText: Int32?
        var endOfText: Int32?
        var addsBeginning = false
        var addsEnd = false
        /// Whether text after a special token gets the dummy prefix, if the model has one.
        var prefixesAfterSpecial = true
    }

    /// - Throws: `TokenizerCode.characterMap` if a character map leads out of itself.
    init(_ model: SentencePieceModel, _ options: Options) throws(Diagnostic) {
        processor = try SentencePieceProcessor(model)
        if model.normalization.addsDummyPrefix, !options.prefixesAfterSpecial {
            var model = model
            model.normalization.addsDummyPrefix = false
            continuing = try SentencePieceProcessor(model)
        } else {
            continuing = nil
        }
        pieces = model.pieces
        var ids = Dictionary(
            model.pieces.enumerated().map { (BytewiseString(String(decoding: $1.text, as: UTF8.self)), Int32($0)) },
            uniquingKeysWith: { first, _ in first })
        var added: [Int32: AddedToken] = [:]
        for token in options.addedTokens {
            added[token.id] = token
            ids[BytewiseString(String(decoding: token.content, as: UTF8.self))] = token.id
        }
        self.ids = ids
        self.added = added
        matcher = AddedTokenMatcher(options.addedTokens.map { ($0.content, $0) })
        vocabularyCount = max(pieces.count, Int(added.keys.max() ?? -1) + 1)
        beginningOfText = options.beginningOfText
        endOfText = options.endOfText
        postProcessor = PostProcessor(
            beginning: options.addsBeginning ? options.beginningOfText : nil,
            end: options.addsEnd ? options.endOfText : nil)
    }

    /// Reads a SentencePiece `.model` file's bytes.
    ///
    /// As in SentencePiece itself, control pieces are never found in a text, and none is put around it.
    ///
    /// - Parameter file: the name that errors give the file.
    package convenience init(model bytes: UnsafeRawBufferPointer, file: String) throws(Diagnostic) {
        do {
            let model = try SentencePieceModel(bytes)
            var options = Options()
            options.beginningOfText = model.control(model.beginningPiece)
            options.endOfText = model.control(model.endPiece)
            try self.init(model, options)
        } catch {
            throw error.inFile(file)
        }
    }

    /// Reads the `.model` file of a model's folder, whose configuration names special tokens and asks for a BOS.
    convenience init(
        model bytes: UnsafeRawBufferPointer, file: String, _ configuration: TokenizerConfiguration
    ) throws(Diagnostic) {
        do {
            let model = try SentencePieceModel(bytes)
            var options = Options()
            options.addedTokens = try model.tokens(configuration.addedTokens)
            func id(_ name: String?, _ fallback: [UInt8]) -> Int32? {
                guard let name else { return model.control(fallback) }
                return options.addedTokens.first { $0.content.elementsEqual(name.utf8) }?.id
            }
            options.beginningOfText = id(configuration.names.beginning, model.beginningPiece)
            options.endOfText = id(configuration.names.end, model.endPiece)
            // These two classes put a BOS in front unless they are told not to; others wait to be told.
            let name = configuration.tokenizerClass ?? ""
            let defaults = name.hasPrefix("Llama") || name.hasPrefix("Gemma")
            options.addsBeginning = configuration.addsBeginning ?? defaults
            options.addsEnd = configuration.addsEnd ?? false
            options.prefixesAfterSpecial = configuration.isLegacy
            try self.init(model, options)
        } catch {
            throw error.inFile(file)
        }
    }

    package func id(ofToken token: String) -> Int32? { ids[BytewiseString(token)] }

    package func token(ofID id: Int32) -> String? {
        if let token = added[id] { return String(decoding: token.content, as: UTF8.self) }
        return pieces.indices.contains(Int(id)) ? String(decoding: pieces[Int(id)].text, as: UTF8.self) : nil
    }

    package func encode(_ text: String, addingSpecialTokens: Bool, recognizingSpecialTokens: Bool) -> [Int32] {
        var text = text
        var ids: [Int32] = []
        text.withUTF8 { bytes in
            matcher.forEachPiece(bytes, recognizingSpecial: recognizingSpecialTokens) { piece in
                switch piece {
                case .token(let id): ids.append(id)
                case .text(let range):
                    let processor = range.lowerBound > 0 ? continuing ?? processor : processor
                    processor.encode(UnsafeBufferPointer(rebasing: bytes[range]), into: &ids)
                }
            }
        }
        return postProcessor.apply(ids, nil, addingSpecialTokens: addingSpecialTokens).ids
    }

    /// Control pieces stand for nothing in the text, as in SentencePiece itself; added tokens beyond the model's
    /// pieces are written out.
    package func decode(_ ids: [Int32], skippingSpecialTokens: Bool) -> String {
        var text: [UInt8] = []
        var run: [Int32] = []
        for id in ids {
            if pieces.indices.contains(Int(id)) {
                let type = pieces[Int(id)].type
                if skippingSpecialTokens, type == .unknown || added[id]?.isSpecial == true { continue }
                run.append(id)
            } else if let token = added[id] {
                if skippingSpecialTokens, token.isSpecial { continue }
                processor.decode(run, into: &text)
                run.removeAll(keepingCapacity: true)
                text += token.content
            }
        }
        processor.decode(run, into: &text)
        return String(decoding: text, as: UTF8.self)
    }
}

extension SentencePieceModel {
    /// The special pieces, and the tokens that a configuration adds or describes otherwise.
    fileprivate func tokens(_ configured: [AddedToken]) throws(Diagnostic) -> [AddedToken] {
        var tokens = Dictionary(specialTokens.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        for token in configured {
            if Int(token.id) < pieces.count, pieces[Int(token.id)].text != token.content {
                throw Diagnostic(
                    TokenizerCode.addedToken, at: "added_tokens_decoder.\(token.id)",
                    found: "another text than the piece with that id", expected: "the model's piece")
            }
            tokens[token.id] = token
        }
        return tokens.values.sorted { $0.id < $1.id }
    }
}
