import Diagnostics
import StrictJSON

/// The names of the tokens that begin and end a text, which a tokenizer's own file does not hold.
struct SpecialNames: Sendable {
    var beginning: String?
    var end: String?
}

/// What tokenizer_config.json and special_tokens_map.json say of the tokenizer beside them.
struct TokenizerConfiguration: Sendable {
    var names = SpecialNames()
    var addsBeginning: Bool?
    var addsEnd: Bool?
    var tokenizerClass: String?
    /// Whether the space that SentencePiece puts in front of a text also comes after each special token.
    var isLegacy = true
    var addedTokens: [AddedToken] = []
    /// Whether the tokenizer is asked for as part of its model, not as a file by itself.
    let isModelFolder: Bool

    /// - Throws: a `TokenizerCode` or `JSONCode` if one of the files is there but wrong.
    init(folder: String, isModelFolder: Bool) throws(Diagnostic) {
        self.isModelFolder = isModelFolder
        for name in ["tokenizer_config.json", "special_tokens_map.json"] {
            let path = folder + "/" + name
            guard FileBytes.kind(path) == .file else { continue }
            let value = try FileBytes.read(path, maximum: 1 << 26) { bytes throws(Diagnostic) in
                do throws(Diagnostic) { return try JSONValue(parsing: bytes) } catch { throw error.inFile(path) }
            }
            do {
                try add(try JSONSection(value, path: ""))
            } catch {
                throw error.inFile(path)
            }
        }
    }

    private mutating func add(_ root: JSONSection) throws(Diagnostic) {
        if names.beginning == nil { names.beginning = try root.tokenName("bos_token") }
        if names.end == nil { names.end = try root.tokenName("eos_token") }
        if root.value("add_bos_token") != nil { addsBeginning = try root.flag("add_bos_token", default: false) }
        if root.value("add_eos_token") != nil { addsEnd = try root.flag("add_eos_token", default: false) }
        if root.value("legacy") != nil { isLegacy = try root.flag("legacy", default: true) }
        if let name = root.value("tokenizer_class")?.string { tokenizerClass = name }
        guard let tokens = try root.optionalSection("added_tokens_decoder") else { return }
        for (key, value) in tokens.object.members {
            let section = try JSONSection(value, path: tokens.path(key))
            guard let id = Int(key) else { throw JSONSection.mistyped(section.path, expected: "an id as key") }
            addedTokens.append(
                try AddedToken(section, id: try JSONSection.tokenID(.integer(id), at: section.path)))
        }
    }
}

extension JSONSection {
    /// A token given as its text, or as an object with its text under `content`.
    fileprivate func tokenName(_ key: String) throws(Diagnostic) -> String? {
        guard let value = value(key) else { return nil }
        return value.string == nil ? try section(key).string("content") : value.string
    }
}

extension AddedToken {
    /// - Throws: `TokenizerCode.addedToken` if the text is empty or too long to be searched for.
    init(_ section: JSONSection, id: Int32) throws(Diagnostic) {
        content = Array(try section.string("content").utf8)
        self.id = id
        isSpecial = try section.flag("special", default: false)
        isNormalized = try section.flag("normalized", default: true)
        isSingleWord = try section.flag("single_word", default: false)
        stripsLeft = try section.flag("lstrip", default: false)
        stripsRight = try section.flag("rstrip", default: false)
        guard (1...TokenizerLimit.searchedTokenBytes).contains(content.count) else {
            throw Diagnostic(
                TokenizerCode.addedToken, at: section.path, found: "a text of \(content.count) bytes",
                expected: "1 to \(TokenizerLimit.searchedTokenBytes)")
        }
    }
}
