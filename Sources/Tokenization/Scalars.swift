/// Reading of Unicode scalars from bytes that are known to be UTF-8.
enum UTF8Text {
    /// The number of bytes of the scalar that begins with `lead`.
    @inline(__always)
    static func length(lead: UInt8) -> Int {
        if lead < 0x80 { return 1 }
        if lead < 0xE0 { return 2 }
        return lead < 0xF0 ? 3 : 4
    }

    /// The scalar that begins at `index` and the index after it.
    @inline(__always)
    static func scalar(_ text: UnsafeBufferPointer<UInt8>, at index: Int) -> (value: UInt32, end: Int) {
        let lead = text[index]
        if lead < 0x80 { return (UInt32(lead), index + 1) }
        if lead < 0xE0 {
            return (UInt32(lead & 0x1F) << 6 | UInt32(text[index + 1] & 0x3F), index + 2)
        }
        if lead < 0xF0 {
            let low = UInt32(text[index + 1] & 0x3F) << 6 | UInt32(text[index + 2] & 0x3F)
            return (UInt32(lead & 0x0F) << 12 | low, index + 3)
        }
        let high = UInt32(lead & 0x07) << 18 | UInt32(text[index + 1] & 0x3F) << 12
        return (high | UInt32(text[index + 2] & 0x3F) << 6 | UInt32(text[index + 3] & 0x3F), index + 4)
    }

    /// Where the scalar that ends at `end` begins.
    @inline(__always)
    static func start(_ text: UnsafeBufferPointer<UInt8>, before end: Int) -> Int {
        var index = end - 1
        while index > 0, text[index] & 0xC0 == 0x80 { index -= 1 }
        return index
    }
}

extension [UInt8] {
    mutating func append(_ scalar: Unicode.Scalar) {
        if scalar.value < 0x80 {
            append(UInt8(scalar.value))
        } else {
            append(contentsOf: UTF8.encode(scalar)!)
        }
    }
}

/// Classes of scalars as the reference implementation of tokenizer.json (in Rust) defines them.
enum ScalarClass {
    /// Unicode's White_Space.
    @inline(__always)
    static func isWhitespace(_ value: UInt32) -> Bool {
        if value < 0x80 { return value == 0x20 || (0x09...0x0D).contains(value) }
        switch value {
        case 0x85, 0xA0, 0x1680, 0x2000...0x200A, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000: return true
        default: return false
        }
    }

    /// The general categories Nd, Nl and No.
    @inline(__always)
    static func isNumeric(_ value: UInt32) -> Bool {
        if value < 0x80 { return (0x30...0x39).contains(value) }
        switch category(value) {
        case .decimalNumber, .letterNumber, .otherNumber: return true
        default: return false
        }
    }

    /// What a regular expression's `\w` matches by UTS 18.
    static func isWord(_ value: UInt32) -> Bool {
        guard let scalar = Unicode.Scalar(value) else { return false }
        if scalar.properties.isAlphabetic || scalar.properties.isJoinControl { return true }
        switch scalar.properties.generalCategory {
        case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation: return true
        default: return false
        }
    }

    static func category(_ value: UInt32) -> Unicode.GeneralCategory {
        Unicode.Scalar(value)?.properties.generalCategory ?? .unassigned
    }
}

extension ScalarClass {
    /// ASCII punctuation and symbols, and the general categories P*.
    @inline(__always)
    static func isPunctuation(_ value: UInt32) -> Bool {
        if value < 0x80 {
            switch value {
            case 0x21...0x2F, 0x3A...0x40, 0x5B...0x60, 0x7B...0x7E: return true
            default: return false
            }
        }
        switch category(value) {
        case .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation, .initialPunctuation,
            .finalPunctuation, .otherPunctuation:
            return true
        default: return false
        }
    }
}
