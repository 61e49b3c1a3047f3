import Diagnostics
import Foundation
import TestSupport
import Testing

@testable import Tokenization

/// SentencePiece `.model` files that are wrong or malicious: each ends in an error with status 65, none in a trap.
@Suite struct HostileModelTests {
    private static func varint(_ value: UInt64) -> [UInt8] {
        var (bytes, value): ([UInt8], UInt64) = ([], value)
        while value >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: value) | 0x80)
            value >>= 7
        }
        return bytes + [UInt8(value)]
    }

    private static func field(_ number: UInt64, _ content: [UInt8]) -> [UInt8] {
        varint(number << 3 | 2) + varint(UInt64(content.count)) + content
    }

    private static func piece(_ text: [UInt8], _ score: Float = -1, type: UInt64 = 1) -> [UInt8] {
        let bits = withUnsafeBytes(of: score.bitPattern.littleEndian) { Array($0) }
        return field(1, field(1, text) + [0x15] + bits + [0x18] + varint(type))
    }

    private static func piece(_ text: String, _ score: Float = -1, type: UInt64 = 1) -> [UInt8] {
        piece(Array(text.utf8), score, type: type)
    }

    private static let unknown = piece("<unk>", 0, type: 2)
    private static let good = unknown + piece("a") + piece("▁a")

    /// A model with a character map.
    private static func mapped(_ map: [UInt8]) -> [UInt8] { good + field(3, field(2, map)) }

    /// A map of 256 units, with some of them changed, and replacements.
    private static func map(_ units: [Int: UInt32], _ replacements: [UInt8] = [0x62, 0]) -> [UInt8] {
        var all = [UInt32](repeating: 0, count: 512)
        for (index, unit) in units { all[index] = unit }
        let bytes = ([UInt32(all.count * 4)] + all).flatMap { unit in
            withUnsafeBytes(of: unit.littleEndian) { Array($0) }
        }
        return bytes + replacements
    }

    static let cases: [(String, [UInt8])] = [
        ("nothing", []), ("varint of eleven bytes", [0x08] + [UInt8](repeating: 0x80, count: 10) + [1]),
        ("varint beyond 64 bits", [0x08] + [UInt8](repeating: 0xFF, count: 9) + [2]),
        ("varint cut off", [0x08, 0x80]), ("field number 0", [0x00, 0x00]), ("start of a group", good + [0x0B]),
        ("end of a group", good + [0x0C]), ("wire type 6", good + [0x0E]),
        ("length past the end", good + [0x0A, 0x7F]),
        ("length 2^63", good + [0x0A] + varint(1 << 63)), ("fixed32 cut off", field(1, [0x15, 0, 0])),
        ("fixed64 cut off", good + [0x79, 0]), ("piece as a number", good + [0x08, 0x01]),
        ("score as text", unknown + field(1, field(1, [0x61]) + field(2, [0x30]))),
        ("type as text", unknown + field(1, field(1, [0x61]) + field(3, [0x30]))),
        ("two megabytes of unknown fields", good + field(99, [UInt8](repeating: 0, count: 2 << 20))),
        ("one piece twice", good + piece("a")), ("empty piece", good + piece("")),
        ("piece with a zero byte", good + piece([0x62, 0x00])), ("piece that is no UTF-8", good + piece([0xC3, 0x28])),
        ("piece of 100 kB", good + piece([UInt8](repeating: 0x62, count: 100_000))),
        ("score that is no number", good + piece("b", .nan)), ("infinite score", good + piece("b", .infinity)),
        ("piece type 0", good + piece("b", type: 0)), ("piece type 7", good + piece("b", type: 7)),
        ("no unknown piece", piece("a")), ("two unknown pieces", good + piece("<u>", type: 2)),
        ("byte piece with another name", good + piece("<0x4>", type: 6)),
        ("byte fallback without byte pieces", good + field(2, varint(35 << 3) + [1])),
        ("model type 0", good + field(2, [0x18, 0])), ("model type 5", good + field(2, [0x18, 5])),
        ("map of one byte", mapped([0])), ("map of three bytes", mapped([4, 0, 0])),
        ("map larger than the blob", mapped([0, 1, 0, 0, 0, 0, 0, 0])),
        ("map of no whole units", mapped([5, 0, 0, 0, 0, 0, 0, 0, 0])),
        ("map of one unit", mapped([4, 0, 0, 0, 0, 0, 0, 0])),
        ("map with a leaf at the root", mapped(map([0: 0x100]))),
        ("map whose root leads out", mapped(map([0: 0xFFFF << 10]))),
        // From the root's base 0 the byte 0x61 leads out, back to the base, or to a value that is too large.
        ("map that leads out", mapped(map([0x61: 0x61 | 0xFFFF << 10]))),
        ("map that leads back", mapped(map([0x61: 0x61 | 0x61 << 10]))),
        ("map with a far value", mapped(map([0x61: 0x61 | 0x100 | 0x100 << 10, 0x161: 0x8000_0002]))),
        ("replacements that are no UTF-8", mapped(map([:], [0xC3, 0x28, 0]))),
        (
            "replacement inside a character",
            mapped(map([0x61: 0x61 | 0x100 | 0x100 << 10, 0x161: 0x8000_0001], [0xC3, 0xA9, 0]))
        ),
    ]

    /// What the SentencePiece library believes of a model, and would read past the end if it were wrong.
    static let libraryCases: [(String, [UInt8])] = [
        (
            "65 user-defined pieces that begin one another",
            good + (2...66).flatMap { piece([UInt8](repeating: 0x62, count: $0), type: 4) }
        ),
        ("33 sources that begin one another", mapped(chain(33))),
        (
            "map with a node that a zero leads to", mapped(map([0x61: 0x61 | 0x100 << 10, 0x161: 5 << 10]))
        ),
        ("map whose value is no leaf", mapped(map([0x61: 0x61 | 0x100 | 0x100 << 10, 0x161: 0x4000_0000]))),
        ("replacement without an end", mapped(map([0x61: 0x61 | 0x100 | 0x100 << 10, 0x161: 0x8000_0000], [0x62]))),
    ]

    /// A map of `a`, `aa`, ... each a source: node i has its children in the block of 256 units with that number.
    private static func chain(_ count: Int) -> [UInt8] {
        var units = [UInt32](repeating: 0, count: (count + 1) * 256)
        for node in 0..<count {
            // The child sits at its parent's base XOR the byte; its own base is the next block's.
            let place = node * 256 ^ 0x61
            units[place] = 0x61 | 0x100 | UInt32(place ^ (node + 1) * 256) << 10
            units[(node + 1) * 256] = 0x8000_0000
        }
        let bytes = ([UInt32(units.count * 4)] + units).flatMap { unit in
            withUnsafeBytes(of: unit.littleEndian) { Array($0) }
        }
        return bytes + [0x62, 0]
    }

    @Test(arguments: libraryCases) func refusesWhatTheLibraryWouldFollow(_ name: String, _ bytes: [UInt8]) {
        let error = #expect(throws: Diagnostic.self, "\(name)") { try Self.load(bytes) }
        #expect(error?.code.exit == .badData && error?.file == "tokenizer.model", "\(name)")
    }

    @Test func takesAsManyNestedPiecesAndSourcesAsTheLibraryDoes() throws {
        let nested = (2...65).flatMap { Self.piece([UInt8](repeating: 0x62, count: $0), type: 4) }
        let tokenizer = try Self.load(Self.good + nested)
        let text = "a" + String(repeating: "b", count: 70)
        #expect(tokenizer.encode(text, addingSpecialTokens: false, recognizingSpecialTokens: false) == [2, 66, 6])
        // The longest source that fits is replaced: `a` 32 times and then twice.
        let mapped = try Self.load(Self.mapped(Self.chain(32)) + Self.piece("b") + Self.piece("▁"))
        let run = String(repeating: "a", count: 34)
        #expect(mapped.encode(run, addingSpecialTokens: false, recognizingSpecialTokens: false) == [4, 3, 3])
        // A zero is a character like others.
        #expect(!mapped.encode("a\0a", addingSpecialTokens: false, recognizingSpecialTokens: false).isEmpty)
    }

    private static func load(_ bytes: [UInt8]) throws -> SentencePieceTokenizer {
        try bytes.withUnsafeBytes { try SentencePieceTokenizer(model: $0, file: "tokenizer.model") }
    }

    @Test(arguments: cases) func refuses(_ name: String, _ bytes: [UInt8]) {
        let error = #expect(throws: Diagnostic.self, "\(name)") { try Self.load(bytes) }
        #expect(error?.code.exit == .badData && error?.file == "tokenizer.model", "\(name)")
    }

    @Test func readsTheModelThatTheCasesChange() throws {
        let tokenizer = try Self.load(Self.good)
        #expect(tokenizer.encode("aab", addingSpecialTokens: false, recognizingSpecialTokens: false) == [2, 1, 0])
        // The map replaces `a` with `b`.
        let bytes = Self.mapped(Self.map([0x61: 0x61 | 0x100 | 0x100 << 10, 0x161: 0x8000_0000])) + Self.piece("▁b")
        let mapped = try Self.load(bytes)
        #expect(mapped.encode("a", addingSpecialTokens: false, recognizingSpecialTokens: false) == [3])
    }

    @Test func takesNoMoreThanAMillionPieces() throws {
        // Pieces without any field: two bytes each.
        let bytes = [[UInt8]](repeating: [0x0A, 0], count: SentencePieceModel.largestVocabulary + 1).flatMap { $0 }
        #expect(throws: Diagnostic.self) { try Self.load(bytes) }
    }

    @Test(arguments: [("sentencepiece_bpe", 100), ("sentencepiece_unigram", 20)])
    func survivesFlippedBitsAndTruncation(_ name: String, _ rounds: Int) throws {
        let original = try Array(Fixture.data("tokenizers/\(name)/tokenizer.model"))
        var random = SplitMix(state: 11)
        for round in 0..<rounds {
            var bytes = original
            if round.isMultiple(of: 2) {
                bytes[Int.random(in: bytes.indices, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            } else {
                bytes.removeLast(Int.random(in: 1..<bytes.count, using: &random))
            }
            guard let tokenizer = try? Self.load(bytes) else { continue }
            let text = "Straße 東京 ﬁ\u{0} ①<s>"
            let ids = tokenizer.encode(text, addingSpecialTokens: true, recognizingSpecialTokens: true)
            _ = tokenizer.decode(ids + [0, 1, -1, .max], skippingSpecialTokens: false)
        }
    }
}
