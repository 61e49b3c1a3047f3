/// Writes the fields of a protocol buffer message.
struct ProtobufWriter {
    private(set) var bytes: [UInt8] = []

    mutating func write(_ field: Int, varint value: UInt64) {
        append(UInt64(field) << 3)
        append(value)
    }

    mutating func write(_ field: Int, flag: Bool) { write(field, varint: flag ? 1 : 0) }

    mutating func write(_ field: Int, float: Float) {
        append(UInt64(field) << 3 | 5)
        withUnsafeBytes(of: float.bitPattern.littleEndian) { bytes.append(contentsOf: $0) }
    }

    mutating func write(_ field: Int, bytes content: some Collection<UInt8>) {
        append(UInt64(field) << 3 | 2)
        append(UInt64(content.count))
        bytes.append(contentsOf: content)
    }

    private mutating func append(_ value: UInt64) {
        var value = value
        while value >= 0x80 {
            bytes.append(UInt8(truncatingIfNeeded: value) | 0x80)
            value >>= 7
        }
        bytes.append(UInt8(value))
    }
}
