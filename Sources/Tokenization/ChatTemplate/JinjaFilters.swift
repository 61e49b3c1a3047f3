/// The filters: `value | name(arguments)`.
enum JinjaFilters {
    typealias Filter = @Sendable (JinjaInterpreter, JinjaValue, JinjaArguments) throws(JinjaError) -> JinjaValue

    static let all: [String: Filter] = strings.merging(sequences) { $1 }.merging(values) { $1 }

    /// Filters of single values.
    private static let values: [String: Filter] = [
        "abs": absolute,
        "attr": attribute,
        "d": fallback,
        "default": fallback,
        "filesizeformat": fileSize,
        "float": float,
        "int": integer,
        "pprint": { interpreter, value, _ throws(JinjaError) in .text(try interpreter.representation(value)) },
        "round": round,
        "tojson": json,
    ]

    // MARK: Values

    private static func fallback(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        let bound = try arguments.bind("do_default", ["default_value", "boolean"])
        let whenFalse = bound[1].map(interpreter.truth) ?? false
        if value.isUndefined || (whenFalse && !interpreter.truth(value)) { return bound[0] ?? .text("") }
        return value
    }

    private static func attribute(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        guard let name = try arguments.bind("do_attr", ["name"], required: 1)[0]?.text?.string else {
            throw .type("attribute name must be string")
        }
        // An element of that name does not count.
        if case .dict(let dictionary) = value, dictionary[name] != nil {
            return try interpreter.attribute(
                name, of: .dict(JinjaDictionary(distinct: [], values: [])))
        }
        return try interpreter.attribute(name, of: value)
    }

    private static func json(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        let bound = try arguments.bind("tojson", ["ensure_ascii", "indent", "separators", "sort_keys"])
        var indent: String?
        switch bound[1] {
        case nil, .some(.null): break
        case .some(let width):
            if let text = width.text {
                indent = text.string
            } else if let count = width.index {
                try interpreter.budget.charge(max(0, count))
                indent = String(repeating: " ", count: max(0, count))
            } else {
                throw .type("can't multiply sequence by non-int of type '\(interpreter.typeName(width))'")
            }
        }
        var writer = JinjaJSONWriter(indent: indent)
        writer.ensuresASCII = bound[0].map(interpreter.truth) ?? false
        writer.sortsKeys = bound[3].map(interpreter.truth) ?? false
        if let separators = bound[2], !separators.isNone {
            let parts = try interpreter.items(of: separators, unpacking: true)
            guard parts.count == 2, let items = parts[0].text, let keys = parts[1].text else {
                throw .type("separators must be two strings")
            }
            writer.itemSeparator = items.string
            writer.keySeparator = keys.string
        }
        try writer.write(value, interpreter)
        return .string(writer.text)
    }

    // MARK: Numbers

    private static func absolute(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        _ = try arguments.bind("abs", [])
        if case .undefined = value { throw interpreter.undefinedFailure(value) }
        if case .float(let number) = value { return .float(number.magnitude) }
        guard let number = value.index else {
            throw .type("bad operand type for abs(): '\(interpreter.typeName(value))'")
        }
        return number < 0 ? try interpreter.negated(.int(number)) : .int(number)
    }

    private static func integer(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        let bound = try arguments.bind("do_int", ["default", "base"])
        if case .undefined = value { throw interpreter.undefinedFailure(value) }
        let number: Double?
        if let text = value.text {
            if let integer = pythonInteger(text.string, base: bound[1]?.index ?? 10) { return .int(integer) }
            number = pythonFloat(text.string)
        } else if let integer = value.index {
            return .int(integer)
        } else {
            number = interpreter.number(value)
        }
        return number.flatMap { Int(exactly: $0.rounded(.towardZero)) }.map { .int($0) } ?? bound[0] ?? .int(0)
    }

    private static func float(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        let bound = try arguments.bind("do_float", ["default"])
        if case .undefined = value { throw interpreter.undefinedFailure(value) }
        let number = value.text.map { pythonFloat($0.string) } ?? interpreter.number(value)
        return number.map { .float($0) } ?? bound[0] ?? .float(0)
    }

    private static func round(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        let bound = try arguments.bind("do_round", ["precision", "method"])
        if case .undefined = value { throw interpreter.undefinedFailure(value) }
        let method = bound[1]?.text?.string ?? (bound[1] == nil ? "common" : "")
        guard ["common", "ceil", "floor"].contains(method) else {
            throw .type("method must be common, ceil or floor")
        }
        guard let number = interpreter.number(value) else {
            throw .type("type \(interpreter.typeName(value)) doesn't define __round__ method")
        }
        let places = max(-400, min(bound[0]?.index ?? 0, 400))
        if method == "common" {
            if let integer = value.index, places >= 0 { return .int(integer) }
            let rounded = PythonNumber.rounded(number, places: places)
            return value.index == nil ? .float(rounded) : .int(Int(exactly: rounded) ?? 0)
        }
        let scale = PythonNumber.power(of: 10, places)
        let scaled = number * scale
        return .float((method == "ceil" ? scaled.rounded(.up) : scaled.rounded(.down)) / scale)
    }

    private static func fileSize(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        let bound = try arguments.bind("do_filesizeformat", ["binary"])
        let isBinary = bound[0].map(interpreter.truth) ?? false
        guard case .float(let bytes) = try float(interpreter, value, JinjaArguments()) else { return .null }
        let base: Double = isBinary ? 1024 : 1000
        if bytes == 1 { return .text("1 Byte") }
        if bytes < base { return .text("\(Int(exactly: bytes.rounded(.towardZero)) ?? 0) Bytes") }
        let prefixes =
            isBinary
            ? ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"]
            : ["kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"]
        var unit = base
        for prefix in prefixes.dropLast() {
            unit *= base
            if bytes < unit { return .text("\(printed("%.*f", precision: 1, base * bytes / unit)) \(prefix)") }
        }
        unit *= base
        return .text("\(printed("%.*f", precision: 1, base * bytes / unit)) \(prefixes[prefixes.count - 1])")
    }
}
