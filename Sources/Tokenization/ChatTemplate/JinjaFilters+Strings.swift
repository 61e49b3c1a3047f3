extension JinjaFilters {
    /// Filters of strings; other values are taken as `str()` gives them.
    static let strings: [String: Filter] = [
        "capitalize": { i, v, a throws(JinjaError) in try caseChanged(i, v, a, "do_capitalize", PythonText.capitalized)
        },
        "lower": { i, v, a throws(JinjaError) in try caseChanged(i, v, a, "do_lower", PythonText.lowercased) },
        "upper": { i, v, a throws(JinjaError) in try caseChanged(i, v, a, "do_upper", PythonText.uppercased) },
        "title": title,
        "center": center,
        "e": escape,
        "escape": escape,
        "forceescape": { interpreter, value, _ throws(JinjaError) in
            .markup(try interpreter.outputText(value).escapedHTML)
        },
        "format": format,
        "indent": indent,
        "replace": replace,
        "safe": { interpreter, value, _ throws(JinjaError) in .markup(try interpreter.outputText(value)) },
        "string": { interpreter, value, _ throws(JinjaError) in
            if case .markup = value { return value }
            return .string(try interpreter.outputText(value))
        },
        "trim": trim,
        "truncate": truncate,
        "urlencode": urlEncode,
        "wordcount": wordCount,
        "xmlattr": xmlAttributes,
    ]

    /// The text of a value, with a function that makes a result of the same kind, markup or not.
    private static func soft(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue
    ) throws(JinjaError) -> (JinjaText, (JinjaText) -> JinjaValue) {
        let isMarkup = value.isMarkup
        return (try interpreter.outputText(value), { isMarkup ? .markup($0) : .string($0) })
    }

    private static func caseChanged(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments, _ name: String,
        _ change: (String) -> String
    ) throws(JinjaError) -> JinjaValue {
        _ = try arguments.bind(name, [])
        let (text, make) = try soft(interpreter, value)
        try interpreter.budget.charge(text.count * 4)
        return make(text.derived(change(text.string)))
    }

    private static func title(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        _ = try arguments.bind("do_title", [])
        let text = try interpreter.outputText(value)
        try interpreter.budget.charge(text.count * 4)
        var result = ""
        var word = String.UnicodeScalarView()
        func flush() {
            guard let first = word.first else { return }
            result += first.properties.uppercaseMapping + PythonText.lowercased(String(word.dropFirst()))
            word = String.UnicodeScalarView()
        }
        for scalar in text.string.unicodeScalars {
            if PythonText.isSpace(scalar) || "-({[<".unicodeScalars.contains(scalar) {
                flush()
                result.unicodeScalars.append(scalar)
            } else {
                word.append(scalar)
            }
        }
        flush()
        return .string(text.derived(result))
    }

    private static func center(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        let bound = try arguments.bind("do_center", ["width"])
        let (text, make) = try soft(interpreter, value)
        return make(try interpreter.padded(text, width: bound[0]?.index ?? 80, fill: " ", .center))
    }

    private static func escape(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        if case .markup = value { return value }
        return .markup(try interpreter.outputText(value).escapedHTML)
    }

    private static func format(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        guard arguments.positional.isEmpty || arguments.keywords.isEmpty else {
            throw .type("can't handle positional and keyword arguments at the same time")
        }
        let values: JinjaValue
        if arguments.keywords.isEmpty {
            values = .tuple(JinjaSequence(arguments.positional))
        } else {
            values = .dict(try JinjaDictionary(arguments.keywords.map { (.text($0.name), $0.value) }))
        }
        return try interpreter.formatted(try interpreter.outputText(value), with: values, isMarkup: value.isMarkup)
    }

    private static func indent(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        let bound = try arguments.bind("do_indent", ["width", "first", "blank"])
        guard let text = value.text else {
            if case .undefined = value { throw interpreter.undefinedFailure(value) }
            throw .type(
                "unsupported operand type(s) for +=: '\(interpreter.typeName(value))' and 'str'")
        }
        let indentation: JinjaText
        if let own = bound[0]?.text {
            indentation = own
        } else {
            let width = max(0, bound[0]?.index ?? 4)
            try interpreter.budget.charge(width)
            indentation = JinjaText(String(repeating: " ", count: width))
        }
        let indentsFirst = bound[1].map(interpreter.truth) ?? false
        let indentsBlank = bound[2].map(interpreter.truth) ?? false
        // The break that is added keeps a line that ends the text.
        var whole = text
        whole.append("\n")
        var result = JinjaText("")
        for (index, line) in whole.lines(keepingEnds: false).enumerated() {
            try interpreter.budget.charge(indentation.count)
            if index > 0 { result.append("\n") }
            if index == 0 ? indentsFirst : (indentsBlank || !line.isEmpty) { result.append(indentation) }
            result.append(line)
        }
        return value.isMarkup ? .markup(result) : .string(result)
    }

    private static func replace(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        let bound = try arguments.bind("do_replace", ["old", "new", "count"], required: 2)
        let limit = bound[2]?.index ?? -1
        return .string(
            try interpreter.replaced(
                try interpreter.outputText(value), try interpreter.outputText(bound[0] ?? .null),
                with: try interpreter.outputText(bound[1] ?? .null), limit: limit < 0 ? .max : limit))
    }

    private static func trim(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        let bound = try arguments.bind("do_trim", ["chars"])
        let (text, make) = try soft(interpreter, value)
        return make(try interpreter.stripped(text, bound[0] ?? .null, "strip", leading: true, trailing: true))
    }

    private static func truncate(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        let bound = try arguments.bind("do_truncate", ["length", "killwords", "end", "leeway"])
        let length = bound[0]?.index ?? 255
        let end = bound[2]?.text ?? JinjaText("...")
        let endCount = end.string.unicodeScalars.count
        let leeway = bound[3]?.index ?? 5
        guard length >= endCount else { throw .type("expected length >= \(endCount), got \(length)") }
        guard leeway >= 0 else { throw .type("expected leeway >= 0, got \(leeway)") }
        guard let text = value.text else { throw .type("object of type '\(interpreter.typeName(value))' has no len()") }
        let offsets = text.scalarOffsets
        if offsets.count - 1 - leeway <= length { return value }
        var kept = text.slice(0..<offsets[length - endCount])
        if !(bound[1].map(interpreter.truth) ?? false), let space = kept.offset(of: " ", in: 0..<kept.count, last: true)
        {
            kept = kept.slice(0..<space)
        }
        kept.append(end)
        return .string(kept)
    }

    private static func wordCount(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        var count = 0
        var inWord = false
        for scalar in try interpreter.outputText(value).string.unicodeScalars {
            let isWord = scalar == "_" || PythonText.isAlphanumeric(scalar)
            if isWord, !inWord { count += 1 }
            inWord = isWord
        }
        return .int(count)
    }

    // MARK: HTML and URLs

    private static func urlEncode(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        let pairs: [JinjaValue]
        switch value {
        case .dict(let dictionary):
            pairs = zip(dictionary.keys, dictionary.values).map { .tuple(JinjaSequence([$0, $1])) }
        case .list, .tuple: pairs = try interpreter.items(of: value)
        default:
            let text = try interpreter.outputText(value)
            return .string(text.derived(PythonText.percentEncoded(text.string, isQuery: false)))
        }
        var parts: [String] = []
        for pair in pairs {
            let items = try interpreter.items(of: pair, unpacking: true)
            guard items.count == 2 else { throw .type("not enough values to unpack (expected 2, got \(items.count))") }
            var encoded: [String] = []
            for item in items {
                encoded.append(PythonText.percentEncoded(try interpreter.outputText(item).string, isQuery: true))
            }
            parts.append(encoded.joined(separator: "="))
        }
        return .text(parts.joined(separator: "&"))
    }

    private static func xmlAttributes(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        let bound = try arguments.bind("do_xmlattr", ["autospace"])
        guard case .dict(let dictionary) = value else {
            throw .type("'\(interpreter.typeName(value))' object has no attribute 'items'")
        }
        var parts: [String] = []
        for (key, value) in zip(dictionary.keys, dictionary.values) where !value.isNone && !value.isUndefined {
            let name = try interpreter.outputText(key).string
            if name.utf8.contains(where: { " \t\n\r\u{B}\u{C}/>=".utf8.contains($0) }) {
                throw .type("Invalid character in attribute name: \(PythonText.quoted(name))")
            }
            let text = try interpreter.outputText(value)
            let escaped = interpreter.escapedForMarkup(value.isMarkup ? .markup(text) : .string(text))
            parts.append("\(JinjaText(name).escapedHTML.string)=\"\(escaped.string)\"")
        }
        let joined = parts.joined(separator: " ")
        let spaced = bound[0].map(interpreter.truth) ?? true
        return .text(spaced && !joined.isEmpty ? " " + joined : joined)
    }
}
