package import Batches
package import Diagnostics
package import Tokenization

/// What becomes of a record with more tokens than the model is trained on.
package enum TooLongPolicy: String, Sendable, CaseIterable {
    case refuse
    case drop
    /// The end is cut off, and with it the token that ends the answer.
    case truncate
}

/// One record as tokens, with what the ledger wants to know of it.
package struct EncodedRecord: Sendable, Equatable {
    package var example: Example
    /// Whether a token that ends a text is among those learned.
    package var learnsToStop: Bool
    /// How many tokens that begin a text stand at the start.
    package var startTokens: Int
    package var isTruncated: Bool
}

/// Conversations to weighted tokens.
///
/// The text is cut where learning starts and stops, and every piece is encoded by itself as what goes on from the piece
/// before: at run time the prompt is encoded alone too, so the model sees the tokens that it learned from. Only what
/// the template wrote may become special tokens; a message that spells one (`<|im_end|>`) stays text.
package struct ExampleEncoder: Sendable {
    package let tokenizer: any TextTokenizer
    /// nil for a base without a chat template: prompt, completion and the token that ends a text.
    package let renderer: (any ConversationRenderer)?
    /// The tokens that end generation.
    package let stopTokens: Set<Int32>
    package let maximumLength: Int
    package let tooLong: TooLongPolicy

    /// - Parameter stopTokens: the tokens at which generation stops. Where a template ends its last turn with none of
    ///   them, the tokenizer's own end of text is added and learned; an empty set switches that off.
    package init(
        tokenizer: any TextTokenizer, renderer: (any ConversationRenderer)?, stopTokens: Set<Int32>,
        maximumLength: Int, tooLong: TooLongPolicy = .refuse
    ) {
        self.tokenizer = tokenizer
        self.renderer = renderer
        self.stopTokens = stopTokens
        self.maximumLength = maximumLength
        self.tooLong = tooLong
    }

    /// The conversation as tokens; nil if it is too long and dropped.
    ///
    /// - Throws: `DataCode.tooLong` with the length and the limit, `.noTemplate` if the base has no template and the
    ///   conversation more than one question, and what the renderer throws.
    package func encode(_ conversation: Conversation) throws(Diagnostic) -> EncodedRecord? {
        var tokens: [Int32] = []
        var weights: [Float] = []
        let learned = conversation.messages.contains(where: \.isSupervised)
        for piece in try pieces(of: conversation, addingGenerationPrompt: false) {
            tokens += piece.tokens
            weights += Array(repeating: piece.isSupervised && learned ? 1 : 0, count: piece.tokens.count)
        }
        if !weights.isEmpty { weights[0] = 0 }
        var isTruncated = false
        if tokens.count > maximumLength {
            switch tooLong {
            case .refuse: throw lengthError(tokens.count, conversation.line)
            case .drop: return nil
            case .truncate:
                tokens.removeSubrange(maximumLength...)
                weights.removeSubrange(maximumLength...)
                isTruncated = true
            }
        }
        let ends = endTokens
        let start = tokenizer.beginningOfText
        return EncodedRecord(
            example: Example(tokens: tokens, weights: weights),
            learnsToStop: zip(tokens, weights).contains { $1 != 0 && ends.contains($0) },
            startTokens: start.map { start in tokens.prefix { $0 == start }.count } ?? 0, isTruncated: isTruncated)
    }

    /// The tokens after which the model is to write the answer to `prompt`.
    ///
    /// - Throws: as `encode(_:)`; the length is not checked.
    package func promptTokens(_ prompt: Conversation) throws(Diagnostic) -> [Int32] {
        try pieces(of: prompt, addingGenerationPrompt: true).flatMap(\.tokens)
    }

    private var endTokens: Set<Int32> { tokenizer.endOfText.map { stopTokens.union([$0]) } ?? stopTokens }

    private func lengthError(_ count: Int, _ line: Int) -> Diagnostic {
        Diagnostic(
            DataCode.tooLong, at: "line \(line)", found: "a record of \(count) tokens",
            expected: "at most \(maximumLength)",
            fix: "Raise train.max_length, shorten the record, or set data.too_long to drop or truncate")
    }

    // MARK: Pieces

    private struct Piece {
        var tokens: [Int32]
        var isSupervised: Bool
    }

    private func pieces(
        of conversation: Conversation, addingGenerationPrompt: Bool
    ) throws(Diagnostic) -> [Piece] {
        guard let renderer, !conversation.isPlainText, !conversation.messages.isEmpty else {
            return try plainPieces(of: conversation)
        }
        let rendered = try renderer.render(conversation, addingGenerationPrompt: addingGenerationPrompt)
        var pieces: [Piece] = []
        var context = ""
        for cut in try RenderedCuts(rendered, spellsSpecial: spellsSpecial).cuts {
            let tokens = continuation(cut.text, after: context, recognizing: !cut.isLiteral)
            if let last = pieces.last, last.isSupervised == cut.isSupervised {
                pieces[pieces.count - 1].tokens += tokens
            } else {
                pieces.append(Piece(tokens: tokens, isSupervised: cut.isSupervised))
            }
            context = cut.text
        }
        if !addingGenerationPrompt { endWithStopToken(&pieces) }
        return pieces
    }

    /// Adds the end of text after the last turn if the template writes nothing there that ends generation.
    private func endWithStopToken(_ pieces: inout [Piece]) {
        guard let end = tokenizer.endOfText, !stopTokens.isEmpty else { return }
        guard let last = pieces.last, last.isSupervised, !last.tokens.contains(where: endTokens.contains) else {
            return
        }
        pieces[pieces.count - 1].tokens.append(end)
    }

    /// Start of text if the tokenizer adds one, what is asked, what is to be learned, end of text.
    private func plainPieces(of conversation: Conversation) throws(Diagnostic) -> [Piece] {
        let messages = conversation.messages
        let asked = messages.prefix { $0.role != "assistant" }
        let answers = messages[asked.count...]
        guard asked.count(where: { $0.role == "user" }) <= 1, answers.count <= 1 else {
            throw Diagnostic(
                DataCode.noTemplate, at: "line \(conversation.line)", found: "a conversation of several turns",
                expected: "one prompt and one completion", fix: "Use a base that has a chat template")
        }
        let question = asked.map(\.content).joined(separator: "\n\n")
        let added = tokenizer.encode("", addingSpecialTokens: true, recognizingSpecialTokens: false)
        var prompt = added.first.flatMap { $0 == tokenizer.beginningOfText ? [$0] : nil } ?? []
        prompt += continuation(question, after: "", recognizing: false)
        guard let answer = answers.first else { return [Piece(tokens: prompt, isSupervised: false)] }
        var tokens = continuation(answer.content, after: question, recognizing: false)
        if let end = tokenizer.endOfText { tokens.append(end) }
        return [Piece(tokens: prompt, isSupervised: false), Piece(tokens: tokens, isSupervised: true)]
    }

    // MARK: Encoding

    private func ids(_ text: String, recognizing: Bool) -> [Int32] {
        tokenizer.encode(text, addingSpecialTokens: false, recognizingSpecialTokens: recognizing)
    }

    private func spellsSpecial(_ text: String) -> Bool {
        ids(text, recognizing: true) != ids(text, recognizing: false)
    }

    /// The tokens of `piece` as it stands after `context`.
    ///
    /// Mostly this is what is left of the tokens of both together. Where a token would reach across the border, the
    /// piece is encoded alone; and where a tokenizer starts every text with a space of its own, it is encoded after a
    /// character that no token joins with what follows. Decoding tells which of the two gives the right text.
    private func continuation(_ piece: String, after context: String, recognizing: Bool) -> [Int32] {
        if piece.isEmpty { return [] }
        let alone = ids(piece, recognizing: recognizing)
        if context.isEmpty { return alone }
        let near = ending(of: context)
        let before = ids(near, recognizing: recognizing)
        let together = ids(near + piece, recognizing: recognizing)
        if together.starts(with: before) { return Array(together[before.count...]) }
        let text = tokenizer.decode(together, skippingSpecialTokens: false)
        func fits(_ tokens: [Int32]) -> Bool {
            tokenizer.decode(before + tokens, skippingSpecialTokens: false).utf8.elementsEqual(text.utf8)
        }
        if fits(alone) { return alone }
        for anchor in ["\n", ".", "a"] {
            let lead = ids(anchor, recognizing: recognizing)
            let led = ids(anchor + piece, recognizing: recognizing)
            guard led.starts(with: lead) else { continue }
            let rest = Array(led[lead.count...])
            if fits(rest) { return rest }
        }
        return alone
    }

    /// The last hundred bytes or so: no token looks further back.
    private func ending(of context: String) -> String {
        guard context.utf8.count > 128 else { return context }
        return String(context.unicodeScalars.suffix(96))
    }
}

/// A rendered text cut where learning starts and stops, and around every message that spells a special token.
private struct RenderedCuts {
    struct Cut {
        var text: String
        var isSupervised: Bool
        /// Whether special tokens in the text are only text.
        var isLiteral: Bool
    }

    private(set) var cuts: [Cut] = []

    init(_ rendered: RenderedText, spellsSpecial: (String) -> Bool) throws(Diagnostic) {
        let bytes = Array(rendered.text.utf8)
        try Self.check(rendered.contentSpans, bytes.count)
        try Self.check(rendered.supervisedSpans, bytes.count)
        var literal: [Range<Int>] = []
        for span in rendered.contentSpans where spellsSpecial(try Self.text(bytes[span])) { literal.append(span) }
        let borders = Set(
            [0, bytes.count]
                + (literal + rendered.supervisedSpans).flatMap { [$0.lowerBound, $0.upperBound] }
        ).sorted()
        for (start, end) in zip(borders, borders.dropFirst()) {
            cuts.append(
                Cut(
                    text: try Self.text(bytes[start..<end]),
                    isSupervised: Self.contains(rendered.supervisedSpans, start),
                    isLiteral: Self.contains(literal, start)))
        }
    }

    private static func contains(_ spans: [Range<Int>], _ index: Int) -> Bool { spans.contains { $0.contains(index) } }

    private static func text(_ bytes: ArraySlice<UInt8>) throws(Diagnostic) -> String {
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw Diagnostic(DataCode.spans, found: "a span that splits a character", expected: "whole characters")
        }
        return text
    }

    private static func check(_ spans: [Range<Int>], _ count: Int) throws(Diagnostic) {
        var end = 0
        for span in spans {
            guard span.lowerBound >= end, span.upperBound <= count else {
                throw Diagnostic(
                    DataCode.spans, found: "span \(span) after byte \(end) of \(count)", expected: "ascending spans")
            }
            end = span.upperBound
        }
    }
}
