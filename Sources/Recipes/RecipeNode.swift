import Diagnostics
import Yams

/// A recipe's text as a tree in which every value knows its place; nothing has a type yet.
struct RecipeNode {
    indirect enum Content {
        /// `isPlain` is false for text in quotation marks and block text, which is never a number or null.
        case scalar(String, isPlain: Bool)
        case list([RecipeNode])
        case section([Entry])
        /// The value of `--set`, read as the key it is for wants it.
        case argument(String)
    }

    struct Entry {
        var key: String
        var keyPlace: String
        var value: RecipeNode
    }

    static let maximumBytes = 1 << 20
    static let maximumDepth = 16

    var content: Content
    var place: String

    /// What the value is, for messages.
    var kind: String {
        switch content {
        case .scalar("", isPlain: true), .scalar("~", isPlain: true), .scalar("null", isPlain: true): "no value"
        case .scalar(let text, isPlain: true): text.count <= 40 ? "\"\(text)\"" : "a text"
        case .scalar: "a text in quotation marks"
        case .argument(let text): text.count <= 40 ? "\"\(text)\"" : "a text"
        case .list: "a list"
        case .section: "a section with keys"
        }
    }
}

extension RecipeNode {
    /// Reads one YAML document without anchors, aliases, tags, merge keys and duplicate keys.
    ///
    /// - Throws: `RecipeCode.syntax` or `.limit`, with line and column.
    init(parsing bytes: [UInt8]) throws(Diagnostic) {
        guard bytes.count <= Self.maximumBytes else {
            throw Diagnostic(
                RecipeCode.limit, found: "a recipe of \(bytes.count) bytes", expected: "at most \(Self.maximumBytes)")
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw Self.syntax(nil, "bytes that are not UTF-8", expected: "UTF-8")
        }
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) {
            throw Self.syntax("line 1, column 1", "a byte-order mark", expected: "YAML")
        }
        try self.init(yaml: text) { "line \($0), column \($1)" }
    }

    /// Reads a value that was given on the command line; every place in it is `place`.
    init(argument: String, place: String) throws(Diagnostic) {
        guard argument.utf8.count <= Self.maximumBytes else {
            throw Diagnostic(RecipeCode.limit, at: place, found: "a value of \(argument.utf8.count) bytes")
        }
        try self.init(yaml: argument) { _, _ in place }
    }

    private init(yaml text: String, place: (Int, Int) -> String) throws(Diagnostic) {
        try Self.refuseAliases(text)
        let start = place(1, 1)
        let root: Node?
        // The parser owns the anchors that its nodes name, so it lives until the tree is converted. Without rules for
        // tags no node costs more than its text.
        let parser: Parser
        do {
            parser = try Parser(yaml: text, resolver: .basic, encoding: .utf8)
            root = try parser.singleRoot()
        } catch let error as YamlError {
            throw Self.diagnostic(error, place)
        } catch {
            throw Self.syntax(start, "no valid YAML", expected: "a recipe")
        }
        guard let root else { throw Self.syntax(start, "an empty document", expected: "a recipe") }
        self = try withExtendedLifetime(parser) { () throws(Diagnostic) in
            try Self.convert(root, depth: 0, parent: start, place)
        }
    }

    private static func convert(
        _ node: Node, isKey: Bool = false, depth: Int, parent: String, _ place: (Int, Int) -> String
    ) throws(Diagnostic) -> RecipeNode {
        let here = node.mark.map { place($0.line, $0.column) } ?? parent
        guard depth <= maximumDepth else {
            throw Diagnostic(
                RecipeCode.limit, at: here, found: "nesting deeper than \(maximumDepth)",
                expected: "at most \(maximumDepth) levels")
        }
        if node.anchor != nil { throw syntax(here, "an anchor", expected: "a value", fix: "Write the value out") }
        switch node {
        case .alias: throw aliasError(here)
        case .scalar(let scalar):
            // The parser itself gives keys and quoted text the tag of a string.
            let isString = (isKey || scalar.style != .plain) && scalar.tag.rawValue == Tag.Name.str.rawValue
            if !isString { try refuseTag(scalar.tag, here) }
            return RecipeNode(content: .scalar(scalar.string, isPlain: scalar.style == .plain), place: here)
        case .sequence(let sequence):
            try refuseTag(sequence.tag, here)
            var items: [RecipeNode] = []
            for item in sequence { items.append(try convert(item, depth: depth + 1, parent: here, place)) }
            return RecipeNode(content: .list(items), place: here)
        case .mapping(let mapping):
            try refuseTag(mapping.tag, here)
            var entries: [Entry] = []
            for (key, value) in mapping {
                let key = try convert(key, isKey: true, depth: depth + 1, parent: here, place)
                guard case .scalar(let name, let isPlain) = key.content else {
                    throw syntax(key.place, "\(key.kind) as a key", expected: "a name")
                }
                if name == "<<", isPlain {
                    throw syntax(key.place, "a merge key", expected: "a key", fix: "Write the keys out")
                }
                let value = try convert(value, depth: depth + 1, parent: key.place, place)
                entries.append(Entry(key: name, keyPlace: key.place, value: value))
            }
            return RecipeNode(content: .section(entries), place: here)
        }
    }

    private static func refuseTag(_ tag: Tag, _ place: String) throws(Diagnostic) {
        guard tag.rawValue == Tag.Name.implicit.rawValue else {
            throw syntax(place, "a tag", expected: "a value", fix: "Leave the tag out; every key has its type")
        }
    }

    /// Refuses a text that names an anchor and refers to it, before the parser shares the node: what sharing can blow
    /// up is never built. Anchors that nothing refers to are found in the tree.
    private static func refuseAliases(_ text: String) throws(Diagnostic) {
        var names: [UInt8: Set<[UInt8]>] = [UInt8(ascii: "&"): [], UInt8(ascii: "*"): []]
        let bytes = Array(text.utf8)
        var index = 0
        while index < bytes.count {
            let mark = bytes[index]
            index += 1
            guard names[mark] != nil else { continue }
            let before = index >= 2 ? bytes[index - 2] : 0x0A
            guard before <= 0x20 || "[]{},:?-".utf8.contains(before) else { continue }
            let start = index
            while index < bytes.count, isNameByte(bytes[index]) { index += 1 }
            if index > start { names[mark]?.insert(Array(bytes[start..<index])) }
        }
        let shared = names[UInt8(ascii: "&")]!.intersection(names[UInt8(ascii: "*")]!)
        if !shared.isEmpty { throw aliasError(nil) }
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        byte >= 0x80 || byte == UInt8(ascii: "_") || byte == UInt8(ascii: "-")
            || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
            || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
    }

    // MARK: Errors

    private static func aliasError(_ place: String?) -> Diagnostic {
        syntax(place, "an alias", expected: "a value", fix: "Write the value out instead of &name and *name")
    }

    private static func syntax(
        _ place: String?, _ found: String, expected: String, fix: String = "Correct the recipe"
    ) -> Diagnostic {
        Diagnostic(RecipeCode.syntax, at: place, found: found, expected: expected, fix: fix)
    }

    private static func diagnostic(_ error: YamlError, _ place: (Int, Int) -> String) -> Diagnostic {
        switch error {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _):
            let place = place(mark.line, mark.column)
            if problem.contains("nesting") {
                return Diagnostic(
                    RecipeCode.limit, at: place, found: "nesting deeper than \(maximumDepth)",
                    expected: "at most \(maximumDepth) levels")
            }
            return syntax(place, problem, expected: "YAML")
        case .composer(_, let problem, let mark, _):
            if problem.contains("alias") { return aliasError(place(mark.line, mark.column)) }
            return syntax(place(mark.line, mark.column), "a second document", expected: "one document")
        case .duplicatedKeysInMapping(_, let context):
            return syntax(
                place(context.mark.line, context.mark.column), "a key that this section already has",
                expected: "every key once",
                fix: "Keep one of them")
        case .reader(let problem, _, _, _): return syntax(nil, problem, expected: "YAML")
        default: return syntax(nil, "no valid YAML", expected: "a recipe")
        }
    }
}
