import Glibc

/// What Python's strings know about characters, on UTF-8.
enum PythonText {
    /// White space as `str.isspace` and `\s` see it.
    static func isSpace(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x09...0x0D, 0x1C...0x20, 0x85, 0xA0, 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000: true
        default: false
        }
    }

    /// What `str.splitlines` breaks at.
    static func isLineBreak(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x0A...0x0D, 0x1C...0x1E, 0x85, 0x2028, 0x2029: true
        default: false
        }
    }

    static func isASCIIAlphanumeric(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
            UInt8(ascii: "A")...UInt8(ascii: "Z"):
            true
        default: false
        }
    }

    /// The scalar that starts at `index` of valid UTF-8, and its length in bytes.
    static func scalar(in bytes: UnsafeBufferPointer<UInt8>, at index: Int) -> (Unicode.Scalar, Int) {
        let first = UInt32(bytes[index])
        if first < 0x80 { return (Unicode.Scalar(UInt8(first)), 1) }
        let length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4
        guard index + length <= bytes.count else { return ("\u{FFFD}", 1) }
        var value = first & (0x7F >> UInt32(length))
        for offset in 1..<length { value = value << 6 | UInt32(bytes[index + offset] & 0x3F) }
        return (Unicode.Scalar(value) ?? "\u{FFFD}", length)
    }

    static func scalar(in bytes: [UInt8], at index: Int) -> (Unicode.Scalar, Int) {
        bytes.withUnsafeBufferPointer { scalar(in: $0, at: index) }
    }

    /// The start of the scalar that ends before `end`.
    static func start(ofScalarBefore end: Int, in bytes: UnsafeBufferPointer<UInt8>) -> Int {
        var index = end - 1
        while index > 0, bytes[index] & 0xC0 == 0x80 { index -= 1 }
        return index
    }

    /// The number of bytes of white space at the start.
    static func leadingSpace(_ bytes: UnsafeBufferPointer<UInt8>) -> Int {
        trimmed(bytes, leading: true, trailing: false).lowerBound
    }

    /// The range that is left when the scalars that `isTrimmed` accepts are taken off the chosen ends.
    static func trimmed(
        _ bytes: UnsafeBufferPointer<UInt8>, leading: Bool, trailing: Bool,
        _ isTrimmed: (Unicode.Scalar) -> Bool = isSpace
    ) -> Range<Int> {
        var lower = 0
        var upper = bytes.count
        if leading {
            while lower < upper {
                let (scalar, length) = scalar(in: bytes, at: lower)
                guard isTrimmed(scalar) else { break }
                lower += length
            }
        }
        if trailing {
            while upper > lower {
                let start = start(ofScalarBefore: upper, in: bytes)
                guard isTrimmed(scalar(in: bytes, at: start).0) else { break }
                upper = start
            }
        }
        return lower..<upper
    }

    /// The offset of `needle` in `bytes[range]`, the first or the last one, in time linear in their lengths.
    static func find(
        _ needle: UnsafeBufferPointer<UInt8>, in bytes: UnsafeBufferPointer<UInt8>, range: Range<Int>,
        last: Bool = false
    ) -> Int? {
        guard needle.count <= range.count else { return nil }
        guard let first = needle.first else { return last ? range.upperBound : range.lowerBound }
        if needle.count > 16 { return findLong(needle, in: bytes, range: range, last: last) }
        let final = range.upperBound - needle.count
        if last {
            return (range.lowerBound...final).last { index in
                bytes[index] == first && memcmp(bytes.baseAddress! + index, needle.baseAddress!, needle.count) == 0
            }
        }
        var index = range.lowerBound
        while index <= final, let hit = memchr(bytes.baseAddress! + index, Int32(first), final - index + 1) {
            index = UnsafeRawPointer(hit) - UnsafeRawPointer(bytes.baseAddress!)
            if memcmp(hit, needle.baseAddress!, needle.count) == 0 { return index }
            index += 1
        }
        return nil
    }

    /// Knuth, Morris and Pratt's search, which never looks at a byte of the text twice.
    private static func findLong(
        _ needle: UnsafeBufferPointer<UInt8>, in bytes: UnsafeBufferPointer<UInt8>, range: Range<Int>, last: Bool
    ) -> Int? {
        // For each prefix the length of its longest proper prefix that is also its suffix.
        var borders = [Int](repeating: 0, count: needle.count)
        var length = 0
        for index in 1..<needle.count {
            while length > 0, needle[index] != needle[length] { length = borders[length - 1] }
            if needle[index] == needle[length] { length += 1 }
            borders[index] = length
        }
        var found: Int?
        length = 0
        for index in range {
            while length > 0, bytes[index] != needle[length] { length = borders[length - 1] }
            if bytes[index] == needle[length] { length += 1 }
            guard length == needle.count else { continue }
            found = index + 1 - needle.count
            if !last { return found }
            length = borders[length - 1]
        }
        return found
    }

    /// `text` as Python's `repr` writes a string.
    static func quoted(_ text: String) -> String {
        var result = ""
        appendQuoted(text, to: &result)
        return result
    }

    static func appendQuoted(_ text: String, to result: inout String) {
        let quote: Unicode.Scalar =
            text.utf8.contains(UInt8(ascii: "'")) && !text.utf8.contains(UInt8(ascii: "\"")) ? "\"" : "'"
        result.unicodeScalars.append(quote)
        for scalar in text.unicodeScalars {
            switch scalar {
            case quote, "\\":
                result += "\\"
                result.unicodeScalars.append(scalar)
            case "\n": result += "\\n"
            case "\r": result += "\\r"
            case "\t": result += "\\t"
            default:
                if isPrintable(scalar) {
                    result.unicodeScalars.append(scalar)
                } else {
                    appendEscape(of: scalar, to: &result)
                }
            }
        }
        result.unicodeScalars.append(quote)
    }

    /// `\xNN`, `\uNNNN` or `\UNNNNNNNN`.
    static func appendEscape(of scalar: Unicode.Scalar, to result: inout String) {
        let value = scalar.value
        let (prefix, width) = value < 0x100 ? ("\\x", 2) : value < 0x10000 ? ("\\u", 4) : ("\\U", 8)
        let digits = String(value, radix: 16)
        result += prefix + String(repeating: "0", count: width - digits.count) + digits
    }

    static func isPrintable(_ scalar: Unicode.Scalar) -> Bool {
        if scalar.value < 0x7F { return scalar.value >= 0x20 }
        switch scalar.properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator,
            .spaceSeparator:
            return false
        default: return true
        }
    }
}

// MARK: - String literals

extension PythonText {
    /// The text of a string literal, whose escapes are Python's.
    static func unescaped(_ literal: ArraySlice<UInt8>, line: Int) throws(JinjaError) -> String {
        guard literal.contains(UInt8(ascii: "\\")) else { return String(decoding: literal, as: UTF8.self) }
        var result: [UInt8] = []
        result.reserveCapacity(literal.count)
        var index = literal.startIndex
        while index < literal.endIndex {
            let byte = literal[index]
            index += 1
            guard byte == UInt8(ascii: "\\"), index < literal.endIndex else {
                result.append(byte)
                continue
            }
            let escape = literal[index]
            index += 1
            switch escape {
            case UInt8(ascii: "\n"): break
            case UInt8(ascii: "\\"), UInt8(ascii: "'"), UInt8(ascii: "\""): result.append(escape)
            case UInt8(ascii: "a"): result.append(0x07)
            case UInt8(ascii: "b"): result.append(0x08)
            case UInt8(ascii: "f"): result.append(0x0C)
            case UInt8(ascii: "n"): result.append(0x0A)
            case UInt8(ascii: "r"): result.append(0x0D)
            case UInt8(ascii: "t"): result.append(0x09)
            case UInt8(ascii: "v"): result.append(0x0B)
            case UInt8(ascii: "0")...UInt8(ascii: "7"):
                index -= 1
                let digits = literal[index...].prefix(3).prefix { (UInt8(ascii: "0")...UInt8(ascii: "7")).contains($0) }
                index += digits.count
                append(digits.reduce(0) { $0 << 3 | UInt32($1 - UInt8(ascii: "0")) }, to: &result)
            case UInt8(ascii: "x"): try appendHex(2, "\\xXX", literal, &index, line, &result)
            case UInt8(ascii: "u"): try appendHex(4, "\\uXXXX", literal, &index, line, &result)
            case UInt8(ascii: "U"): try appendHex(8, "\\UXXXXXXXX", literal, &index, line, &result)
            default:
                result.append(UInt8(ascii: "\\"))
                result.append(escape)
            }
        }
        return String(decoding: result, as: UTF8.self)
    }

    private static func appendHex(
        _ count: Int, _ form: String, _ literal: ArraySlice<UInt8>, _ index: inout Int, _ line: Int,
        _ result: inout [UInt8]
    ) throws(JinjaError) {
        let digits = literal[index...].prefix(count)
        guard digits.count == count, let value = UInt32(String(decoding: digits, as: UTF8.self), radix: 16),
            digits.first != UInt8(ascii: "+")
        else { throw JinjaError(.syntax, "truncated \(form) escape", line: line) }
        guard Unicode.Scalar(value) != nil else {
            throw JinjaError(.syntax, "an escape that is no Unicode character", line: line)
        }
        index += count
        append(value, to: &result)
    }

    private static func append(_ value: UInt32, to result: inout [UInt8]) {
        guard let scalar = Unicode.Scalar(value) else { return }
        result.append(contentsOf: Array(String(Character(scalar)).utf8))
    }
}

// MARK: - Case

extension PythonText {
    static func uppercased(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars { result += scalar.properties.uppercaseMapping }
        return result
    }

    static func lowercased(_ text: String) -> String {
        guard text.utf8.contains(where: { $0 >= 0x80 }) else { return text.lowercased() }
        let scalars = Array(text.unicodeScalars)
        var result = ""
        for (index, scalar) in scalars.enumerated() {
            result +=
                scalar == "\u{3A3}" && isFinalSigma(scalars, index) ? "\u{3C2}" : scalar.properties.lowercaseMapping
        }
        return result
    }

    /// A capital sigma is final after a cased letter and before none, whatever is ignorable left aside.
    private static func isFinalSigma(_ scalars: [Unicode.Scalar], _ index: Int) -> Bool {
        let before = scalars[..<index].last { !$0.properties.isCaseIgnorable }
        let after = scalars[(index + 1)...].first { !$0.properties.isCaseIgnorable }
        return before?.properties.isCased == true && after?.properties.isCased != true
    }

    /// The first character in title case, the rest in lower case.
    static func capitalized(_ text: String) -> String {
        guard let first = text.unicodeScalars.first else { return text }
        let rest = String(
            lowercased(text).unicodeScalars.dropFirst(first.properties.lowercaseMapping.unicodeScalars.count))
        return first.properties.titlecaseMapping + rest
    }

    /// Every run of cased letters capitalized, as `str.title` does it.
    static func titled(_ text: String) -> String {
        let lower = Array(text.unicodeScalars)
        var result = ""
        var afterCased = false
        for (index, scalar) in lower.enumerated() {
            if !afterCased {
                result += scalar.properties.titlecaseMapping
            } else if scalar == "\u{3A3}", isFinalSigma(lower, index) {
                result += "\u{3C2}"
            } else {
                result += scalar.properties.lowercaseMapping
            }
            afterCased = scalar.properties.isCased
        }
        return result
    }

    static func swappedCase(_ text: String) -> String {
        let scalars = Array(text.unicodeScalars)
        var result = ""
        for (index, scalar) in scalars.enumerated() {
            if scalar == "\u{3A3}", isFinalSigma(scalars, index) {
                result += "\u{3C2}"
                continue
            }
            result +=
                scalar.properties.isUppercase
                ? scalar.properties.lowercaseMapping
                : scalar.properties.isLowercase ? scalar.properties.uppercaseMapping : String(Character(scalar))
        }
        return result
    }

    /// Whether there is a cased letter and all of them are of the wanted case.
    static func isAll(upper: Bool, _ text: String) -> Bool {
        var found = false
        for scalar in text.unicodeScalars {
            let properties = scalar.properties
            if upper ? properties.isLowercase : properties.isUppercase { return false }
            if properties.generalCategory == .titlecaseLetter { return false }
            if upper ? properties.isUppercase : properties.isLowercase { found = true }
        }
        return found
    }
}

// MARK: - Kinds of characters

extension PythonText {
    static func isLetter(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: true
        default: false
        }
    }

    static func isAlphanumeric(_ scalar: Unicode.Scalar) -> Bool {
        isLetter(scalar) || scalar.properties.numericType != nil
    }

    /// Whether every run of cased letters starts with a capital and goes on in lower case.
    static func isTitled(_ text: String) -> Bool {
        var found = false
        var afterCased = false
        for scalar in text.unicodeScalars {
            let properties = scalar.properties
            let isUpper = properties.isUppercase || properties.generalCategory == .titlecaseLetter
            if isUpper ? afterCased : properties.isLowercase && !afterCased { return false }
            afterCased = isUpper || properties.isLowercase
            found = found || afterCased
        }
        return found
    }

    /// Lower case for comparisons: what has a longer capital form is spelt out (`ß` becomes `ss`).
    static func caseFolded(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            let upper = scalar.properties.uppercaseMapping
            let folded = upper.unicodeScalars.count > 1 ? upper : String(Character(scalar))
            for part in folded.unicodeScalars {
                result += part == "\u{3C2}" ? "\u{3C3}" : part.properties.lowercaseMapping
            }
        }
        return result
    }

    /// The text for a URL; in a query `/` is encoded too and a space is a plus sign.
    static func percentEncoded(_ text: String, isQuery: Bool) -> String {
        let digits = Array("0123456789ABCDEF".utf8)
        var result: [UInt8] = []
        for byte in text.utf8 {
            if isASCIIAlphanumeric(byte) || "_.-~".utf8.contains(byte) || (!isQuery && byte == UInt8(ascii: "/")) {
                result.append(byte)
            } else if isQuery, byte == UInt8(ascii: " ") {
                result.append(UInt8(ascii: "+"))
            } else {
                result += [UInt8(ascii: "%"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        return String(decoding: result, as: UTF8.self)
    }
}
