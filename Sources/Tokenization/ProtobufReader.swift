import Diagnostics

/// Reads the fields of a protocol buffer message, and refuses what a careful writer never makes: groups, varints
/// that do not fit 64 bits, lengths past the end.
struct ProtobufReader {
    enum Value {
        case varint(UInt64)
        case fixed32(UInt32)
        case fixed64(UInt64)
        case bytes(UnsafeRawBufferPointer)
    }

    private let bytes: UnsafeRawBufferPointer
    /// Where the message begins in the file, for errors.
    private let base: Int
    private var position = 0

    init(_ bytes: UnsafeRawBufferPointer, base: Int = 0) {
        self.bytes = bytes
        self.base = base
    }

    /// Where the next field begins in the file.
    var offset: Int { base + position }

    /// The next field, or nil at the message's end.
    mutating func next() throws(Diagnostic) -> (field: Int, value: Value)? {
        guard position < bytes.count else { return nil }
        let start = position
        let tag = try varint()
        guard tag >> 3 > 0, tag >> 3 < 1 << 29 else { throw broken(start, "the field number \(tag >> 3)", "1 to 2^29") }
        let value: Value
        switch tag & 7 {
        case 0: value = .varint(try varint())
        case 1: value = .fixed64(try fixed(UInt64.self))
        case 2: value = .bytes(try delimited())
        case 5: value = .fixed32(try fixed(UInt32.self))
        default: throw broken(start, "the wire type \(tag & 7)", "0, 1, 2 or 5")
        }
        return (Int(tag >> 3), value)
    }

    /// A reader of a message inside this one.
    func nested(_ message: UnsafeRawBufferPointer) -> ProtobufReader {
        let distance = message.baseAddress.flatMap { inner in bytes.baseAddress.map { inner - $0 } } ?? 0
        return ProtobufReader(message, base: base + distance)
    }

    private mutating func varint() throws(Diagnostic) -> UInt64 {
        let start = position
        var result: UInt64 = 0
        for shift in stride(from: UInt64(0), to: 70, by: 7) {
            guard position < bytes.count else { throw broken(start, "the end of the data", "the rest of a number") }
            let byte = bytes[position]
            position += 1
            guard shift < 63 || byte <= 1 else { break }
            result |= UInt64(byte & 0x7F) << shift
            if byte < 0x80 { return result }
        }
        throw broken(start, "a number longer than 64 bits", "at most 10 bytes")
    }

    private mutating func fixed<T: FixedWidthInteger>(_ type: T.Type) throws(Diagnostic) -> T {
        let size = MemoryLayout<T>.size
        guard bytes.count - position >= size else {
            throw broken(position, "the end of the data", "\(size) bytes")
        }
        defer { position += size }
        return T(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: T.self))
    }

    private mutating func delimited() throws(Diagnostic) -> UnsafeRawBufferPointer {
        let start = position
        let length = try varint()
        guard length <= UInt64(bytes.count - position) else {
            throw broken(start, "a length of \(length) bytes", "at most the \(bytes.count - position) that are left")
        }
        defer { position += Int(length) }
        return UnsafeRawBufferPointer(rebasing: bytes[position..<position + Int(length)])
    }

    private func broken(_ start: Int, _ found: String, _ expected: String) -> Diagnostic {
        Diagnostic(
            TokenizerCode.sentencePiece, at: "offset \(base + start)", found: found, expected: expected,
            fix: "Download the file again")
    }

    /// An error about a field's value.
    func wrong(at offset: Int, _ found: String, expected: String) -> Diagnostic {
        Diagnostic(TokenizerCode.sentencePiece, at: "offset \(offset)", found: found, expected: expected)
    }
}
