/// The character ▁ (U+2581) that stands for a space in SentencePiece's vocabularies.
enum SpaceMark {
    static let bytes: [UInt8] = [0xE2, 0x96, 0x81]

    @inline(__always)
    static func isFound(_ text: UnsafeBufferPointer<UInt8>, at index: Int) -> Bool {
        index + 3 <= text.count && text[index] == 0xE2 && text[index + 1] == 0x96 && text[index + 2] == 0x81
    }

    /// Whether a ▁ begins at `index` and none ends there.
    @inline(__always)
    static func beginsRun(_ text: UnsafeBufferPointer<UInt8>, at index: Int) -> Bool {
        isFound(text, at: index) && !(index >= 3 && isFound(text, at: index - 3))
    }

    /// Whether a ▁ follows another character somewhere in the text.
    static func isInside(_ text: UnsafeBufferPointer<UInt8>) -> Bool {
        (1..<max(1, text.count)).contains { beginsRun(text, at: $0) }
    }

    /// Calls `body` with stretches that each begin where ▁ follows another character.
    @inline(__always)
    static func forEachStretch(of text: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) -> Void) {
        var start = 0
        while start < text.count {
            var end = start + 1
            while end < text.count, !beginsRun(text, at: end) { end += 1 }
            body(start..<end)
            start = end
        }
    }
}
