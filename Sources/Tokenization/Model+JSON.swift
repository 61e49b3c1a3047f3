import Diagnostics
import StrictJSON

extension Model {
    /// - Parameter takesRawBytes: whether words come as bytes that stand for byte-level characters.
    init(_ section: JSONSection, takesRawBytes: Bool) throws(Diagnostic) {
        switch try Self.type(of: section) {
        case "BPE": self = .bytePair(try BytePairModel(section, takesRawBytes: takesRawBytes))
        case "Unigram": self = .unigram(try UnigramModel(section))
        case "WordPiece":
            let vocabulary = try Vocabulary(section)
            let longest = try section.integer("max_input_chars_per_word", default: 100, in: 0...(1 << 40))
            self = .wordPiece(
                WordPieceModel(
                    vocabulary: vocabulary, unknown: try Self.unknown(section, vocabulary, default: "[UNK]"),
                    continuingPrefix: try section.optionalString("continuing_subword_prefix") ?? "##",
                    longestWord: longest))
        case "WordLevel":
            let vocabulary = try Vocabulary(section)
            let unknown = try Self.unknown(section, vocabulary, default: "<unk>")
            self = .wordLevel(WordLevelModel(vocabulary: vocabulary, unknown: unknown))
        case let type: throw section.unsupported("model", type)
        }
    }

    /// The type, which old files leave to be guessed from the keys.
    static func type(of section: JSONSection) throws(Diagnostic) -> String {
        if let type = try section.optionalString("type") { return type }
        if section.value("merges") != nil { return "BPE" }
        if section.value("vocab")?.array != nil { return "Unigram" }
        return section.value("continuing_subword_prefix") != nil ? "WordPiece" : "WordLevel"
    }

    private static func unknown(
        _ section: JSONSection, _ vocabulary: Vocabulary, default name: String
    ) throws(Diagnostic) -> Int32? {
        vocabulary.id(of: try section.optionalString("unk_token") ?? name)
    }
}

extension Vocabulary {
    /// The tokens of `{"token": id, ...}` under `vocab`.
    fileprivate convenience init(_ section: JSONSection) throws(Diagnostic) {
        let tokens = try section.section("vocab")
        var builder = Builder(capacity: tokens.object.count)
        for (token, value) in zip(tokens.object.keys, tokens.object.values) {
            let id = try JSONSection.tokenID(value, at: tokens.path)
            try Self.add(token, id, to: &builder, at: tokens.path)
        }
        self.init(builder)
    }

    static func add(_ token: String, _ id: Int32, to builder: inout Builder, at path: String) throws(Diagnostic) {
        var token = token
        let outcome = token.withUTF8 { builder.add($0, id: id) }
        guard outcome == .added else {
            let found = outcome == .idTaken ? "the id \(id) twice" : "a token twice"
            throw Diagnostic(TokenizerCode.vocabulary, at: path, found: found, expected: "every token and id once")
        }
    }
}

extension UnigramModel {
    fileprivate convenience init(_ section: JSONSection) throws(Diagnostic) {
        let pieces = try section.array("vocab")
        let path = section.path("vocab")
        guard pieces.count <= TokenizerLimit.tokenID else {
            throw Diagnostic(
                TokenizerCode.limit, at: path, found: "\(pieces.count) pieces",
                expected: "at most \(TokenizerLimit.tokenID)")
        }
        var builder = Vocabulary.Builder(capacity: pieces.count)
        var scores: [Double] = []
        scores.reserveCapacity(pieces.count)
        for (id, value) in pieces.enumerated() {
            guard let pair = value.array, pair.count == 2, let piece = pair[0].string, let score = pair[1].number,
                piece.utf8.count <= TokenizerLimit.searchedTokenBytes
            else {
                throw JSONSection.mistyped("\(path)[\(id)]", expected: "a piece of at most 1024 bytes and its score")
            }
            try Vocabulary.add(piece, Int32(id), to: &builder, at: "\(path)[\(id)]")
            scores.append(score)
        }
        var unknown: Int32?
        if section.value("unk_id") != nil {
            unknown = Int32(try section.integer("unk_id", in: 0...max(0, pieces.count - 1)))
        }
        self.init(
            vocabulary: builder.build(), scores: scores, unknown: unknown,
            fallsBackToBytes: try section.flag("byte_fallback", default: false))
    }
}

extension BytePairModel {
    fileprivate convenience init(_ section: JSONSection, takesRawBytes: Bool) throws(Diagnostic) {
        let vocabulary = try Vocabulary(section)
        var options = Options()
        if let name = try section.optionalString("unk_token") {
            guard let id = vocabulary.id(of: name) else {
                throw Diagnostic(
                    TokenizerCode.vocabulary, at: section.path("unk_token"),
                    found: "a token that is not in the vocabulary",
                    expected: "one that is")
            }
            options.unknown = id
        }
        options.fusesUnknown = try section.flag("fuse_unk", default: false)
        options.fallsBackToBytes = try section.flag("byte_fallback", default: false)
        options.ignoresMergesOfWholeWords = try section.flag("ignore_merges", default: false)
        options.continuingPrefix = Array((try section.optionalString("continuing_subword_prefix") ?? "").utf8)
        options.endOfWordSuffix = Array((try section.optionalString("end_of_word_suffix") ?? "").utf8)
        options.takesRawBytes =
            takesRawBytes && !options.fallsBackToBytes && options.continuingPrefix.isEmpty
            && options.endOfWordSuffix.isEmpty
        let merges = try Self.merges(section, vocabulary, prefix: options.continuingPrefix)
        self.init(vocabulary: vocabulary, merges: merges, options: options)
    }

    private static func merges(
        _ section: JSONSection, _ vocabulary: Vocabulary, prefix: [UInt8]
    ) throws(Diagnostic) -> MergeTable {
        let list = try section.array("merges")
        let path = section.path("merges")
        var builder = MergeTableBuilder(vocabulary, capacity: list.count, prefixCount: prefix.count)
        for (index, value) in list.enumerated() {
            if let pair = value.array {
                guard pair.count == 2, let left = pair[0].string, let right = pair[1].string else {
                    throw JSONSection.mistyped("\(path)[\(index)]", expected: "two tokens")
                }
                try builder.add(left, right, at: "\(path)[\(index)]")
            } else {
                guard let text = value.string else {
                    throw JSONSection.mistyped("\(path)[\(index)]", expected: "two tokens")
                }
                if text.hasPrefix("#version") { continue }
                guard let space = text.utf8.firstIndex(of: 0x20),
                    text.utf8[space...].dropFirst().firstIndex(of: 0x20) == nil
                else {
                    throw Diagnostic(
                        TokenizerCode.merges, at: "\(path)[\(index)]", found: "a merge that is not two words",
                        expected: "two tokens with one space between them")
                }
                try builder.add(
                    String(text[..<space]), String(text[text.utf8.index(after: space)...]), at: "\(path)[\(index)]")
            }
        }
        return builder.table
    }
}

/// Turns merges given as texts into a table of ids.
struct MergeTableBuilder {
    let table: MergeTable
    private let vocabulary: Vocabulary
    private let prefixCount: Int
    private var rank: UInt32 = 0
    private var scratch: [UInt8] = []
    private var lastID: Int32 = -1

    /// - Parameter prefixCount: the length of the prefix of continuing tokens, which a merge's right side loses.
    init(_ vocabulary: Vocabulary, capacity: Int, prefixCount: Int) {
        self.vocabulary = vocabulary
        self.prefixCount = prefixCount
        table = MergeTable(capacity: capacity)
    }

    /// Adds the next merge in the order of their ranks.
    mutating func add(_ left: String, _ right: String, at path: @autoclosure () -> String) throws(Diagnostic) {
        scratch.removeAll(keepingCapacity: true)
        scratch.append(contentsOf: left.utf8)
        let middle = scratch.count
        scratch.append(contentsOf: right.utf8)
        let ids = scratch.withUnsafeBufferPointer { text in
            (
                vocabulary.id(of: UnsafeBufferPointer(rebasing: text[..<middle])),
                vocabulary.id(of: UnsafeBufferPointer(rebasing: text[middle...]))
            )
        }
        if prefixCount > 0 {
            scratch.removeSubrange(middle..<min(middle + prefixCount, scratch.count))
        }
        guard let leftID = ids.0, let rightID = ids.1, let id = mergedID() else {
            throw Diagnostic(
                TokenizerCode.merges, at: path(), found: "a merge of or into a token that is not in the vocabulary",
                expected: "tokens of the vocabulary")
        }
        table.add(leftID, rightID, MergeTable.Merge(rank: rank, id: id))
        rank += 1
        lastID = id
    }

    /// The id of the token in `scratch`. Merges mostly come in the order of the ids that they make.
    private func mergedID() -> Int32? {
        for id in lastID...lastID + 1 {
            if let token = vocabulary.token(id), token.elementsEqual(scratch) { return id }
        }
        return vocabulary.id(of: scratch)
    }
}
