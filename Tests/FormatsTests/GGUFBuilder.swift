import Formats

/// Writes GGUF files field by field, right or wrong.
struct GGUFBuilder {
    var bytes: [UInt8] = []

    mutating func u32(_ value: UInt32) { withUnsafeBytes(of: value.littleEndian) { bytes += $0 } }
    mutating func u64(_ value: UInt64) { withUnsafeBytes(of: value.littleEndian) { bytes += $0 } }
    mutating func text(_ value: String) { text(Array(value.utf8)) }

    mutating func text(_ value: [UInt8]) {
        u64(UInt64(value.count))
        bytes += value
    }

    mutating func header(magic: String = "GGUF", version: UInt32 = 3, tensors: UInt64 = 0, keys: UInt64 = 0) {
        bytes += Array(magic.utf8)
        u32(version)
        u64(tensors)
        u64(keys)
    }

    mutating func key(_ name: String, kind: UInt32, _ value: [UInt8]) {
        text(name)
        u32(kind)
        bytes += value
    }

    mutating func tensor(_ name: String, _ dimensions: [UInt64], type: UInt32 = 0, offset: UInt64 = 0) {
        text(name)
        u32(UInt32(dimensions.count))
        for dimension in dimensions { u64(dimension) }
        u32(type)
        u64(offset)
    }

    mutating func data(_ count: Int, alignment: Int = 32) {
        bytes += [UInt8](repeating: 0, count: (alignment - bytes.count % alignment) % alignment + count)
    }

    static func make(_ body: (inout GGUFBuilder) -> Void) -> [UInt8] {
        var builder = GGUFBuilder()
        body(&builder)
        return builder.bytes
    }

    /// One key with this value.
    static func value(_ kind: UInt32, key: String = "k", _ body: (inout GGUFBuilder) -> Void) -> [UInt8] {
        make {
            $0.header(keys: 1)
            $0.text(key)
            $0.u32(kind)
            body(&$0)
        }
    }

    /// One tensor in a file with `data` bytes of data.
    static func tensor(
        _ dimensions: [UInt64], type: UInt32 = 0, offset: UInt64 = 0, name: String = "t", data: Int = 64
    ) -> [UInt8] {
        make {
            $0.header(tensors: 1)
            $0.tensor(name, dimensions, type: type, offset: offset)
            $0.data(data)
        }
    }
}
