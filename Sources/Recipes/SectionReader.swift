import Datasets
import Diagnostics
import StrictJSON

/// Reads the keys of one section of a recipe, each as its type; a key that the section does not have is refused first.
struct SectionReader {
    /// The keys before this section, as in `train.`; empty at the top.
    let prefix: String
    let place: String
    private let entries: [RecipeNode.Entry]

    /// - Parameter known: the keys that the section may have, and, to suggest them, those of the other sections.
    init(
        _ node: RecipeNode, prefix: String, known: [String], elsewhere: [String] = []
    ) throws(Diagnostic) {
        guard let entries = try node.asSection() else {
            throw Diagnostic(
                RecipeCode.type, at: node.place + SectionReader.naming(String(prefix.dropLast())), found: node.kind,
                expected: "a section with keys", fix: "Write the keys below it, indented")
        }
        self.prefix = prefix
        self.entries = entries
        place = node.place
        for entry in entries where !known.contains(entry.key) {
            let moved = elsewhere.first { $0.hasSuffix("." + entry.key) }
            let near = nearest(to: entry.key, among: known).map { prefix + $0 }
            let meant = (prefix.isEmpty ? moved ?? near : near ?? moved) ?? nearest(to: entry.key, among: elsewhere)
            throw Diagnostic(
                RecipeCode.unknownKey, at: entry.keyPlace, found: "the unknown key \"\(prefix)\(cut(entry.key))\"",
                expected: "one of " + known.joined(separator: ", "),
                fix: meant.map { "Did you mean \"\($0)\"" } ?? "Remove the key")
        }
    }

    func node(_ key: String) -> RecipeNode? { entries.first { $0.key == key }?.value }

    func required(_ key: String) throws(Diagnostic) -> RecipeNode {
        guard let node = node(key) else {
            throw Diagnostic(
                RecipeCode.missingKey, at: place, found: "no key \"\(prefix)\(key)\"", expected: "the key",
                fix: "Add \(prefix)\(key)")
        }
        return node
    }

    // MARK: Types

    /// The text as it is written: `no`, `012` and `1:30` are text here.
    func string(_ key: String) throws(Diagnostic) -> String? {
        guard let node = node(key) else { return nil }
        return try text(node, key)
    }

    func text(_ node: RecipeNode, _ key: String) throws(Diagnostic) -> String {
        switch node.content {
        case .argument(let text): return text
        case .scalar(let text, let isPlain):
            if isPlain, text.isEmpty || text == "null" || text == "~" { break }
            return text
        default: break
        }
        throw wrongType(node, key, "a text")
    }

    func bool(_ key: String) throws(Diagnostic) -> Bool? {
        guard let node = node(key) else { return nil }
        switch plainText(node) {
        case "true": return true
        case "false": return false
        default: throw wrongType(node, key, "true or false")
        }
    }

    func integer(_ key: String, in range: ClosedRange<Int>) throws(Diagnostic) -> Int? {
        guard let node = node(key) else { return nil }
        return try integer(node, key, in: range)
    }

    func integer(_ node: RecipeNode, _ key: String, in range: ClosedRange<Int>) throws(Diagnostic) -> Int {
        guard let text = plainText(node), isDecimal(text, fraction: false) else {
            throw wrongType(node, key, "a whole number in decimal digits")
        }
        guard let value = Int(text), range.contains(value) else {
            let expected =
                range.upperBound == .max ? "at least \(range.lowerBound)" : "\(range.lowerBound) to \(range.upperBound)"
            throw wrongRange(node, key, expected)
        }
        return value
    }

    /// - Parameter expected: the range in words, for the message.
    func number(
        _ key: String, _ expected: String, where isAllowed: (Double) -> Bool
    ) throws(Diagnostic) -> Double? {
        guard let node = node(key) else { return nil }
        return try number(node, key, expected, where: isAllowed)
    }

    func number(
        _ node: RecipeNode, _ key: String, _ expected: String, where isAllowed: (Double) -> Bool
    ) throws(Diagnostic) -> Double {
        guard let text = plainText(node), isDecimal(text, fraction: true), let value = Double(text) else {
            throw wrongType(node, key, "a number")
        }
        guard value.isFinite, isAllowed(value) else { throw wrongRange(node, key, expected) }
        return value
    }

    func choice<Value: RawRepresentable & CaseIterable>(
        _ key: String, _: Value.Type
    ) throws(Diagnostic) -> Value? where Value.RawValue == String {
        guard let node = node(key) else { return nil }
        let text = try text(node, key)
        guard let value = Value(rawValue: text) else {
            let names = Value.allCases.map(\.rawValue)
            throw Diagnostic(
                RecipeCode.range, at: node.place + naming(key), found: node.kind,
                expected: names.joined(separator: " or "),
                fix: nearest(to: text, among: names).map { "Write \($0)" } ?? "Use one of these")
        }
        return value
    }

    /// A list of texts; one text alone counts as a list of one.
    func strings(_ key: String) throws(Diagnostic) -> [String]? {
        guard let node = node(key) else { return nil }
        return try strings(node, key)
    }

    func strings(_ node: RecipeNode, _ key: String) throws(Diagnostic) -> [String] {
        var result: [String] = []
        for item in try node.asList() ?? [node] { result.append(try text(item, key)) }
        guard !result.isEmpty else { throw wrongType(node, key, "at least one text") }
        return result
    }

    func list(_ key: String) throws(Diagnostic) -> [RecipeNode]? {
        guard let node = node(key) else { return nil }
        guard let items = try node.asList() else { throw wrongType(node, key, "a list") }
        return items
    }

    // MARK: Errors

    func wrongType(_ node: RecipeNode, _ key: String, _ expected: String) -> Diagnostic {
        Diagnostic(
            RecipeCode.type, at: node.place + naming(key), found: node.kind, expected: expected,
            fix: "Correct the value of \(prefix)\(key)")
    }

    func wrongRange(_ node: RecipeNode, _ key: String, _ expected: String) -> Diagnostic {
        Diagnostic(
            RecipeCode.range, at: node.place + naming(key), found: node.kind, expected: expected,
            fix: "Correct the value of \(prefix)\(key)")
    }

    func naming(_ key: String) -> String { Self.naming(prefix + key) }

    private static func naming(_ key: String) -> String { key.isEmpty ? "" : ", key \"\(key)\"" }

    private func cut(_ key: String) -> String { key.count <= 40 ? key : key.prefix(40) + "…" }

    /// The text of a value that is not in quotation marks.
    private func plainText(_ node: RecipeNode) -> String? {
        switch node.content {
        case .scalar(let text, isPlain: true), .argument(let text): text
        default: nil
        }
    }
}

/// Whether `text` is a number in decimal digits, without a leading zero that could mean octal.
func isDecimal(_ text: String, fraction: Bool) -> Bool {
    var bytes = Array(text.utf8)[...]
    func skipDigits() -> Int {
        let count = bytes.prefix { (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) }.count
        bytes.removeFirst(count)
        return count
    }
    if bytes.first == UInt8(ascii: "-") || bytes.first == UInt8(ascii: "+") { bytes.removeFirst() }
    let startsWithZero = bytes.first == UInt8(ascii: "0")
    var digits = skipDigits()
    if startsWithZero, digits > 1 { return false }
    if fraction, bytes.first == UInt8(ascii: ".") {
        bytes.removeFirst()
        digits += skipDigits()
    }
    guard digits > 0 else { return false }
    if fraction, bytes.first.map({ $0 | 0x20 }) == UInt8(ascii: "e") {
        bytes.removeFirst()
        if bytes.first == UInt8(ascii: "-") || bytes.first == UInt8(ascii: "+") { bytes.removeFirst() }
        guard skipDigits() > 0 else { return false }
    }
    return bytes.isEmpty
}

extension RecipeNode {
    /// The entries of a section; a value of `--set` is read as YAML. nil for what is no section.
    func asSection() throws(Diagnostic) -> [Entry]? {
        switch content {
        case .section(let entries): return entries
        case .argument(let text): return try RecipeNode(argument: text, place: place).asSection()
        default: return nil
        }
    }

    /// The items of a list; a value of `--set` is read as YAML if it stands in brackets. nil for what is no list.
    func asList() throws(Diagnostic) -> [RecipeNode]? {
        switch content {
        case .list(let items): return items
        case .argument(let text) where text.hasPrefix("["):
            return try RecipeNode(argument: text, place: place).asList()
        default: return nil
        }
    }

    /// The value as JSON: plain words and numbers as YAML 1.2's JSON schema has them, everything else as text.
    func json() throws(Diagnostic) -> JSONValue {
        switch content {
        case .argument(let text): return try RecipeNode(argument: text, place: place).json()
        case .list(let items):
            var values: [JSONValue] = []
            for item in items { values.append(try item.json()) }
            return .array(values)
        case .section(let entries):
            var object = JSONObject()
            for entry in entries { object[entry.key] = try entry.value.json() }
            return .object(object)
        case .scalar(let text, isPlain: false): return .string(text)
        case .scalar(let text, isPlain: true):
            switch text {
            case "", "~", "null": return .null
            case "true": return .bool(true)
            case "false": return .bool(false)
            default: break
            }
            if isDecimal(text, fraction: false), let value = Int(text) { return .integer(value) }
            if isDecimal(text, fraction: true), let value = Double(text), value.isFinite { return .number(value) }
            return .string(text)
        }
    }
}
