/// The printable characters that stand for the 256 bytes in byte-level vocabularies (GPT-2's table).
///
/// Printable Latin-1 stands for itself; the other 68 bytes are U+0100 and the letters after it, in order.
enum ByteLevelAlphabet {
    /// The scalar of each byte; all are below U+0800, so each is one or two bytes long.
    static let scalars: [UInt32] = {
        var next: UInt32 = 0x100
        return (0..<256).map { (byte: UInt32) in
            if (0x21...0x7E).contains(byte) || (0xA1...0xAC).contains(byte) || (0xAE...0xFF).contains(byte) {
                return byte
            }
            next += 1
            return next - 1
        }
    }()

    /// The byte of each scalar below U+0144, -1 for those that stand for none.
    private static let bytes: [Int16] = {
        var table = [Int16](repeating: -1, count: 0x144)
        for (byte, scalar) in scalars.enumerated() { table[Int(scalar)] = Int16(byte) }
        return table
    }()

    static func append(_ byte: UInt8, to text: inout [UInt8]) {
        let scalar = scalars[Int(byte)]
        if scalar < 0x80 {
            text.append(UInt8(scalar))
        } else {
            text.append(UInt8(0xC0 | scalar >> 6))
            text.append(UInt8(0x80 | scalar & 0x3F))
        }
    }

    static func encoded(_ bytes: some Sequence<UInt8>) -> [UInt8] {
        var text: [UInt8] = []
        for byte in bytes { append(byte, to: &text) }
        return text
    }

    /// The bytes that a token stands for; nil if one of its characters stands for none.
    static func decoded(_ token: some Collection<UInt8>) -> [UInt8]? {
        var result: [UInt8] = []
        result.reserveCapacity(token.count)
        var lead: UInt32?
        for byte in token {
            let scalar: UInt32
            if let first = lead {
                scalar = (first & 0x1F) << 6 | UInt32(byte) & 0x3F
                lead = nil
            } else if byte < 0x80 {
                scalar = UInt32(byte)
            } else if byte & 0xE0 == 0xC0 {
                lead = UInt32(byte)
                continue
            } else {
                return nil
            }
            guard Int(scalar) < Self.bytes.count, Self.bytes[Int(scalar)] >= 0 else { return nil }
            result.append(UInt8(Self.bytes[Int(scalar)]))
        }
        return lead == nil ? result : nil
    }
}
