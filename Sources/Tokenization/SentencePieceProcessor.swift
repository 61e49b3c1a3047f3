import CSentencePiece
import Diagnostics
import Glibc

/// A SentencePiece model at work in the SentencePiece library: text to ids and back.
final class SentencePieceProcessor: @unchecked Sendable {
    // Unchecked: the library's model does not change once it is open.
    private let handle: OpaquePointer
    private let unknown: Int32

    /// - Parameter model: checked; the library reads the message that this program writes of it, never a file's bytes.
    /// - Throws: `TokenizerCode.characterMap` if a character map leads out of itself, `.limit` if texts are nested
    ///   deeper than the library looks for, `.sentencePiece` for what else it refuses.
    init(_ model: SentencePieceModel) throws(Diagnostic) {
        try model.checkLibraryLimits()
        var message = [CChar](repeating: 0, count: 160)
        let bytes = model.serialized()
        guard let handle = es_sentencepiece_open(bytes, bytes.count, &message, message.count) else {
            let reason = String(decoding: message.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            throw Diagnostic(
                TokenizerCode.sentencePiece, found: "a model that the SentencePiece library refuses (\(reason))",
                expected: "a SentencePiece model")
        }
        self.handle = handle
        unknown = Int32(model.pieces.firstIndex { $0.type == .unknown } ?? 0)
    }

    deinit { es_sentencepiece_close(handle) }

    /// Appends the ids of a text. Where the library fails, which no model that it opened is known to cause, the text
    /// is one unknown token.
    func encode(_ text: UnsafeBufferPointer<UInt8>, into ids: inout [Int32]) {
        var found: UnsafeMutablePointer<Int32>?
        let count = es_sentencepiece_encode(handle, text.baseAddress, text.count, &found)
        guard count >= 0, let found else { return ids.append(unknown) }
        ids.append(contentsOf: UnsafeBufferPointer(start: found, count: Int(count)))
        free(found)
    }

    /// Appends the text of ids, which must be the model's.
    func decode(_ ids: [Int32], into output: inout [UInt8]) {
        var found: UnsafeMutablePointer<UInt8>?
        let count = es_sentencepiece_decode(handle, ids, ids.count, &found)
        guard count >= 0, let found else { return }
        output.append(contentsOf: UnsafeBufferPointer(start: found, count: Int(count)))
        free(found)
    }
}

extension SentencePieceModel {
    /// How many user-defined pieces, and sources of a character map, may begin one another: the library looks for that
    /// many at a place in the text and would read on behind the last.
    private static let nestedPieces = 64
    private static let nestedSources = 32

    fileprivate func checkLibraryLimits() throws(Diagnostic) {
        for map in [normalization.characterMap, denormalization.characterMap] where !map.isEmpty {
            try CharacterMap(map).checkForLibrary(nestedSources: Self.nestedSources)
        }
        var trie = ByteTrie()
        let userDefined = pieces.filter { $0.type == .userDefined }
        for piece in userDefined { trie.insert(piece.text, value: 0) }
        for piece in userDefined where trie.prefixCount(of: piece.text) > Self.nestedPieces {
            throw Diagnostic(
                TokenizerCode.limit, found: "more than \(Self.nestedPieces) user-defined pieces that begin one another",
                expected: "at most \(Self.nestedPieces)")
        }
    }
}
