import StrictJSON

extension JinjaValue {
    /// A JSON document as a template sees it. Strings remember `origin`, but for the words that give a message its
    /// form: values of `role` and `type`.
    init(_ json: JSONValue, origin: JinjaOrigin? = nil) {
        switch json {
        case .null: self = .null
        case .bool(let value): self = .bool(value)
        case .integer(let value): self = .int(value)
        case .number(let value): self = .float(value)
        case .string(let value): self = .string(JinjaText(value, from: origin))
        case .array(let values): self = .list(JinjaSequence(values.map { JinjaValue($0, origin: origin) }))
        case .object(let object): self = .dict(JinjaDictionary(object, origin: origin))
        }
    }
}

extension JinjaDictionary {
    /// - Parameter tracksKeys: whether the keys themselves count as data.
    convenience init(_ object: JSONObject, origin: JinjaOrigin?, tracksKeys: Bool = true) {
        var values: [JinjaValue] = []
        values.reserveCapacity(object.count)
        for (key, value) in object.members {
            let isForm = value.string != nil && (key == "role" || key == "type")
            values.append(JinjaValue(value, origin: isForm ? nil : origin))
        }
        let keys = object.keys.map { JinjaValue.string(JinjaText($0, from: tracksKeys ? origin : nil)) }
        self.init(distinct: keys, values: values)
    }
}

/// Writes JSON as Python's `json.dumps` does.
struct JinjaJSONWriter {
    var ensuresASCII = false
    /// What one level of indentation is; nil writes everything on one line.
    var indent: String?
    var itemSeparator = ", "
    var keySeparator = ": "
    var sortsKeys = false
    private(set) var text = JinjaText("")
    private var level = 0

    init(indent: String? = nil) {
        self.indent = indent
        if indent != nil { itemSeparator = "," }
    }

    mutating func write(_ value: JinjaValue, _ interpreter: JinjaInterpreter) throws(JinjaError) {
        try interpreter.budget.charge(items: 1)
        switch value {
        case .null: text.append("null")
        case .bool(let truth): text.append(truth ? "true" : "false")
        case .int(let number): text.append(String(number))
        case .float(let number): text.append(Self.float(number))
        case .string(let string), .markup(let string): try write(string, interpreter)
        case .list(let sequence), .tuple(let sequence):
            try container("[", "]", sequence.items.count, interpreter) { writer, index throws(JinjaError) in
                try writer.write(sequence.items[index], interpreter)
            }
        case .dict(let dictionary): try write(dictionary, interpreter)
        default: throw .type("Object of type \(interpreter.typeName(value)) is not JSON serializable")
        }
    }

    private mutating func write(_ dictionary: JinjaDictionary, _ interpreter: JinjaInterpreter) throws(JinjaError) {
        var order = Array(0..<dictionary.count)
        if sortsKeys {
            order = try mergeSorted(order) { (a, b) throws(JinjaError) in
                try interpreter.isLess(dictionary.keys[a], dictionary.keys[b])
            }
        }
        try container("{", "}", dictionary.count, interpreter) { writer, index throws(JinjaError) in
            try writer.write(try Self.key(dictionary.keys[order[index]], interpreter), interpreter)
            writer.text.append(writer.keySeparator)
            try writer.write(dictionary.values[order[index]], interpreter)
        }
    }

    private mutating func container(
        _ opening: String, _ closing: String, _ count: Int, _ interpreter: JinjaInterpreter,
        _ item: (inout JinjaJSONWriter, Int) throws(JinjaError) -> Void
    ) throws(JinjaError) {
        text.append(opening)
        level += 1
        for index in 0..<count {
            if index > 0 { text.append(itemSeparator) }
            try newLine(interpreter)
            try item(&self, index)
        }
        level -= 1
        if count > 0 { try newLine(interpreter) }
        text.append(closing)
    }

    private mutating func newLine(_ interpreter: JinjaInterpreter) throws(JinjaError) {
        guard let indent else { return }
        try interpreter.budget.charge(indent.utf8.count * level)
        text.append("\n" + String(repeating: indent, count: level))
    }

    private static func key(_ key: JinjaValue, _ interpreter: JinjaInterpreter) throws(JinjaError) -> JinjaText {
        switch key {
        case .string(let text), .markup(let text): return text
        case .null: return JinjaText("null")
        case .bool(let truth): return JinjaText(truth ? "true" : "false")
        case .int(let number): return JinjaText(String(number))
        case .float(let number): return JinjaText(float(number))
        default:
            throw .type(
                "keys must be str, int, float, bool or None, not \(interpreter.typeName(key))")
        }
    }

    private static func float(_ number: Double) -> String {
        if number.isNaN { return "NaN" }
        if number.isInfinite { return number < 0 ? "-Infinity" : "Infinity" }
        return pythonRepresentation(number)
    }

    private mutating func write(_ string: JinjaText, _ interpreter: JinjaInterpreter) throws(JinjaError) {
        try interpreter.budget.charge(string.count * 2)
        var result = "\""
        for scalar in string.string.unicodeScalars {
            switch scalar {
            case "\"": result += "\\\""
            case "\\": result += "\\\\"
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            case "\u{8}": result += "\\b"
            case "\u{C}": result += "\\f"
            case "\u{0}"..<"\u{20}": Self.appendEscape(UInt16(scalar.value), to: &result)
            default:
                if ensuresASCII, scalar.value >= 0x7F {
                    for unit in String(Character(scalar)).utf16 { Self.appendEscape(unit, to: &result) }
                } else {
                    result.unicodeScalars.append(scalar)
                }
            }
        }
        result += "\""
        text.append(string.runs.isEmpty ? JinjaText(result) : string.derived(result))
    }

    private static func appendEscape(_ unit: UInt16, to result: inout String) {
        let digits = String(unit, radix: 16)
        result += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
    }
}

/// `items` sorted by an order that may fail; equal items keep their places.
func mergeSorted<Item>(
    _ items: [Item], _ isLess: (Item, Item) throws(JinjaError) -> Bool
) throws(JinjaError) -> [Item] {
    var current = items
    var width = 1
    while width < current.count {
        var merged: [Item] = []
        merged.reserveCapacity(current.count)
        var start = 0
        while start < current.count {
            let middle = min(start + width, current.count)
            let end = min(start + 2 * width, current.count)
            var (left, right) = (start, middle)
            while left < middle, right < end {
                if try isLess(current[right], current[left]) {
                    merged.append(current[right])
                    right += 1
                } else {
                    merged.append(current[left])
                    left += 1
                }
            }
            merged += current[left..<middle]
            merged += current[right..<end]
            start = end
        }
        current = merged
        width *= 2
    }
    return current
}
