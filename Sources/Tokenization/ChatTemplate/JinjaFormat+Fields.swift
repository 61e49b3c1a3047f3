extension JinjaInterpreter {
    /// `text.format(arguments)`: fields in braces, each a name or number with attributes, a conversion and a layout.
    func formatted(
        _ text: JinjaText, _ arguments: JinjaArguments, isMap: Bool, _ make: (JinjaText) -> JinjaValue
    ) throws(JinjaError) -> JinjaValue {
        var source = arguments
        if isMap {
            guard arguments.keywords.isEmpty else { throw .type("format_map() takes no keyword arguments") }
            guard arguments.positional.count == 1 else {
                throw .type("format_map() takes exactly one argument (\(arguments.positional.count) given)")
            }
            guard case .dict(let dictionary) = arguments.positional[0] else {
                throw .type("format_map() argument must be a mapping")
            }
            source = JinjaArguments()
            for (key, value) in zip(dictionary.keys, dictionary.values) {
                if let name = key.text?.string { source.keywords.append((name, value)) }
            }
        }
        var fields = JinjaFields(
            scalars: Array(text.string.unicodeScalars), arguments: source, escapes: make(JinjaText("")).isMarkup)
        let parts = try fields.text(depth: 0, self)
        return make(JinjaText(parts.map(\.string).joined(), derivedFrom: [text] + parts))
    }
}

/// Reads a format text and fills its fields.
private struct JinjaFields {
    private let scalars: [Unicode.Scalar]
    private let arguments: JinjaArguments
    private let escapes: Bool
    private var position = 0
    private var nextAutomatic = 0
    private var hasAutomatic = false
    private var hasNumbered = false

    init(scalars: [Unicode.Scalar], arguments: JinjaArguments, escapes: Bool) {
        self.scalars = scalars
        self.arguments = arguments
        self.escapes = escapes
    }

    private var current: Unicode.Scalar? { position < scalars.count ? scalars[position] : nil }

    /// The parts of the text up to its end; inside a field's layout, up to the brace that closes the field.
    mutating func text(depth: Int, _ interpreter: JinjaInterpreter) throws(JinjaError) -> [JinjaText] {
        guard depth < 2 else { throw .type("Max string recursion exceeded") }
        var parts: [JinjaText] = []
        var literal = ""
        while let scalar = current {
            if scalar == "}", depth > 0 { break }
            position += 1
            if scalar == "{" || scalar == "}", depth == 0, current == scalar {
                position += 1
                literal.unicodeScalars.append(scalar)
            } else if scalar == "}" {
                throw .type("Single '}' encountered in format string")
            } else if scalar == "{" {
                guard current != nil else { throw .type("Single '{' encountered in format string") }
                parts.append(JinjaText(literal))
                literal = ""
                let part = try field(depth, interpreter)
                try interpreter.budget.charge(part.count + 16)
                parts.append(part)
            } else {
                literal.unicodeScalars.append(scalar)
            }
        }
        parts.append(JinjaText(literal))
        return parts
    }

    /// The field whose opening brace has been read.
    private mutating func field(_ depth: Int, _ interpreter: JinjaInterpreter) throws(JinjaError) -> JinjaText {
        var value = try first(try word(until: [".", "[", "!", ":", "}"]), interpreter)
        while current == "." || current == "[" {
            let isElement = current == "["
            position += 1
            if isElement {
                let key = try word(until: ["]"])
                position += 1
                value = try interpreter.item(Int(key).map { .int($0) } ?? .text(key), of: value)
            } else {
                value = try interpreter.attribute(try word(until: [".", "[", "!", ":", "}"]), of: value)
            }
        }
        if current == "!" {
            position += 1
            let conversion = current
            position += 1
            switch conversion {
            case "r", "a": value = .text(try interpreter.representation(value))
            case "s": value = .string(try interpreter.outputText(value))
            default: throw .type("Unknown conversion specifier")
            }
        }
        var layout = ""
        if current == ":" {
            position += 1
            layout = try text(depth: depth + 1, interpreter).map(\.string).joined()
        }
        guard current == "}" else { throw .type("expected '}' before end of string") }
        position += 1
        let text = try interpreter.formatted(value, try JinjaFormatSpec(layout))
        return escapes && !value.isMarkup ? text.escapedHTML : text
    }

    private mutating func word(until ends: Set<Unicode.Scalar>) throws(JinjaError) -> String {
        var word = String.UnicodeScalarView()
        while let scalar = current, !ends.contains(scalar) {
            word.append(scalar)
            position += 1
        }
        guard current != nil else { throw .type("expected '}' before end of string") }
        return String(word)
    }

    /// The argument that a field's name means.
    private mutating func first(_ name: String, _ interpreter: JinjaInterpreter) throws(JinjaError) -> JinjaValue {
        guard name.isEmpty || Int(name) != nil else {
            guard let value = arguments.keyword(name) else { throw .type(PythonText.quoted(name)) }
            return value
        }
        if name.isEmpty { hasAutomatic = true } else { hasNumbered = true }
        if hasAutomatic, hasNumbered {
            throw .type("cannot switch from manual field specification to automatic field numbering")
        }
        let index = Int(name) ?? nextAutomatic
        nextAutomatic += 1
        guard arguments.positional.indices.contains(index) else {
            throw .type("tuple index out of range")
        }
        return arguments.positional[index]
    }
}
