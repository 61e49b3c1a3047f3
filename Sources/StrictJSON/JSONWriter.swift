extension JSONValue {
    /// The layouts in which a document is written.
    package enum Layout: Sendable {
        case compact
        /// Two spaces a level, keys as they stand.
        case indented
        /// Two spaces a level and sorted keys, as PEFT writes its configuration.
        case indentedSorted
    }

    /// The document as UTF-8 text. Numbers that are not finite are written as null: JSON has no other word for them.
    package func serialized(_ layout: Layout = .compact) -> String {
        var text = ""
        write(to: &text, layout, level: 0)
        return text
    }

    private func write(to text: inout String, _ layout: Layout, level: Int) {
        switch self {
        case .null: text += "null"
        case .bool(let value): text += value ? "true" : "false"
        case .integer(let value): text += String(value)
        case .number(let value): text += value.isFinite ? "\(value)" : "null"
        case .string(let value): writeJSONString(value, to: &text)
        case .array(let values):
            writeItems("[", "]", values.count, to: &text, layout, level) { index, text in
                values[index].write(to: &text, layout, level: level + 1)
            }
        case .object(let object):
            var members = object.members
            if layout == .indentedSorted { members.sort { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) } }
            writeItems("{", "}", members.count, to: &text, layout, level) { index, text in
                writeJSONString(members[index].key, to: &text)
                text += layout == .compact ? ":" : ": "
                members[index].value.write(to: &text, layout, level: level + 1)
            }
        }
    }

    private func writeItems(
        _ open: String, _ close: String, _ count: Int, to text: inout String, _ layout: Layout, _ level: Int,
        _ item: (Int, inout String) -> Void
    ) {
        text += open
        for index in 0..<count {
            if index > 0 { text += "," }
            if layout != .compact { text += "\n" + String(repeating: "  ", count: level + 1) }
            item(index, &text)
        }
        if layout != .compact, count > 0 { text += "\n" + String(repeating: "  ", count: level) }
        text += close
    }
}

/// Appends `value` in quotation marks, with the escapes that JSON demands and no others.
private func writeJSONString(_ value: String, to text: inout String) {
    text += "\""
    if !value.utf8.contains(where: { $0 < 0x20 || $0 == UInt8(ascii: "\"") || $0 == UInt8(ascii: "\\") }) {
        text += value + "\""
        return
    }
    for scalar in value.unicodeScalars {
        switch scalar {
        case "\"": text += "\\\""
        case "\\": text += "\\\\"
        case "\n": text += "\\n"
        case "\r": text += "\\r"
        case "\t": text += "\\t"
        case "\u{0}"..<"\u{20}":
            let digits = String(scalar.value, radix: 16)
            text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
        default: text.unicodeScalars.append(scalar)
        }
    }
    text += "\""
}
