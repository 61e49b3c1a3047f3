/// A metadata value of a GGUF file.
package enum GGUFValue: Sendable {
    case uint8(UInt8)
    case int8(Int8)
    case uint16(UInt16)
    case int16(Int16)
    case uint32(UInt32)
    case int32(Int32)
    case float32(Float)
    case bool(Bool)
    case string(String)
    case array(GGUFArray)
    case uint64(UInt64)
    case int64(Int64)
    case float64(Double)

    package var kind: GGUFKind {
        switch self {
        case .uint8: .uint8
        case .int8: .int8
        case .uint16: .uint16
        case .int16: .int16
        case .uint32: .uint32
        case .int32: .int32
        case .float32: .float32
        case .bool: .bool
        case .string: .string
        case .array: .array
        case .uint64: .uint64
        case .int64: .int64
        case .float64: .float64
        }
    }

    /// The value of any integer kind; nil for other kinds and for what exceeds 63 bits.
    package var integer: Int? {
        switch self {
        case .uint8(let value): Int(value)
        case .int8(let value): Int(value)
        case .uint16(let value): Int(value)
        case .int16(let value): Int(value)
        case .uint32(let value): Int(value)
        case .int32(let value): Int(value)
        case .uint64(let value): Int(exactly: value)
        case .int64(let value): Int(value)
        default: nil
        }
    }

    /// The value of either floating-point kind.
    package var floatingPoint: Double? {
        switch self {
        case .float32(let value): Double(value)
        case .float64(let value): value
        default: nil
        }
    }
}

/// The kinds of metadata values; the raw value is the number in the file.
package enum GGUFKind: UInt32, Sendable, CaseIterable {
    case uint8 = 0
    case int8, uint16, int16, uint32, int32, float32, bool, string, array, uint64, int64, float64

    /// Bytes of one value; nil for strings and arrays, whose size varies.
    var size: Int? {
        switch self {
        case .uint8, .int8, .bool: 1
        case .uint16, .int16: 2
        case .uint32, .int32, .float32: 4
        case .uint64, .int64, .float64: 8
        case .string, .array: nil
        }
    }
}

/// An array in a GGUF file's metadata, kept as it is stored and decoded when asked: a vocabulary can be large.
///
/// `@unchecked Sendable`: the bytes are never written, and `owner` keeps them.
package struct GGUFArray: @unchecked Sendable {
    package let element: GGUFKind
    package let count: Int
    /// The elements as stored; strings with their 8-byte lengths.
    let bytes: UnsafeRawBufferPointer
    private let owner: AnyObject

    /// - Parameter bytes: `count` well-formed elements of kind `element`, which is not `array`.
    init(element: GGUFKind, count: Int, bytes: UnsafeRawBufferPointer, owner: AnyObject) {
        (self.element, self.count, self.bytes, self.owner) = (element, count, bytes, owner)
    }

    package init(_ strings: [String]) {
        var stored: [UInt8] = []
        for string in strings {
            stored.appendLittleEndian(UInt64(string.utf8.count))
            stored.append(contentsOf: string.utf8)
        }
        self.init(element: .string, count: strings.count, stored: stored)
    }

    package init(_ values: [Float]) {
        self.init(element: .float32, count: values.count, stored: values.withUnsafeBytes(Array.init))
    }

    package init(_ values: [Int32]) {
        self.init(element: .int32, count: values.count, stored: values.withUnsafeBytes(Array.init))
    }

    package init(_ values: [UInt32]) {
        self.init(element: .uint32, count: values.count, stored: values.withUnsafeBytes(Array.init))
    }

    package init(_ values: [UInt8]) { self.init(element: .uint8, count: values.count, stored: values) }

    package init(_ values: [Bool]) {
        self.init(element: .bool, count: values.count, stored: values.map { $0 ? 1 : 0 })
    }

    private init(element: GGUFKind, count: Int, stored: [UInt8]) {
        let heap = HeapBytes(count: stored.count)
        heap.bytes.copyBytes(from: stored)
        self.init(element: element, count: count, bytes: UnsafeRawBufferPointer(heap.bytes), owner: heap)
    }

    /// The elements of a string array; nil for other kinds.
    package var strings: [String]? {
        guard element == .string else { return nil }
        var result: [String] = []
        result.reserveCapacity(count)
        var position = 0
        for _ in 0..<count {
            let length = Int(bytes.loadUnaligned(fromByteOffset: position, as: UInt64.self))
            position += 8
            result.append(String(decoding: bytes[position..<(position + length)], as: UTF8.self))
            position += length
        }
        return result
    }

    /// The elements of a float array of either width, as floats; nil for other kinds.
    package var floats: [Float]? {
        switch element {
        case .float32: load(Float.self) { $0 }
        case .float64: load(Double.self) { Float($0) }
        default: nil
        }
    }

    /// The elements of an array of any integer kind; nil for other kinds and if one exceeds 63 bits.
    package var integers: [Int]? {
        switch element {
        case .uint8: load(UInt8.self) { Int($0) }
        case .int8: load(Int8.self) { Int($0) }
        case .uint16: load(UInt16.self) { Int($0) }
        case .int16: load(Int16.self) { Int($0) }
        case .uint32: load(UInt32.self) { Int($0) }
        case .int32: load(Int32.self) { Int($0) }
        case .int64: load(Int64.self) { Int($0) }
        case .uint64:
            load(UInt64.self) { $0 }.allSatisfy { $0 <= UInt64(Int.max) } ? load(UInt64.self) { Int($0) } : nil
        default: nil
        }
    }

    package var bools: [Bool]? { element == .bool ? bytes.map { $0 != 0 } : nil }

    private func load<Stored: BitwiseCopyable, Value>(_: Stored.Type, _ convert: (Stored) -> Value) -> [Value] {
        (0..<count).map {
            convert(bytes.loadUnaligned(fromByteOffset: $0 * MemoryLayout<Stored>.size, as: Stored.self))
        }
    }
}

extension [UInt8] {
    mutating func appendLittleEndian(_ value: some FixedWidthInteger) {
        Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
    }
}
