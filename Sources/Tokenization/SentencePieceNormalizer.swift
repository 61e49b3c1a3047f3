/// SentencePiece's normaliser: the character map, then spaces collapsed, the dummy prefix, and spaces written as ▁.
struct SentencePieceNormalizer: Sendable {
    private let settings: SentencePieceModel.Normalization
    private let map: CharacterMap?
    private let isSuffix: Bool
    /// Texts that stay as they are.
    private let userDefined: ByteTrie

    /// - Parameters:
    ///   - map: the settings' own character map, checked.
    ///   - isSuffix: whether the dummy space comes behind the text instead of in front.
    init(
        _ settings: SentencePieceModel.Normalization, _ map: CharacterMap?, isSuffix: Bool, userDefined: ByteTrie
    ) {
        self.settings = settings
        self.map = map
        self.isSuffix = isSuffix
        self.userDefined = userDefined
    }

    func normalized(_ text: UnsafeBufferPointer<UInt8>) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(text.count + text.count / 2 + 8)
        var position = 0
        if settings.removesExtraWhitespace { position = skipLeadingSpaces(text) }
        guard position < text.count else { return [] }
        let space = settings.escapesWhitespace ? SpaceMark.bytes : [0x20]
        if settings.addsDummyPrefix, !isSuffix { output += space }
        var followsSpace = settings.removesExtraWhitespace
        while position < text.count {
            position = appendNext(text, position, &followsSpace, to: &output)
        }
        if settings.removesExtraWhitespace {
            while output.count >= space.count, output.suffix(space.count).elementsEqual(space) {
                output.removeLast(space.count)
            }
        }
        if settings.addsDummyPrefix, isSuffix { output += space }
        return output
    }

    private func skipLeadingSpaces(_ text: UnsafeBufferPointer<UInt8>) -> Int {
        var position = 0
        while position < text.count {
            let unit = next(text, position)
            guard
                unit.replacement.map({ $0.elementsEqual([0x20]) })
                    ?? (unit.end == position + 1 && text[position] == 0x20)
            else { break }
            position = unit.end
        }
        return position
    }

    /// Appends what the text at `position` becomes and returns where the text after it begins.
    @inline(__always)
    private func appendNext(
        _ text: UnsafeBufferPointer<UInt8>, _ position: Int, _ followsSpace: inout Bool, to output: inout [UInt8]
    ) -> Int {
        let unit = next(text, position)
        if let replacement = unit.replacement {
            append(replacement, &followsSpace, to: &output)
        } else {
            append(text[position..<unit.end], &followsSpace, to: &output)
        }
        return unit.end
    }

    @inline(__always)
    private func append(_ piece: some Collection<UInt8>, _ followsSpace: inout Bool, to output: inout [UInt8]) {
        var endsInSpace: Bool?
        for byte in piece {
            if byte == 0x20 {
                // Spaces at the start of a piece join those before it.
                if followsSpace, endsInSpace == nil { continue }
                if settings.escapesWhitespace { output += SpaceMark.bytes } else { output.append(byte) }
            } else {
                output.append(byte)
            }
            endsInSpace = byte == 0x20
        }
        if let endsInSpace { followsSpace = endsInSpace && settings.removesExtraWhitespace }
    }

    /// The next user-defined text, source of the map, or character; with its replacement if it has one.
    @inline(__always)
    private func next(
        _ text: UnsafeBufferPointer<UInt8>, _ position: Int
    ) -> (end: Int, replacement: ArraySlice<UInt8>?) {
        if !userDefined.isEmpty, let match = userDefined.longestMatch(text, at: position) { return (match.end, nil) }
        if let map, let match = map.longestMatch(text, at: position) { return match }
        return (position + UTF8Text.length(lead: text[position]), nil)
    }
}
