/// How a value is laid out: Python's `[[fill]align][sign][#][0][width][,][.precision][type]`.
struct JinjaFormatSpec {
    var fill: String = " "
    var alignment: Unicode.Scalar?
    var sign: Unicode.Scalar = "-"
    var isAlternate = false
    var width = 0
    var grouping: String?
    var precision: Int?
    var type: Unicode.Scalar?

    static let maximumWidth = 1 << 20

    init() {}

    init(_ text: String) throws(JinjaError) {
        var rest = Array(text.unicodeScalars)[...]
        var hasFill = false
        let alignments: [Unicode.Scalar] = ["<", ">", "=", "^"]
        if rest.count > 1, alignments.contains(rest[rest.startIndex + 1]) {
            fill = String(Character(rest.removeFirst()))
            hasFill = true
            alignment = rest.removeFirst()
        } else if let first = rest.first, alignments.contains(first) {
            alignment = rest.removeFirst()
        }
        if let first = rest.first, ["+", "-", " "].contains(first) { sign = rest.removeFirst() }
        if rest.first == "#" {
            isAlternate = true
            rest.removeFirst()
        }
        if rest.first == "0" {
            rest.removeFirst()
            if !hasFill { fill = "0" }
            alignment = alignment ?? "="
        }
        width = try Self.number(&rest) ?? 0
        if rest.first == "," || rest.first == "_" { grouping = String(Character(rest.removeFirst())) }
        if rest.first == "." {
            rest.removeFirst()
            guard let digits = try Self.number(&rest) else { throw .type("Format specifier missing precision") }
            precision = digits
        }
        type = rest.popFirst()
        guard rest.isEmpty else { throw .type("Invalid format specifier") }
    }

    /// The decimal number at the start, if there is one.
    static func number(_ rest: inout ArraySlice<Unicode.Scalar>) throws(JinjaError) -> Int? {
        let digits = rest.prefix { ("0"..."9").contains($0) }
        guard !digits.isEmpty else { return nil }
        rest = rest[digits.endIndex...]
        guard digits.count < 8, let value = Int(String(String.UnicodeScalarView(digits))), value <= maximumWidth else {
            throw .budget("a width or precision of more than \(maximumWidth)")
        }
        return value
    }
}

extension JinjaInterpreter {
    // MARK: Layout

    /// A value laid out by a format specification.
    func formatted(_ value: JinjaValue, _ spec: JinjaFormatSpec) throws(JinjaError) -> JinjaText {
        try budget.charge(spec.width * 4 + (spec.precision ?? 0))
        if case .int(let number) = value { return JinjaText(try laidOut(number, spec)) }
        if case .float(let number) = value { return JinjaText(try laidOut(number, spec)) }
        if case .bool(let truth) = value, spec.type != nil, spec.type != "s" {
            return JinjaText(try laidOut(truth ? 1 : 0, spec))
        }
        var text = try outputText(value)
        if value.text == nil, !value.isUndefined {
            if case .bool = value {
            } else if spec.width != 0 || spec.type != nil || spec.precision != nil {
                throw .type("unsupported format string passed to \(typeName(value)).__format__")
            }
        } else if let type = spec.type, type != "s" {
            throw .type("Unknown format code '\(type)' for object of type '\(typeName(value))'")
        }
        if let precision = spec.precision {
            let offsets = text.scalarOffsets
            text = text.slice(0..<offsets[min(precision, offsets.count - 1)])
        }
        let alignment: Alignment = spec.alignment == ">" ? .trailing : spec.alignment == "^" ? .center : .leading
        return try padded(text, width: spec.width, fill: spec.fill, alignment)
    }

    private func laidOut(_ number: Int, _ spec: JinjaFormatSpec) throws(JinjaError) -> String {
        let magnitude = number.magnitude
        let body: String
        switch spec.type {
        case nil, "d", "n": body = Self.grouped(String(magnitude), spec.grouping)
        case "x": body = (spec.isAlternate ? "0x" : "") + String(magnitude, radix: 16)
        case "X": body = (spec.isAlternate ? "0X" : "") + String(magnitude, radix: 16, uppercase: true)
        case "o": body = (spec.isAlternate ? "0o" : "") + String(magnitude, radix: 8)
        case "b": body = (spec.isAlternate ? "0b" : "") + String(magnitude, radix: 2)
        case "c":
            guard let scalar = UInt32(exactly: number).flatMap(Unicode.Scalar.init) else {
                throw .type("%c arg not in range(0x110000)")
            }
            body = String(Character(scalar))
        case "e", "E", "f", "F", "g", "G", "%": return try laidOut(Double(number), spec)
        case let type?: throw .type("Unknown format code '\(type)' for object of type 'int'")
        }
        return try signed(body, isNegative: number < 0, spec)
    }

    private func laidOut(_ number: Double, _ spec: JinjaFormatSpec) throws(JinjaError) -> String {
        let magnitude = number.magnitude
        var body: String
        switch spec.type {
        case nil where spec.precision == nil: body = pythonRepresentation(magnitude)
        case nil:
            body = printed("%.*g", precision: max(1, spec.precision ?? 6), magnitude)
            if !body.utf8.contains(where: { ".en".utf8.contains($0) }) { body += ".0" }
        case "f", "F": body = printed("%.*f", precision: spec.precision ?? 6, magnitude)
        case "e": body = printed("%.*e", precision: spec.precision ?? 6, magnitude)
        case "E": body = printed("%.*E", precision: spec.precision ?? 6, magnitude)
        case "g", "n": body = printed("%.*g", precision: spec.precision ?? 6, magnitude)
        case "G": body = printed("%.*G", precision: spec.precision ?? 6, magnitude)
        case "%": body = printed("%.*f", precision: spec.precision ?? 6, magnitude * 100) + "%"
        case let type?: throw .type("Unknown format code '\(type)' for object of type 'float'")
        }
        if let grouping = spec.grouping {
            let whole = body.prefix { ("0"..."9").contains($0) }
            body = Self.grouped(String(whole), grouping) + body.dropFirst(whole.count)
        }
        return try signed(body, isNegative: number.sign == .minus && !number.isNaN, spec)
    }

    private static func grouped(_ digits: String, _ separator: String?) -> String {
        guard let separator else { return digits }
        var result = ""
        for (index, digit) in digits.enumerated() {
            if index > 0, (digits.count - index).isMultiple(of: 3) { result += separator }
            result.append(digit)
        }
        return result
    }

    private func signed(_ body: String, isNegative: Bool, _ spec: JinjaFormatSpec) throws(JinjaError) -> String {
        let sign = isNegative ? "-" : spec.sign == "-" ? "" : String(Character(spec.sign))
        if spec.alignment == "=" {
            let width = max(0, spec.width - sign.utf8.count)
            return sign + (try padded(JinjaText(body), width: width, fill: spec.fill, .trailing).string)
        }
        let alignment: Alignment = spec.alignment == "<" ? .leading : spec.alignment == "^" ? .center : .trailing
        return try padded(JinjaText(sign + body), width: spec.width, fill: spec.fill, alignment).string
    }

    // MARK: printf style

    /// `format % values`
    func formatted(_ format: JinjaText, with values: JinjaValue, isMarkup: Bool) throws(JinjaError) -> JinjaValue {
        var printer = JinjaPrinter(values: values)
        var scalars = Array(format.string.unicodeScalars)[...]
        var result = ""
        var sources: [JinjaText] = [format]
        while let scalar = scalars.popFirst() {
            guard scalar == "%" else {
                result.unicodeScalars.append(scalar)
                continue
            }
            let conversion = try JinjaConversion(&scalars, &printer, self)
            if conversion.type == "%" {
                result += "%"
                continue
            }
            var text = try converted(conversion, try printer.value(for: conversion, self))
            if isMarkup { text = text.escapedHTML }
            sources.append(text)
            try budget.charge(text.count)
            result += text.string
        }
        try printer.finish(self)
        let text = JinjaText(result, derivedFrom: sources)
        return isMarkup ? .markup(text) : .string(text)
    }

    private func converted(_ conversion: JinjaConversion, _ value: JinjaValue) throws(JinjaError) -> JinjaText {
        var spec = conversion.spec
        switch conversion.type {
        case "s", "r", "a":
            var text = conversion.type == "s" ? try outputText(value) : JinjaText(try representation(value))
            if let precision = spec.precision {
                let offsets = text.scalarOffsets
                text = text.slice(0..<offsets[min(precision, offsets.count - 1)])
            }
            return try padded(text, width: spec.width, fill: " ", spec.alignment == "<" ? .leading : .trailing)
        case "d", "i", "u":
            guard let number = number(value) else {
                throw .type("%\(conversion.type) format: a real number is required, not \(typeName(value))")
            }
            guard let integer = value.index ?? Int(exactly: number.rounded(.towardZero)) else {
                throw .budget("an integer that does not fit 64 bits")
            }
            spec.type = "d"
            spec.precision = nil
            return try formatted(.int(integer), spec)
        case "x", "X", "o":
            guard let integer = value.index else {
                throw .type("%\(conversion.type) format: an integer is required, not \(typeName(value))")
            }
            spec.type = conversion.type
            return try formatted(.int(integer), spec)
        case "e", "E", "f", "F", "g", "G":
            guard let number = number(value) else { throw .type("must be real number, not \(typeName(value))") }
            spec.type = conversion.type
            return try formatted(.float(number), spec)
        case "c":
            if let text = value.text, text.string.unicodeScalars.count == 1 { return text }
            guard let code = value.index else { throw .type("%c requires int or char") }
            spec.type = "c"
            return try formatted(.int(code), spec)
        default:
            let code = String(conversion.type.value, radix: 16)
            throw .type("unsupported format character '\(conversion.type)' (0x\(code)) at index \(conversion.index)")
        }
    }
}

/// One `%` conversion: `%(key)-8.3f`.
private struct JinjaConversion {
    var key: String?
    var spec = JinjaFormatSpec()
    var type: Unicode.Scalar = "s"
    /// Where the type stands in the format.
    var index = 0

    /// Reads what follows the percent sign.
    init(
        _ rest: inout ArraySlice<Unicode.Scalar>, _ printer: inout JinjaPrinter, _ interpreter: JinjaInterpreter
    ) throws(JinjaError) {
        if rest.first == "(" {
            guard let end = rest.firstIndex(of: ")") else { throw .type("incomplete format key") }
            key = String(String.UnicodeScalarView(rest[(rest.startIndex + 1)..<end]))
            rest = rest[(end + 1)...]
        }
        spec.alignment = ">"
        while let flag = rest.first, ["-", "+", " ", "0", "#"].contains(flag) {
            rest.removeFirst()
            switch flag {
            case "-": spec.alignment = "<"
            case "0":
                if spec.alignment != "<" {
                    spec.alignment = "="
                    spec.fill = "0"
                }
            case "#": spec.isAlternate = true
            default: if spec.sign != "+" { spec.sign = flag }
            }
        }
        spec.width = try Self.size(&rest, &printer, interpreter) ?? 0
        if rest.first == "." {
            rest.removeFirst()
            spec.precision = try Self.size(&rest, &printer, interpreter) ?? 0
        }
        while let length = rest.first, ["h", "l", "L"].contains(length) { rest.removeFirst() }
        guard let type = rest.popFirst() else { throw .type("incomplete format") }
        self.type = type
        index = rest.startIndex - 1
        if spec.alignment == "<" { spec.fill = " " }
    }

    private static func size(
        _ rest: inout ArraySlice<Unicode.Scalar>, _ printer: inout JinjaPrinter, _ interpreter: JinjaInterpreter
    ) throws(JinjaError) -> Int? {
        guard rest.first == "*" else { return try JinjaFormatSpec.number(&rest) }
        rest.removeFirst()
        guard let size = try printer.next(interpreter).index else { throw .type("* wants int") }
        guard (0...JinjaFormatSpec.maximumWidth).contains(size) else {
            throw .budget("a width or precision of more than \(JinjaFormatSpec.maximumWidth)")
        }
        return size
    }
}

/// The values that a `%` format takes, one after the other or by key.
private struct JinjaPrinter {
    let values: JinjaValue
    private let positional: [JinjaValue]
    private var position = 0
    private var usesKeys = false

    init(values: JinjaValue) {
        self.values = values
        if case .tuple(let sequence) = values { positional = sequence.items } else { positional = [values] }
    }

    mutating func next(_ interpreter: JinjaInterpreter) throws(JinjaError) -> JinjaValue {
        guard position < positional.count else { throw .type("not enough arguments for format string") }
        position += 1
        return positional[position - 1]
    }

    mutating func value(
        for conversion: JinjaConversion, _ interpreter: JinjaInterpreter
    ) throws(JinjaError) -> JinjaValue {
        guard let key = conversion.key else { return try next(interpreter) }
        guard case .dict(let dictionary) = values else { throw .type("format requires a mapping") }
        usesKeys = true
        guard let value = dictionary[key] else { throw .type(PythonText.quoted(key)) }
        return value
    }

    func finish(_ interpreter: JinjaInterpreter) throws(JinjaError) {
        if usesKeys || position >= positional.count { return }
        switch values {
        case .dict, .list: return
        default: throw .type("not all arguments converted during string formatting")
        }
    }
}
