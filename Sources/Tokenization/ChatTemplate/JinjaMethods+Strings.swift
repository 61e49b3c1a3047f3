extension JinjaInterpreter {
    /// A method of a string; `make` gives texts the kind of the receiver, markup or not.
    func callString(
        _ name: String, _ text: JinjaText, _ arguments: JinjaArguments, _ make: (JinjaText) -> JinjaValue
    ) throws(JinjaError) -> JinjaValue {
        try budget.charge(text.count)
        switch name {
        case "strip", "lstrip", "rstrip":
            let characters = try only(arguments, name)
            return make(
                try stripped(text, characters, name, leading: name != "rstrip", trailing: name != "lstrip"))
        case "startswith", "endswith": return .bool(try hasAffix(text, arguments, name))
        case "split", "rsplit": return try split(text, arguments, name, make)
        case "splitlines":
            let keepsEnds = try arguments.bind(name, ["keepends"])[0].map(truth) ?? false
            return .list(JinjaSequence(text.lines(keepingEnds: keepsEnds).map(make)))
        case "partition", "rpartition": return try partition(text, arguments, name, make)
        case "replace":
            guard arguments.positional.count > 1 || !arguments.keywords.isEmpty else {
                throw .type("replace expected at least 2 arguments, got \(arguments.positional.count)")
            }
            let bound = try arguments.bind(name, ["old", "new", "count"], required: 2)
            let limit = bound[2]?.index ?? -1
            return make(
                try replaced(
                    text, try string(bound[0], "replace", 1), with: try string(bound[1], "replace", 2),
                    limit: limit < 0 ? .max : limit))
        case "join": return make(try join(text, try only(arguments, name)))
        case "find", "rfind", "index", "rindex", "count": return try search(text, arguments, name)
        case "removeprefix", "removesuffix":
            let affix = try string(try only(arguments, name), name, 1)
            if name == "removeprefix" {
                return make(text.hasPrefix(affix.string) ? text.slice(affix.count..<text.count) : text)
            }
            return make(
                text.hasSuffix(affix.string) && !affix.isEmpty ? text.slice(0..<text.count - affix.count) : text)
        case "center", "ljust", "rjust": return make(try justified(text, arguments, name))
        case "zfill": return make(try zeroFilled(text, try only(arguments, name)))
        case "expandtabs": return make(try tabsExpanded(text, arguments))
        case "format", "format_map":
            return try formatted(text, arguments, isMap: name == "format_map", make)
        case "upper", "lower", "capitalize", "title", "swapcase", "casefold":
            guard arguments.positional.isEmpty, arguments.keywords.isEmpty else {
                throw .type("str.\(name)() takes no arguments (\(arguments.positional.count) given)")
            }
            return make(text.derived(caseChanged(text.string, name)))
        case "encode", "maketrans", "translate": throw .type("str.\(name) is not available in chat templates")
        default: return .bool(has(text.string, name))
        }
    }

    // MARK: Arguments

    /// The only argument of a method, none if it was left out.
    private func only(_ arguments: JinjaArguments, _ name: String) throws(JinjaError) -> JinjaValue {
        guard arguments.keywords.isEmpty else { throw .type("str.\(name)() takes no keyword arguments") }
        guard arguments.positional.count <= 1 else {
            throw .type("\(name) expected at most 1 argument, got \(arguments.positional.count)")
        }
        return arguments.positional.first ?? .null
    }

    private func string(_ value: JinjaValue?, _ name: String, _ position: Int) throws(JinjaError) -> JinjaText {
        guard let text = value?.text else {
            throw .type("\(name)() argument \(position) must be str, not \(typeName(value ?? .null))")
        }
        return text
    }

    // MARK: Ends

    /// Without the characters at the ends, white space if none are named.
    func stripped(
        _ text: JinjaText, _ characters: JinjaValue, _ name: String, leading: Bool, trailing: Bool
    ) throws(JinjaError) -> JinjaText {
        if characters.isNone { return text.trimmed(leading: leading, trailing: trailing) }
        guard let set = characters.text else { throw .type("\(name) arg must be None or str") }
        let scalars = Set(set.string.unicodeScalars)
        return text.trimmed(leading: leading, trailing: trailing) { scalars.contains($0) }
    }

    private func hasAffix(
        _ text: JinjaText, _ arguments: JinjaArguments, _ name: String
    ) throws(JinjaError) -> Bool {
        guard let wanted = arguments.positional.first, arguments.keywords.isEmpty else {
            throw .type("\(name)() takes at least 1 argument (0 given)")
        }
        let range = try searched(text, arguments)
        let part = text.slice(range ?? 0..<0)
        let candidates: [JinjaValue]
        if case .tuple(let sequence) = wanted { candidates = sequence.items } else { candidates = [wanted] }
        for candidate in candidates {
            guard let affix = candidate.text else {
                throw .type("\(name) first arg must be str or a tuple of str, not \(typeName(wanted))")
            }
            guard range != nil else { continue }
            if name == "startswith" ? part.hasPrefix(affix.string) : part.hasSuffix(affix.string) { return true }
        }
        return false
    }

    /// The bytes between the second and the third argument; nil if the first lies behind the end.
    private func searched(_ text: JinjaText, _ arguments: JinjaArguments) throws(JinjaError) -> Range<Int>? {
        guard arguments.positional.count > 1 else { return 0..<text.count }
        let offsets = text.scalarOffsets
        let count = offsets.count - 1
        func position(_ index: Int, _ fallback: Int) throws(JinjaError) -> Int {
            guard arguments.positional.count > index, !arguments.positional[index].isNone else { return fallback }
            guard let value = arguments.positional[index].index else {
                throw .type("slice indices must be integers or None or have an __index__ method")
            }
            return value < 0 ? max(0, value + count) : value
        }
        let start = try position(1, 0)
        let end = min(try position(2, count), count)
        guard start <= count, start <= end else { return nil }
        return offsets[start]..<offsets[end]
    }

    // MARK: Searching

    private func search(
        _ text: JinjaText, _ arguments: JinjaArguments, _ name: String
    ) throws(JinjaError) -> JinjaValue {
        guard let wanted = arguments.positional.first, arguments.keywords.isEmpty else {
            throw .type("\(name) expected at least 1 argument, got 0")
        }
        let part = try string(wanted, name, 1)
        let range = try searched(text, arguments)
        if name == "count" { return .int(range.map { text.slice($0).occurrences(of: part.string) } ?? 0) }
        let found = range.flatMap { text.offset(of: part.string, in: $0, last: name.hasPrefix("r")) }
        guard let found else {
            if name.hasSuffix("index") { throw .type("substring not found") }
            return .int(-1)
        }
        return .int(text.slice(0..<found).string.unicodeScalars.count)
    }

    func replaced(
        _ text: JinjaText, _ old: JinjaText, with new: JinjaText, limit: Int
    ) throws(JinjaError) -> JinjaText {
        var result = JinjaText("")
        var start = 0
        var count = 0
        if old.isEmpty {
            // Between all characters, before the first and after the last.
            for (index, character) in text.characters.enumerated() {
                try budget.charge(new.count + 8)
                if index < limit { result.append(new) }
                result.append(character)
                count += 1
            }
            if count < limit { result.append(new) }
            return result
        }
        while count < limit, let found = text.offset(of: old.string, in: start..<text.count) {
            try budget.charge(new.count + found - start + 16)
            result.append(text.slice(start..<found))
            result.append(new)
            start = found + old.count
            count += 1
        }
        if count == 0 { return text }
        result.append(text.slice(start..<text.count))
        return result
    }

    private func join(_ separator: JinjaText, _ value: JinjaValue) throws(JinjaError) -> JinjaText {
        var result = JinjaText("")
        for (index, item) in try items(of: value).enumerated() {
            guard let text = item.text else {
                throw .type("sequence item \(index): expected str instance, \(typeName(item)) found")
            }
            try budget.charge(text.count + separator.count + 8)
            if index > 0 { result.append(separator) }
            result.append(text)
        }
        return result
    }

    // MARK: Splitting

    private func split(
        _ text: JinjaText, _ arguments: JinjaArguments, _ name: String, _ make: (JinjaText) -> JinjaValue
    ) throws(JinjaError) -> JinjaValue {
        let bound = try arguments.bind(name, ["sep", "maxsplit"])
        let requested = bound[1]?.index ?? -1
        let limit = requested < 0 ? Int.max : requested
        let parts: [JinjaText]
        switch bound[0] ?? .null {
        case .null: parts = text.words(limit: limit, fromEnd: name == "rsplit")
        case let separator:
            guard let separator = separator.text else {
                throw .type("must be str or None, not \(typeName(separator))")
            }
            guard !separator.isEmpty else { throw .type("empty separator") }
            parts = text.parts(separatedBy: separator.string, limit: limit, fromEnd: name == "rsplit")
        }
        try budget.charge(parts.count * 32)
        return .list(JinjaSequence(parts.map(make)))
    }

    private func partition(
        _ text: JinjaText, _ arguments: JinjaArguments, _ name: String, _ make: (JinjaText) -> JinjaValue
    ) throws(JinjaError) -> JinjaValue {
        let separator = try string(try only(arguments, name), name, 1)
        guard !separator.isEmpty else { throw .type("empty separator") }
        let isLast = name == "rpartition"
        guard let found = text.offset(of: separator.string, in: 0..<text.count, last: isLast) else {
            let empty = JinjaText("")
            return .tuple(JinjaSequence((isLast ? [empty, empty, text] : [text, empty, empty]).map(make)))
        }
        let end = found + separator.count
        let parts = [text.slice(0..<found), text.slice(found..<end), text.slice(end..<text.count)]
        return .tuple(JinjaSequence(parts.map(make)))
    }

    // MARK: Filling

    enum Alignment { case leading, trailing, center }

    /// The text with `fill` around it, so that it has `width` characters.
    func padded(
        _ text: JinjaText, width: Int, fill: String, _ alignment: Alignment
    ) throws(JinjaError) -> JinjaText {
        let missing = max(0, width) - text.string.unicodeScalars.count
        guard missing > 0 else { return text }
        try budget.charge(missing * fill.utf8.count)
        let left: Int
        switch alignment {
        case .leading: left = 0
        case .trailing: left = missing
        // The odd character goes to the left if the width is odd, as in Python.
        case .center: left = missing / 2 + (missing & width & 1)
        }
        var result = JinjaText(String(repeating: fill, count: left))
        result.append(text)
        result.append(String(repeating: fill, count: missing - left))
        return result
    }

    private func justified(
        _ text: JinjaText, _ arguments: JinjaArguments, _ name: String
    ) throws(JinjaError) -> JinjaText {
        let bound = try arguments.bind(name, ["width", "fillchar"], required: 1)
        guard let width = bound[0]?.index else {
            throw .type("'\(typeName(bound[0] ?? .null))' object cannot be interpreted as an integer")
        }
        let fill = bound[1]?.text?.string ?? " "
        guard fill.unicodeScalars.count == 1 else {
            throw .type("The fill character must be exactly one character long")
        }
        let alignment: Alignment = name == "center" ? .center : name == "ljust" ? .leading : .trailing
        return try padded(text, width: width, fill: fill, alignment)
    }

    private func zeroFilled(_ text: JinjaText, _ width: JinjaValue) throws(JinjaError) -> JinjaText {
        guard let width = width.index else {
            throw .type("'\(typeName(width))' object cannot be interpreted as an integer")
        }
        let isSigned = text.hasPrefix("+") || text.hasPrefix("-")
        var result = text.slice(0..<(isSigned ? 1 : 0))
        result.append(
            try padded(
                text.slice((isSigned ? 1 : 0)..<text.count), width: isSigned ? max(0, width) - 1 : width, fill: "0",
                .trailing))
        return result
    }

    private func tabsExpanded(_ text: JinjaText, _ arguments: JinjaArguments) throws(JinjaError) -> JinjaText {
        let size = try arguments.bind("expandtabs", ["tabsize"])[0]?.index ?? 8
        var result = ""
        var column = 0
        for scalar in text.string.unicodeScalars {
            switch scalar {
            case "\t":
                let count = size > 0 ? size - column % size : 0
                try budget.charge(count)
                result += String(repeating: " ", count: count)
                column += count
            case "\n", "\r":
                result.unicodeScalars.append(scalar)
                column = 0
            default:
                result.unicodeScalars.append(scalar)
                column += 1
            }
        }
        return text.derived(result)
    }

    // MARK: Case and kind

    private func caseChanged(_ text: String, _ name: String) -> String {
        switch name {
        case "upper": PythonText.uppercased(text)
        case "lower": PythonText.lowercased(text)
        case "capitalize": PythonText.capitalized(text)
        case "title": PythonText.titled(text)
        case "swapcase": PythonText.swappedCase(text)
        default: PythonText.caseFolded(text)
        }
    }

    /// The tests that strings have as methods: `isdigit` and the like.
    private func has(_ text: String, _ name: String) -> Bool {
        let scalars = text.unicodeScalars
        switch name {
        case "isascii": return text.utf8.allSatisfy { $0 < 0x80 }
        case "isprintable": return scalars.allSatisfy(PythonText.isPrintable)
        case "islower": return PythonText.isAll(upper: false, text)
        case "isupper": return PythonText.isAll(upper: true, text)
        case "istitle": return PythonText.isTitled(text)
        case "isidentifier":
            guard let first = scalars.first, first == "_" || first.properties.isXIDStart else { return false }
            return scalars.dropFirst().allSatisfy { $0.properties.isXIDContinue }
        default: break
        }
        guard !scalars.isEmpty else { return false }
        return scalars.allSatisfy { scalar in
            switch name {
            case "isspace": PythonText.isSpace(scalar)
            case "isalpha": PythonText.isLetter(scalar)
            case "isalnum": PythonText.isAlphanumeric(scalar)
            case "isdecimal": scalar.properties.numericType == .decimal
            case "isdigit": scalar.properties.numericType == .decimal || scalar.properties.numericType == .digit
            default: scalar.properties.numericType != nil
            }
        }
    }
}
