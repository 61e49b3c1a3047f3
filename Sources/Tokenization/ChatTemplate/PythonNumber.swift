import Glibc

/// A float as Python's `repr` writes it: the shortest digits that read back the same.
func pythonRepresentation(_ value: Double) -> String {
    if value.isNaN { return "nan" }
    if value.isInfinite { return value < 0 ? "-inf" : "inf" }
    if value == 0 { return value.sign == .minus ? "-0.0" : "0.0" }
    let (digits, exponent) = shortestDigits(abs(value))
    let sign = value < 0 ? "-" : ""
    // The decimal point stands after `exponent` + 1 digits.
    if exponent < -4 || exponent >= 16 {
        let fraction = digits.count > 1 ? "." + digits.dropFirst() : ""
        let size = String(abs(exponent))
        return sign + digits.prefix(1) + fraction + "e" + (exponent < 0 ? "-" : "+") + (size.count < 2 ? "0" : "")
            + size
    }
    if exponent < 0 { return sign + "0." + String(repeating: "0", count: -exponent - 1) + digits }
    let whole = exponent + 1
    if digits.count <= whole { return sign + digits + String(repeating: "0", count: whole - digits.count) + ".0" }
    return sign + digits.prefix(whole) + "." + digits.dropFirst(whole)
}

/// The shortest decimal digits of a positive number, without zeros at either end, and the exponent of the first one.
private func shortestDigits(_ value: Double) -> (digits: String, exponent: Int) {
    let text = value.description
    let parts = text.split(separator: "e")
    var exponent = parts.count > 1 ? Int(parts[1]) ?? 0 : 0
    let mantissa = parts[0].split(separator: ".", omittingEmptySubsequences: false)
    var digits = Substring(mantissa[0] + (mantissa.count > 1 ? mantissa[1] : ""))
    exponent += mantissa[0].count - 1
    while digits.hasPrefix("0"), digits.count > 1 {
        digits = digits.dropFirst()
        exponent -= 1
    }
    while digits.hasSuffix("0"), digits.count > 1 { digits = digits.dropLast() }
    return (String(digits), exponent)
}

/// `value` through C's `printf`, for the conversions that Python shares with it.
func printed(_ format: String, precision: Int, _ value: Double) -> String {
    var buffer = [CChar](repeating: 0, count: 400 + max(0, precision))
    let count = withVaList([Int32(precision), value]) { vsnprintf(&buffer, buffer.count, format, $0) }
    return String(decoding: buffer.prefix(max(0, Int(count))).map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// A number from text as Python's `float()` reads it, or nil.
func pythonFloat(_ text: String) -> Double? {
    let trimmed = withoutSpace(text)
    guard let digits = withoutUnderscores(trimmed) else { return nil }
    let word = digits.lowercased()
    let unsigned = word.hasPrefix("+") || word.hasPrefix("-") ? String(word.dropFirst()) : word
    switch unsigned {
    case "inf", "infinity": return word.hasPrefix("-") ? -.infinity : .infinity
    case "nan": return .nan
    default: break
    }
    guard let first = unsigned.utf8.first, first == UInt8(ascii: ".") || (0x30...0x39).contains(first),
        !unsigned.contains("x"), !unsigned.contains("p")
    else { return nil }
    if let value = Double(word) { return value }
    // Python also takes `.5` and `5.`.
    var padded = unsigned.hasPrefix(".") ? "0" + unsigned : unsigned
    if let dot = padded.firstIndex(of: ".") {
        let next = padded.index(after: dot)
        if next == padded.endIndex || padded[next] == "e" { padded.insert("0", at: next) }
    }
    guard unsigned != ".", let value = Double(padded) else { return nil }
    return word.hasPrefix("-") ? -value : value
}

/// An integer from text as Python's `int(text, base)` reads it, or nil.
func pythonInteger(_ text: String, base: Int = 10) -> Int? {
    guard var digits = withoutUnderscores(withoutSpace(text).lowercased()) else { return nil }
    var negative = false
    if digits.hasPrefix("+") || digits.hasPrefix("-") { negative = digits.removeFirst() == "-" }
    var radix = base
    for (prefix, value) in [("0x", 16), ("0o", 8), ("0b", 2)] where digits.hasPrefix(prefix) {
        if base == value || base == 0 {
            digits.removeFirst(2)
            radix = value
        }
    }
    if radix == 0 { radix = 10 }
    guard (2...36).contains(radix), let first = digits.utf8.first, first != UInt8(ascii: "+"),
        first != UInt8(ascii: "-")
    else { return nil }
    return Int((negative ? "-" : "") + digits, radix: radix)
}

private func withoutSpace(_ text: String) -> String {
    let text = JinjaText(text)
    return text.trimmed(leading: true, trailing: true).string
}

/// Underscores may stand between digits only.
private func withoutUnderscores(_ text: String) -> String? {
    guard text.contains("_") else { return text }
    let bytes = Array(text.utf8)
    for (index, byte) in bytes.enumerated() where byte == UInt8(ascii: "_") {
        guard index > 0, index + 1 < bytes.count, PythonText.isASCIIAlphanumeric(bytes[index - 1]),
            PythonText.isASCIIAlphanumeric(bytes[index + 1])
        else { return nil }
    }
    return String(decoding: bytes.filter { $0 != UInt8(ascii: "_") }, as: UTF8.self)
}

enum PythonNumber {
    /// `value` rounded to so many decimal places, halves by what the number really is.
    static func rounded(_ value: Double, places: Int) -> Double {
        guard value.isFinite, places <= 323 else { return value }
        if places >= 0 { return Double(printed("%.*f", precision: places, value)) ?? value }
        let scale = power(of: 10, -places)
        return (value / scale).rounded(.toNearestOrEven) * scale
    }

    static func power(of base: Double, _ exponent: Int) -> Double { pow(base, Double(exponent)) }
}
