import Diagnostics

/// What a SentencePiece model holds that matters for encoding and decoding.
struct SentencePieceModel: Sendable {
    enum PieceType: UInt64, Sendable {
        case normal = 1
        case unknown, control, userDefined, unused, byte
    }

    enum Algorithm: UInt64, Sendable {
        case unigram = 1
        case bytePair, word, character
    }

    struct Piece: Sendable {
        var text: [UInt8]
        var score: Float = 0
        var type = PieceType.normal
    }

    /// How text is changed before it is cut; the defaults are those of an absent key.
    struct Normalization: Sendable {
        var characterMap: [UInt8] = []
        var addsDummyPrefix = true
        var removesExtraWhitespace = true
        var escapesWhitespace = true
    }

    var pieces: [Piece] = []
    var algorithm = Algorithm.unigram
    var fallsBackToBytes = false
    var treatsWhitespaceAsSuffix = false
    var unknownSurface: [UInt8]?
    var beginningPiece = Array("<s>".utf8)
    var endPiece = Array("</s>".utf8)
    var normalization = Normalization()
    /// Changes text back after decoding, if it has a character map.
    var denormalization = Normalization()

    static let largestVocabulary = 1 << 20

    /// - Throws: `TokenizerCode.sentencePiece`, `.vocabulary` or `.characterMap` if it contradicts itself.
    func check() throws(Diagnostic) {
        guard (1...Self.largestVocabulary).contains(pieces.count) else {
            throw invalid("\(pieces.count) pieces", expected: "1 to \(Self.largestVocabulary)")
        }
        try checkPieces()
        let unknowns = pieces.count { $0.type == .unknown }
        guard unknowns == 1 else { throw invalid("\(unknowns) unknown pieces", expected: "one") }
        if fallsBackToBytes {
            let names = Set((0..<256).map { Array(ByteToken.name(UInt8($0)).utf8) })
            let bytes = pieces.count { $0.type == .byte && names.contains($0.text) }
            guard bytes == 256 else { throw invalid("\(bytes) byte pieces", expected: "256 for the byte fallback") }
        }
    }

    private func checkPieces() throws(Diagnostic) {
        var builder = Vocabulary.Builder(capacity: pieces.count)
        for (id, piece) in pieces.enumerated() {
            let place = "piece \(id)"
            guard (1...TokenizerLimit.searchedTokenBytes).contains(piece.text.count), !piece.text.contains(0) else {
                throw invalid(
                    "a text of \(piece.text.count) bytes or with a zero byte", at: place,
                    expected: "1 to \(TokenizerLimit.searchedTokenBytes) bytes")
            }
            guard String(validating: piece.text, as: UTF8.self) != nil else {
                throw invalid("a text that is not UTF-8", at: place, expected: "UTF-8")
            }
            guard piece.score.isFinite else {
                throw invalid("a score that is not finite", at: place, expected: "a finite number")
            }
            if piece.type == .byte, ByteToken.byte(piece.text) == nil {
                throw invalid("a byte piece with another name", at: place, expected: "a name such as <0x0A>")
            }
            guard piece.text.withUnsafeBufferPointer({ builder.add($0, id: Int32(id)) }) == .added else {
                throw invalid("a piece that is there already", at: place, expected: "every piece once")
            }
        }
    }

    private func invalid(_ found: String, at place: String? = nil, expected: String) -> Diagnostic {
        Diagnostic(TokenizerCode.sentencePiece, at: place, found: found, expected: expected)
    }

    /// The id of a control piece.
    func control(_ text: [UInt8]) -> Int32? {
        pieces.firstIndex { $0.type == .control && $0.text == text }.map(Int32.init)
    }
}

extension SentencePieceModel {
    /// The other fields of a model are short; this bounds what is skipped.
    private static let skippedBytes = 1 << 20

    /// Reads a serialised ModelProto and checks it.
    ///
    /// - Throws: `TokenizerCode.sentencePiece` or `.characterMap` with the offset or the piece that is wrong.
    init(_ bytes: UnsafeRawBufferPointer) throws(Diagnostic) {
        var reader = ProtobufReader(bytes)
        var skipped = 0
        var offset = reader.offset
        while let (field, value) = try reader.next() {
            switch (field, value) {
            case (1, .bytes(let message)): pieces.append(try Self.piece(reader.nested(message)))
            case (2, .bytes(let message)): try readTrainer(reader.nested(message))
            case (3, .bytes(let message)): try Self.read(reader.nested(message), into: &normalization)
            case (5, .bytes(let message)): try Self.read(reader.nested(message), into: &denormalization)
            case (1...3, _): throw reader.wrong(at: offset, "field \(field) of another kind", expected: "a message")
            case (_, .bytes(let content)): skipped += content.count
            default: break
            }
            guard pieces.count <= Self.largestVocabulary, skipped <= Self.skippedBytes else {
                throw reader.wrong(
                    at: offset, "more than \(Self.largestVocabulary) pieces or \(Self.skippedBytes) unknown bytes",
                    expected: "a SentencePiece model")
            }
            offset = reader.offset
        }
        try check()
    }

    private static func piece(_ reader: ProtobufReader) throws(Diagnostic) -> Piece {
        var reader = reader
        var piece = Piece(text: [])
        var offset = reader.offset
        while let (field, value) = try reader.next() {
            switch (field, value) {
            case (1, .bytes(let text)): piece.text = Array(text)
            case (2, .fixed32(let bits)): piece.score = Float(bitPattern: bits)
            case (3, .varint(let number)):
                guard let type = PieceType(rawValue: number) else {
                    throw reader.wrong(at: offset, "the piece type \(number)", expected: "1 to 6")
                }
                piece.type = type
            case (1...3, _): throw reader.wrong(at: offset, "field \(field) of another kind", expected: "a piece")
            default: break
            }
            offset = reader.offset
        }
        return piece
    }

    private mutating func readTrainer(_ reader: ProtobufReader) throws(Diagnostic) {
        var reader = reader
        var offset = reader.offset
        while let (field, value) = try reader.next() {
            switch (field, value) {
            case (3, .varint(let number)):
                guard let algorithm = Algorithm(rawValue: number) else {
                    throw reader.wrong(at: offset, "the model type \(number)", expected: "1 to 4")
                }
                self.algorithm = algorithm
            case (24, .varint(let flag)): treatsWhitespaceAsSuffix = flag != 0
            case (35, .varint(let flag)): fallsBackToBytes = flag != 0
            case (44, .bytes(let text)): unknownSurface = try Self.name(text, reader, offset)
            case (46, .bytes(let text)): beginningPiece = try Self.name(text, reader, offset)
            case (47, .bytes(let text)): endPiece = try Self.name(text, reader, offset)
            case (3, _), (24, _), (35, _), (44, _), (46, _), (47, _):
                throw reader.wrong(at: offset, "field \(field) of another kind", expected: "a training setting")
            default: break
            }
            offset = reader.offset
        }
    }

    private static func name(
        _ text: UnsafeRawBufferPointer, _ reader: ProtobufReader, _ offset: Int
    ) throws(Diagnostic) -> [UInt8] {
        guard text.count <= TokenizerLimit.searchedTokenBytes, String(validating: text, as: UTF8.self) != nil else {
            throw reader.wrong(at: offset, "a name of \(text.count) bytes or not UTF-8", expected: "a short name")
        }
        return Array(text)
    }

    private static func read(
        _ reader: ProtobufReader, into normalization: inout Normalization
    ) throws(Diagnostic) {
        var reader = reader
        var offset = reader.offset
        while let (field, value) = try reader.next() {
            switch (field, value) {
            case (2, .bytes(let map)): normalization.characterMap = Array(map)
            case (3, .varint(let flag)): normalization.addsDummyPrefix = flag != 0
            case (4, .varint(let flag)): normalization.removesExtraWhitespace = flag != 0
            case (5, .varint(let flag)): normalization.escapesWhitespace = flag != 0
            case (2...5, _): throw reader.wrong(at: offset, "field \(field) of another kind", expected: "a setting")
            default: break
            }
            offset = reader.offset
        }
    }
}
