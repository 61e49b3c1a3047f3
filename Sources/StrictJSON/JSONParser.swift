package import Diagnostics

package enum JSONCode: String, DiagnosticCode, CaseIterable {
    case syntax = "E-JSON-SYNTAX"
    case duplicateKey = "E-JSON-DUPLICATE-KEY"
    case limit = "E-JSON-LIMIT"

    package var exit: ExitStatus { .badData }
}

extension JSONValue {
    /// Parses one JSON document (RFC 8259) and refuses whatever two readers could understand differently: duplicate
    /// keys, trailing commas, a byte-order mark, lone surrogates, bytes that are not UTF-8, numbers out of range.
    ///
    /// - Parameters:
    ///   - maximumDepth: the deepest nesting of arrays and objects.
    ///   - maximumBytes: the largest document.
    package init(
        parsing bytes: UnsafeRawBufferPointer, maximumDepth: Int = 64, maximumBytes: Int = 1 << 30
    ) throws(Diagnostic) {
        guard bytes.count <= maximumBytes else {
            throw Diagnostic(
                JSONCode.limit, found: "a JSON document of \(bytes.count) bytes", expected: "at most \(maximumBytes)")
        }
        var parser = JSONParser(bytes: bytes, maximumDepth: maximumDepth)
        self = try parser.document()
    }

    package init(parsing text: String, maximumDepth: Int = 64) throws(Diagnostic) {
        self = try Self.parse(Array(text.utf8), maximumDepth: maximumDepth)
    }

    package init(parsing bytes: [UInt8], maximumDepth: Int = 64) throws(Diagnostic) {
        self = try Self.parse(bytes, maximumDepth: maximumDepth)
    }

    private static func parse(_ bytes: [UInt8], maximumDepth: Int) throws(Diagnostic) -> JSONValue {
        let result = bytes.withUnsafeBytes { buffer in
            Result { () throws(Diagnostic) in try JSONValue(parsing: buffer, maximumDepth: maximumDepth) }
        }
        return try result.get()
    }
}

/// A recursive-descent reader over bytes; the depth limit keeps it far from the end of a 512 KiB stack.
private struct JSONParser {
    let bytes: UnsafeRawBufferPointer
    let maximumDepth: Int
    var position = 0
    var depth = 0

    init(bytes: UnsafeRawBufferPointer, maximumDepth: Int) {
        self.bytes = bytes
        self.maximumDepth = maximumDepth
    }

    mutating func document() throws(Diagnostic) -> JSONValue {
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { throw syntax("a byte-order mark", expected: "JSON") }
        skipSpace()
        let value = try self.value()
        skipSpace()
        if position < bytes.count { throw syntax(describeByte(), expected: "the end of the document") }
        return value
    }

    private mutating func value() throws(Diagnostic) -> JSONValue {
        guard position < bytes.count else { throw syntax("the end of the file", expected: "a value") }
        switch bytes[position] {
        case UInt8(ascii: "{"): return .object(try object())
        case UInt8(ascii: "["): return .array(try array())
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
        default: throw syntax(describeByte(), expected: "a value")
        }
    }

    private mutating func object() throws(Diagnostic) -> JSONObject {
        var result = JSONObject()
        try descend()
        if skip(UInt8(ascii: "}")) { return result }
        repeat {
            skipSpace()
            guard position < bytes.count, bytes[position] == UInt8(ascii: "\"") else {
                throw syntax(describeByte(), expected: "a key in quotation marks")
            }
            let start = position
            let key = try string()
            guard skip(UInt8(ascii: ":")) else { throw syntax(describeByte(), expected: "':'") }
            skipSpace()
            guard result.insert(key, try value()) else {
                position = start
                throw Diagnostic(
                    JSONCode.duplicateKey, at: place, found: "a key that this object already has",
                    expected: "every key once")
            }
        } while skip(UInt8(ascii: ","))
        guard skip(UInt8(ascii: "}")) else { throw syntax(describeByte(), expected: "',' or '}'") }
        depth -= 1
        return result
    }

    private mutating func array() throws(Diagnostic) -> [JSONValue] {
        var result: [JSONValue] = []
        try descend()
        if skip(UInt8(ascii: "]")) { return result }
        repeat {
            skipSpace()
            result.append(try value())
        } while skip(UInt8(ascii: ","))
        guard skip(UInt8(ascii: "]")) else { throw syntax(describeByte(), expected: "',' or ']'") }
        depth -= 1
        return result
    }

    private mutating func descend() throws(Diagnostic) {
        position += 1
        depth += 1
        if depth > maximumDepth {
            throw Diagnostic(
                JSONCode.limit, at: place, found: "nesting deeper than \(maximumDepth)",
                expected: "at most \(maximumDepth) levels")
        }
        skipSpace()
        // An empty container closes here, and its level with it.
        if position < bytes.count, bytes[position] == UInt8(ascii: "}") || bytes[position] == UInt8(ascii: "]") {
            depth -= 1
        }
    }

    private mutating func word(_ text: StaticString, _ value: JSONValue) throws(Diagnostic) -> JSONValue {
        let count = text.utf8CodeUnitCount
        guard position + count <= bytes.count,
            (0..<count).allSatisfy({ bytes[position + $0] == text.utf8Start[$0] })
        else { throw syntax("an unknown word", expected: "\(text)") }
        position += count
        return value
    }

    private mutating func number() throws(Diagnostic) -> JSONValue {
        let start = position
        var isInteger = true
        if bytes[position] == UInt8(ascii: "-") { position += 1 }
        let firstDigit = position
        guard skipDigits() > 0 else { throw syntax(describeByte(), expected: "a digit") }
        if bytes[firstDigit] == UInt8(ascii: "0"), position - firstDigit > 1 {
            throw syntax("a number with a leading zero", expected: "JSON's number form")
        }
        if position < bytes.count, bytes[position] == UInt8(ascii: ".") {
            isInteger = false
            position += 1
            guard skipDigits() > 0 else { throw syntax(describeByte(), expected: "a digit") }
        }
        if position < bytes.count, bytes[position] | 0x20 == UInt8(ascii: "e") {
            isInteger = false
            position += 1
            if position < bytes.count, bytes[position] == UInt8(ascii: "+") || bytes[position] == UInt8(ascii: "-") {
                position += 1
            }
            guard skipDigits() > 0 else { throw syntax(describeByte(), expected: "a digit") }
        }
        if isInteger, let value = integer(bytes[start..<position]) { return .integer(value) }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        guard let value = Double(text), value.isFinite else {
            throw syntax("a number out of range", expected: "a finite 64-bit number")
        }
        return .number(value)
    }

    /// The value of digits with an optional minus sign; nil if it does not fit.
    private func integer(_ digits: Slice<UnsafeRawBufferPointer>) -> Int? {
        let isNegative = digits.first == UInt8(ascii: "-")
        var value = 0
        for digit in digits where digit != UInt8(ascii: "-") {
            let (product, overflow) = value.multipliedReportingOverflow(by: 10)
            // Towards the negative side, whose range is larger by one.
            let (sum, sumOverflow) = product.subtractingReportingOverflow(Int(digit - UInt8(ascii: "0")))
            if overflow || sumOverflow { return nil }
            value = sum
        }
        if isNegative { return value }
        return value == .min ? nil : -value
    }

    private mutating func skipDigits() -> Int {
        let start = position
        while position < bytes.count, (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[position]) {
            position += 1
        }
        return position - start
    }

    private mutating func string() throws(Diagnostic) -> String {
        position += 1
        let start = position
        while position < bytes.count {
            let byte = bytes[position]
            if byte == UInt8(ascii: "\"") {
                let text = try validated(UnsafeRawBufferPointer(rebasing: bytes[start..<position]))
                position += 1
                return text
            }
            if byte == UInt8(ascii: "\\") { return try escapedString(from: start) }
            if byte < 0x20 { throw syntax(describeByte(), expected: "an escape sequence") }
            position += 1
        }
        throw syntax("the end of the file", expected: "the end of a string")
    }

    private mutating func escapedString(from start: Int) throws(Diagnostic) -> String {
        var unescaped = Array(bytes[start..<position])
        while position < bytes.count {
            let byte = bytes[position]
            switch byte {
            case UInt8(ascii: "\""):
                guard let text = String(validating: unescaped, as: UTF8.self) else { throw notUTF8 }
                position += 1
                return text
            case UInt8(ascii: "\\"): try appendEscape(to: &unescaped)
            case 0..<0x20: throw syntax(describeByte(), expected: "an escape sequence")
            default:
                unescaped.append(byte)
                position += 1
            }
        }
        throw syntax("the end of the file", expected: "the end of a string")
    }

    private mutating func appendEscape(to text: inout [UInt8]) throws(Diagnostic) {
        position += 1
        guard position < bytes.count else { throw syntax("the end of the file", expected: "an escape") }
        let byte = bytes[position]
        position += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): text.append(byte)
        case UInt8(ascii: "b"): text.append(0x08)
        case UInt8(ascii: "f"): text.append(0x0C)
        case UInt8(ascii: "n"): text.append(0x0A)
        case UInt8(ascii: "r"): text.append(0x0D)
        case UInt8(ascii: "t"): text.append(0x09)
        case UInt8(ascii: "u"):
            var unit = try hexUnit()
            if (0xD800..<0xDC00).contains(unit) {
                guard position + 1 < bytes.count, bytes[position] == UInt8(ascii: "\\"),
                    bytes[position + 1] == UInt8(ascii: "u")
                else { throw syntax("a lone surrogate", expected: "a pair") }
                position += 2
                let low = try hexUnit()
                guard (0xDC00..<0xE000).contains(low) else { throw syntax("a lone surrogate", expected: "a pair") }
                unit = 0x10000 + (unit - 0xD800) << 10 + (low - 0xDC00)
            }
            guard let scalar = Unicode.Scalar(unit) else { throw syntax("a lone surrogate", expected: "a pair") }
            text.append(contentsOf: UTF8.encode(scalar)!)
        default:
            position -= 1
            throw syntax("an unknown escape", expected: #"one of \" \\ \/ \b \f \n \r \t \u"#)
        }
    }

    private mutating func hexUnit() throws(Diagnostic) -> UInt32 {
        guard position + 4 <= bytes.count else { throw syntax("the end of the file", expected: "four hex digits") }
        var unit: UInt32 = 0
        for _ in 0..<4 {
            let digit: UInt8
            switch bytes[position] {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = bytes[position] - UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = bytes[position] - UInt8(ascii: "a") + 10
            case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = bytes[position] - UInt8(ascii: "A") + 10
            default: throw syntax(describeByte(), expected: "a hex digit")
            }
            unit = unit << 4 | UInt32(digit)
            position += 1
        }
        return unit
    }

    private func validated(_ slice: UnsafeRawBufferPointer) throws(Diagnostic) -> String {
        // The library's own validating initialiser costs several times as much for a short string.
        guard isUTF8(slice) else { throw notUTF8 }
        return String(decoding: slice, as: UTF8.self)
    }

    private var notUTF8: Diagnostic { syntax("bytes that are not UTF-8", expected: "UTF-8") }

    private mutating func skip(_ byte: UInt8) -> Bool {
        skipSpace()
        guard position < bytes.count, bytes[position] == byte else { return false }
        position += 1
        return true
    }

    private mutating func skipSpace() {
        while position < bytes.count {
            switch bytes[position] {
            case 0x20, 0x0A, 0x0D, 0x09: position += 1
            default: return
            }
        }
    }

    private func describeByte() -> String {
        guard position < bytes.count else { return "the end of the file" }
        let byte = bytes[position]
        return (0x21..<0x7F).contains(byte)
            ? "'\(Character(Unicode.Scalar(byte)))'" : "byte 0x" + String(byte, radix: 16)
    }

    private func syntax(_ found: String, expected: String) -> Diagnostic {
        Diagnostic(JSONCode.syntax, at: place, found: found, expected: expected, fix: "Write valid JSON")
    }

    private var place: String {
        let before = bytes[..<min(position, bytes.count)]
        let line = before.count { $0 == 0x0A } + 1
        let column = position - (before.lastIndex(of: 0x0A) ?? -1)
        return "line \(line), column \(column)"
    }
}
