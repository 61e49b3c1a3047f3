package import Diagnostics
package import StrictJSON

/// One row of a data file: fields in the order of the file, and the line on which it starts.
package struct Record: Sendable {
    package let names: [String]
    package let values: [JSONValue]
    /// Counted from 1.
    package let line: Int
    /// The number values that are written otherwise than Swift would write them, by the index of their field.
    let spellings: [Int: String]

    package init(names: [String], values: [JSONValue], line: Int) {
        self.init(names: names, values: values, line: line, spellings: [:])
    }

    init(names: [String], values: [JSONValue], line: Int, spellings: [Int: String]) {
        precondition(names.count == values.count, "\(names.count) names for \(values.count) values")
        self.names = names
        self.values = values
        self.line = line
        self.spellings = spellings
    }

    /// The value of a field; names are compared byte by byte.
    package subscript(name: String) -> JSONValue? { index(of: name).map { values[$0] } }

    private func index(of name: String) -> Int? {
        names.firstIndex { $0.utf8.count == name.utf8.count && $0.utf8.elementsEqual(name.utf8) }
    }

    /// The field as it stands in a rendered text: a string as it is, a number as the file writes it, arrays and objects
    /// as compact JSON.
    ///
    /// - Throws: `DataCode.field` if there is no such field, `DataCode.value` if it is null.
    package func text(of name: String) throws(Diagnostic) -> String {
        guard let index = index(of: name) else { throw missing(name) }
        switch values[index] {
        case .string(let text): return text
        case .null:
            throw Diagnostic(
                DataCode.value, at: place(name), found: "null", expected: "a text",
                fix: "Give the field a value, or leave the record out")
        case .bool(let value): return value ? "true" : "false"
        case .integer(let value): return spellings[index] ?? String(value)
        case .number(let value): return spellings[index] ?? "\(value)"
        case .array, .object: return values[index].serialized()
        }
    }

    /// `line 7, key "name"`, for messages.
    package func place(_ name: String) -> String { "line \(line), key \"\(name)\"" }

    /// The error for a field that is not there, with the name that may have been meant.
    package func missing(_ name: String) -> Diagnostic {
        let known = names.prefix(20).map { "\"\($0)\"" }.joined(separator: ", ")
        let advice =
            if let near = nearest(to: name, among: names) { "Write \"\(near)\"" } else {
                "Use one of the record's fields: \(known)"
            }
        return Diagnostic(
            DataCode.field, at: place(name), found: "no field of that name",
            expected: names.isEmpty ? nil : "one of \(known)", fix: advice)
    }
}
