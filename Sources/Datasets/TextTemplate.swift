package import Diagnostics

/// A text with slots for a record's fields: `"Customer: {text}"`; `{{` and `}}` stand for braces.
package struct TextTemplate: Sendable, Equatable {
    enum Part: Sendable, Equatable {
        case literal(String)
        case slot(String)
    }

    /// The text as it was given.
    package let source: String
    let parts: [Part]

    /// The fields that the text needs, in order, each once.
    package var fields: [String] {
        var result: [String] = []
        for case .slot(let name) in parts where !result.contains(where: { $0.utf8.elementsEqual(name.utf8) }) {
            result.append(name)
        }
        return result
    }

    /// - Throws: `DataCode.slot` for a brace without its partner, a slot in a slot, or a slot without a name.
    package init(parsing source: String) throws(Diagnostic) {
        var parts: [Part] = []
        var literal = String.UnicodeScalarView()
        var scalars = Array(source.unicodeScalars)[...]
        func wrong(_ found: String) -> Diagnostic {
            let column = source.unicodeScalars.count - scalars.count
            return Diagnostic(
                DataCode.slot, at: "character \(column)", found: found, expected: "a field in braces, as in {text}",
                fix: "Write {{ and }} for braces that are meant as such")
        }
        while let scalar = scalars.popFirst() {
            if scalar == "{" || scalar == "}", scalars.first == scalar {
                literal.append(scalar)
                scalars.removeFirst()
            } else if scalar == "{" {
                guard let end = scalars.firstIndex(of: "}") else { throw wrong("a brace that is never closed") }
                var name = String.UnicodeScalarView()
                name.append(contentsOf: scalars[scalars.startIndex..<end])
                if name.contains("{") { throw wrong("a brace inside a slot") }
                if name.isEmpty { throw wrong("a slot without a name") }
                if !literal.isEmpty { parts.append(.literal(String(literal))) }
                literal = String.UnicodeScalarView()
                parts.append(.slot(String(name)))
                scalars = scalars[(end + 1)...]
            } else if scalar == "}" {
                throw wrong("a closing brace without its opening one")
            } else {
                literal.append(scalar)
            }
        }
        if !literal.isEmpty { parts.append(.literal(String(literal))) }
        self.source = source
        self.parts = parts
    }

    /// The text with the record's fields in its slots.
    ///
    /// - Throws: what `Record.text(of:)` throws.
    package func text(for record: Record) throws(Diagnostic) -> String {
        var result = ""
        for part in parts {
            switch part {
            case .literal(let text): result += text
            case .slot(let name): result += try record.text(of: name)
            }
        }
        return result
    }

    package static func == (a: TextTemplate, b: TextTemplate) -> Bool { a.source.utf8.elementsEqual(b.source.utf8) }
}
