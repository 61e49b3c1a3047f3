/// A token that is recognised in the text itself, before the model sees it.
struct AddedToken: Sendable {
    var content: [UInt8]
    var id: Int32
    /// Whether it is a control token, which only trusted text may spell.
    var isSpecial = false
    /// Whether it is looked for in the normalised text rather than in the text as given.
    var isNormalized = false
    var isSingleWord = false
    /// Whether the white space to its left (right) belongs to it.
    var stripsLeft = false
    var stripsRight = false
}

/// Finds added tokens in a text: from left to right, at each place the longest.
struct AddedTokenMatcher: Sendable {
    private let tokens: [AddedToken]
    private let trie: ByteTrie
    private let startsToken: [Bool]

    /// - Parameter tokens: each with the bytes to look for, which may differ from its content.
    init(_ tokens: [(pattern: [UInt8], token: AddedToken)]) {
        var trie = ByteTrie()
        var startsToken = [Bool](repeating: false, count: 256)
        for (index, entry) in tokens.enumerated() {
            guard let first = entry.pattern.first else { continue }
            // The first of two tokens with the same text is the one that is found.
            if let node = trie.node(for: entry.pattern), trie.value(at: node) != nil { continue }
            trie.insert(entry.pattern, value: Int32(index))
            startsToken[Int(first)] = true
        }
        self.tokens = tokens.map(\.token)
        self.trie = trie
        self.startsToken = startsToken
    }

    var isEmpty: Bool { trie.isEmpty }

    enum Piece {
        case text(Range<Int>)
        case token(Int32)
    }

    /// Calls `body` with the tokens and the stretches of text between them; empty stretches are left out.
    ///
    /// - Parameter recognizingSpecial: if false, a special token's text is passed over as ordinary text.
    func forEachPiece(
        _ text: UnsafeBufferPointer<UInt8>, recognizingSpecial: Bool, _ body: (Piece) -> Void
    ) {
        var textStart = 0
        var position = 0
        startsToken.withUnsafeBufferPointer { startsToken in
            while position < text.count {
                guard startsToken[Int(text[position])], let match = trie.longestMatch(text, at: position) else {
                    position += 1
                    continue
                }
                let token = tokens[Int(match.value)]
                let range = position..<match.end
                position = match.end
                if token.isSpecial && !recognizingSpecial { continue }
                if token.isSingleWord, !isSingleWord(range, text) { continue }
                let start = token.stripsLeft ? spaceStart(before: range.lowerBound, textStart, text) : range.lowerBound
                if textStart < start { body(.text(textStart..<start)) }
                body(.token(token.id))
                if token.stripsRight { position = spaceEnd(after: position, text) }
                textStart = position
            }
        }
        if textStart < text.count { body(.text(textStart..<text.count)) }
    }

    private func isSingleWord(_ range: Range<Int>, _ text: UnsafeBufferPointer<UInt8>) -> Bool {
        if range.lowerBound > 0 {
            let start = UTF8Text.start(text, before: range.lowerBound)
            if ScalarClass.isWord(UTF8Text.scalar(text, at: start).value) { return false }
        }
        return range.upperBound == text.count || !ScalarClass.isWord(UTF8Text.scalar(text, at: range.upperBound).value)
    }

    private func spaceStart(before end: Int, _ limit: Int, _ text: UnsafeBufferPointer<UInt8>) -> Int {
        var position = end
        while position > limit {
            let start = UTF8Text.start(text, before: position)
            guard ScalarClass.isWhitespace(UTF8Text.scalar(text, at: start).value) else { break }
            position = start
        }
        return max(position, limit)
    }

    private func spaceEnd(after start: Int, _ text: UnsafeBufferPointer<UInt8>) -> Int {
        var position = start
        while position < text.count {
            let (value, end) = UTF8Text.scalar(text, at: position)
            guard ScalarClass.isWhitespace(value) else { break }
            position = end
        }
        return position
    }
}
