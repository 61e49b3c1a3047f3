/// Writes zip archives field by field, right or wrong.
struct ZipBuilder {
    struct Entry {
        var name: String
        var data: [UInt8]
        var method: UInt16 = 0
        var flags: UInt16 = 0
        /// What the directory says of size and place, where it shall lie.
        var size: UInt32?
        var offset: UInt32?
        var localName: String?
        var zip64: [UInt64]?
    }

    var entries: [Entry] = []
    var comment: [UInt8] = []
    /// What the end record says, where it shall lie.
    var count: UInt16?
    var directoryOffset: UInt32?
    var directorySize: UInt32?
    /// Whether a zip64 end record is written, and the place that its locator names.
    var zip64 = false
    var zip64Place: UInt64?

    func build() -> [UInt8] {
        var bytes: [UInt8] = []
        var directory: [UInt8] = []
        for entry in entries {
            let offset = UInt32(bytes.count)
            let name = Array((entry.localName ?? entry.name).utf8)
            let size = UInt32(entry.data.count)
            bytes += le(0x0403_4B50 as UInt32) + le(20 as UInt16) + le(entry.flags) + le(entry.method) + le(0 as UInt32)
            bytes +=
                le(0 as UInt32) + le(size) + le(size) + le(UInt16(name.count)) + le(0 as UInt16) + name + entry.data
            let extra = entry.zip64.map { le(1 as UInt16) + le(UInt16(8 * $0.count)) + $0.flatMap { le($0) } } ?? []
            let told = entry.size ?? size
            directory += le(0x0201_4B50 as UInt32) + le(20 as UInt16) + le(20 as UInt16) + le(entry.flags)
            directory += le(entry.method) + le(0 as UInt32) + le(0 as UInt32) + le(told) + le(told)
            directory += le(UInt16(entry.name.utf8.count)) + le(UInt16(extra.count)) + le(0 as UInt16)
            directory += le(0 as UInt16) + le(0 as UInt16) + le(0 as UInt32) + le(entry.offset ?? offset)
            directory += Array(entry.name.utf8) + extra
        }
        let start = bytes.count
        bytes += directory
        if zip64 {
            let place = UInt64(bytes.count)
            bytes += le(0x0606_4B50 as UInt32) + le(44 as UInt64) + le(45 as UInt16) + le(45 as UInt16)
            bytes += le(0 as UInt32) + le(0 as UInt32) + le(UInt64(entries.count)) + le(UInt64(entries.count))
            bytes += le(UInt64(directory.count)) + le(UInt64(start))
            bytes += le(0x0706_4B50 as UInt32) + le(0 as UInt32) + le(zip64Place ?? place) + le(1 as UInt32)
        }
        let number = count ?? (zip64 ? 0xFFFF : UInt16(entries.count))
        bytes += le(0x0605_4B50 as UInt32) + le(0 as UInt16) + le(0 as UInt16) + le(number) + le(number)
        bytes += le(directorySize ?? (zip64 ? .max : UInt32(directory.count)))
        bytes += le(directoryOffset ?? (zip64 ? .max : UInt32(start))) + le(UInt16(comment.count)) + comment
        return bytes
    }
}

private func le(_ value: some FixedWidthInteger) -> [UInt8] { withUnsafeBytes(of: value.littleEndian, Array.init) }

/// Programs of the pickle machine, instruction by instruction.
enum Pickle {
    static func text(_ value: String) -> [UInt8] { [0x58] + le(UInt32(value.utf8.count)) + Array(value.utf8) }
    static func integer(_ value: Int) -> [UInt8] { [0x8A, 8] + le(Int64(value)) }
    static func global(_ module: String, _ name: String) -> [UInt8] { Array("c\(module)\n\(name)\n".utf8) }
    static func tuple(_ items: [[UInt8]]) -> [UInt8] { Array("(".utf8) + items.flatMap { $0 } + Array("t".utf8) }
    static func integers(_ values: [Int]) -> [UInt8] { tuple(values.map(integer)) }
    static func op(_ instruction: String) -> [UInt8] { Array(instruction.utf8) }

    static func storage(key: String = "0", count: Int, type: String = "FloatStorage") -> [UInt8] {
        tuple([text("storage"), global("torch", type), text(key), text("cpu"), integer(count)]) + op("Q")
    }

    static func tensor(
        _ storage: [UInt8], offset: Int = 0, shape: [Int], strides: [Int]
    ) -> [UInt8] {
        let hooks = global("collections", "OrderedDict") + op(")R")
        return global("torch._utils", "_rebuild_tensor_v2")
            + tuple([storage, integer(offset), integers(shape), integers(strides), [0x89], hooks]) + op("R")
    }

    static func dictionary(_ items: [(String, [UInt8])]) -> [UInt8] {
        [0x80, 2] + op("}(") + items.flatMap { text($0.0) + $0.1 } + op("u.")
    }

    /// A checkpoint with this pickle and one storage of six floats under the key 0.
    static func archive(_ pickle: [UInt8]) -> [UInt8] {
        let floats: [Float] = [0, 1, 2, 3, 4, 5]
        return ZipBuilder(entries: [
            .init(name: "a/data.pkl", data: pickle), .init(name: "a/data/0", data: floats.withUnsafeBytes(Array.init)),
        ]).build()
    }
}
