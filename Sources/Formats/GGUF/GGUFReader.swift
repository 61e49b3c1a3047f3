import Diagnostics
import StrictJSON

/// A place in a GGUF file that moves forward and never past the end.
struct GGUFReader {
    let bytes: UnsafeRawBufferPointer
    /// Keeps `bytes` alive in the arrays that are handed out.
    let owner: AnyObject
    private(set) var position = 0
    /// What is being read, for messages; empty outside keys and tensors.
    var subject = ""

    static let maximumKeyBytes = 65535

    init(_ bytes: UnsafeRawBufferPointer, owner: AnyObject) {
        self.bytes = bytes
        self.owner = owner
    }

    var remaining: Int { bytes.count - position }

    mutating func integer<Value: FixedWidthInteger & BitwiseCopyable>(_: Value.Type) throws(Diagnostic) -> Value {
        let size = MemoryLayout<Value>.size
        try need(size)
        defer { position += size }
        return Value(littleEndian: bytes.loadUnaligned(fromByteOffset: position, as: Value.self))
    }

    /// A count whose items take at least `size` bytes each, so that it can be checked before anything is allocated.
    mutating func count(of items: String, size: Int, limit: Int) throws(Diagnostic) -> Int {
        let start = position
        let value = try integer(UInt64.self)
        guard value <= UInt64(limit) else {
            position = start
            throw error(.ggufLimit, "\(value) \(items)", expected: "at most \(limit)")
        }
        guard value <= UInt64(remaining / size) else {
            position = start
            throw error(
                .ggufTruncated, "\(value) \(items) in the last \(remaining) bytes", expected: "a count that fits")
        }
        return Int(value)
    }

    mutating func string(_ name: String, limit: Int = Int.max) throws(Diagnostic) -> String {
        let raw = try stringBytes(name, limit: limit)
        guard let text = String(validating: raw, as: UTF8.self) else {
            throw error(.ggufKey, "\(name) that is not UTF-8", expected: "UTF-8")
        }
        return text
    }

    private mutating func stringBytes(_ name: String, limit: Int) throws(Diagnostic) -> UnsafeRawBufferPointer {
        let start = position
        let length = try integer(UInt64.self)
        guard length <= UInt64(remaining) else {
            position = start
            throw error(
                .ggufTruncated, "\(name) of \(length) bytes, with \(bytes.count - start - 8) left in the file",
                expected: "a string inside the file")
        }
        guard length <= UInt64(limit) else {
            position = start
            throw error(.ggufLimit, "\(name) of \(length) bytes", expected: "at most \(limit)")
        }
        defer { position += Int(length) }
        return UnsafeRawBufferPointer(rebasing: bytes[position..<(position + Int(length))])
    }

    mutating func kind() throws(Diagnostic) -> GGUFKind {
        let start = position
        let number = try integer(UInt32.self)
        guard let kind = GGUFKind(rawValue: number) else {
            position = start
            throw error(.ggufKey, "value kind \(number)", expected: "a kind from 0 to 12")
        }
        return kind
    }

    mutating func value() throws(Diagnostic) -> GGUFValue {
        switch try kind() {
        case .uint8: return .uint8(try integer(UInt8.self))
        case .int8: return .int8(try integer(Int8.self))
        case .uint16: return .uint16(try integer(UInt16.self))
        case .int16: return .int16(try integer(Int16.self))
        case .uint32: return .uint32(try integer(UInt32.self))
        case .int32: return .int32(try integer(Int32.self))
        case .float32: return .float32(Float(bitPattern: try integer(UInt32.self)))
        case .bool: return .bool(try bool())
        case .string: return .string(try string("a string"))
        case .array: return .array(try array())
        case .uint64: return .uint64(try integer(UInt64.self))
        case .int64: return .int64(try integer(Int64.self))
        case .float64: return .float64(Double(bitPattern: try integer(UInt64.self)))
        }
    }

    private mutating func bool() throws(Diagnostic) -> Bool {
        let byte = try integer(UInt8.self)
        guard byte <= 1 else {
            position -= 1
            throw error(.ggufKey, "the truth value \(byte)", expected: "0 or 1")
        }
        return byte == 1
    }

    /// Walks over an array and checks it; the elements are decoded later.
    private mutating func array() throws(Diagnostic) -> GGUFArray {
        let element = try kind()
        guard element != .array else { throw error(.ggufKey, "an array of arrays", expected: "a flat array") }
        let count = try count(of: "array elements", size: element.size ?? 8, limit: Int.max)
        let start = position
        switch element {
        case .string: for _ in 0..<count { _ = try string("a string") }
        case .bool: for _ in 0..<count { _ = try bool() }
        default: position += count * (element.size ?? 0)
        }
        return GGUFArray(
            element: element, count: count, bytes: UnsafeRawBufferPointer(rebasing: bytes[start..<position]),
            owner: owner)
    }

    private func need(_ size: Int) throws(Diagnostic) {
        guard remaining >= size else {
            throw error(
                .ggufTruncated, "the end of the file after \(bytes.count) bytes", expected: "\(size) more bytes")
        }
    }

    func error(_ code: FormatsCode, _ found: String, expected: String, fix: String? = nil) -> Diagnostic {
        let place = "offset 0x\(String(position, radix: 16))" + (subject.isEmpty ? "" : ", \(subject)")
        return Diagnostic(
            code, at: place, found: found, expected: expected, fix: fix ?? "Download or convert the file again")
    }
}
