import Diagnostics

/// A SentencePiece model at work: text to ids and back.
final class SentencePieceProcessor: Sendable {
    private let normalizer: SentencePieceNormalizer
    private let encoder: SentencePieceEncoder
    private let denormalizer: SentencePieceNormalizer?
    private let pieces: [SentencePieceModel.Piece]
    private let unknownSurface: [UInt8]
    private let normalization: SentencePieceModel.Normalization

    /// - Throws: `TokenizerCode.characterMap` if a character map leads out of itself.
    init(_ model: SentencePieceModel) throws(Diagnostic) {
        pieces = model.pieces
        normalization = model.normalization
        unknownSurface = model.unknownSurface ?? Array(" \u{2047} ".utf8)
        var userDefined = ByteTrie()
        for (id, piece) in model.pieces.enumerated() where piece.type == .userDefined {
            userDefined.insert(piece.text, value: Int32(id))
        }
        encoder = SentencePieceEncoder(model, userDefined: userDefined)
        normalizer = SentencePieceNormalizer(
            model.normalization, try Self.map(model.normalization), isSuffix: model.treatsWhitespaceAsSuffix,
            userDefined: userDefined)
        denormalizer = try Self.map(model.denormalization).map {
            SentencePieceNormalizer(model.denormalization, $0, isSuffix: false, userDefined: ByteTrie())
        }
    }

    private static func map(_ settings: SentencePieceModel.Normalization) throws(Diagnostic) -> CharacterMap? {
        settings.characterMap.isEmpty ? nil : try CharacterMap(settings.characterMap)
    }

    /// Appends the ids of a text. A run of unknown characters is one unknown id, or the bytes of each.
    func encode(_ text: UnsafeBufferPointer<UInt8>, into ids: inout [Int32], _ workspace: Workspace) {
        normalizer.normalized(text).withUnsafeBufferPointer { encoder.encode($0, into: &ids, workspace) }
    }

    /// Appends the text of ids, which must be the model's.
    func decode(_ ids: [Int32], into output: inout [UInt8]) {
        var text: [UInt8] = []
        var bytes: [UInt8] = []
        // Whether a space that a piece begins with is the dummy prefix still.
        var isAtStart = true
        for id in ids {
            let piece = pieces[Int(id)]
            if piece.type == .byte, let byte = ByteToken.byte(piece.text) {
                bytes.append(byte)
                continue
            }
            Self.appendRepaired(&bytes, to: &text)
            if !text.isEmpty { isAtStart = false }
            switch piece.type {
            case .control: continue
            case .unknown: text += unknownSurface
            default: if appendPiece(piece.text, isAtStart: isAtStart, to: &text) { isAtStart = false }
            }
        }
        Self.appendRepaired(&bytes, to: &text)
        output += denormalizer.map { denormalizer in text.withUnsafeBufferPointer(denormalizer.normalized) } ?? text
    }

    /// Appends a piece with its ▁ as spaces; true if it was the one whose first space is left out.
    private func appendPiece(_ piece: [UInt8], isAtStart: Bool, to text: inout [UInt8]) -> Bool {
        let space = SpaceMark.bytes
        var position = 0
        var isDummy = false
        if isAtStart, normalization.addsDummyPrefix || normalization.removesExtraWhitespace, piece.starts(with: space) {
            position = space.count
            // Where extra spaces are removed, all that lead the text are left out.
            isDummy = !normalization.removesExtraWhitespace
        }
        while position < piece.count {
            if piece[position...].starts(with: space) {
                text.append(0x20)
                position += space.count
            } else {
                text.append(piece[position])
                position += 1
            }
        }
        return isDummy
    }

    /// Appends bytes as UTF-8, each that belongs to no character as U+FFFD.
    private static func appendRepaired(_ bytes: inout [UInt8], to text: inout [UInt8]) {
        var position = 0
        while position < bytes.count {
            let end = position + UTF8Text.length(lead: bytes[position])
            if end <= bytes.count, String(validating: bytes[position..<end], as: UTF8.self) != nil {
                text += bytes[position..<end]
                position = end
            } else {
                text += [0xEF, 0xBF, 0xBD]
                position += 1
            }
        }
        bytes.removeAll(keepingCapacity: true)
    }
}
