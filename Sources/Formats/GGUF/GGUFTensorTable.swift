import Diagnostics
import StrictJSON

/// The part of a GGUF file that says which tensors there are and where.
enum GGUFTensorTable {
    struct Entry {
        var name: String
        /// Row-major.
        var shape: [Int]
        var type: ElementType
        /// From the start of the data.
        var offset: Int
        var size: Int
        /// Where the entry itself stands, for messages.
        var position: Int
    }

    static func read(count: Int, from reader: inout GGUFReader) throws(Diagnostic) -> [Entry] {
        var entries: [Entry] = []
        entries.reserveCapacity(count)
        var names: Set<BytewiseString> = []
        for number in 0..<count {
            reader.subject = "tensor \(number)"
            let entry = try self.entry(&reader)
            guard names.insert(BytewiseString(entry.name)).inserted else {
                throw reader.error(.ggufTensor, "a second tensor of this name", expected: "every tensor once")
            }
            entries.append(entry)
        }
        reader.subject = ""
        return entries
    }

    private static func entry(_ reader: inout GGUFReader) throws(Diagnostic) -> Entry {
        let position = reader.position
        let name = try reader.string("a tensor name", limit: GGUFFile.maximumTensorNameBytes)
        guard !name.isEmpty, !name.utf8.contains(where: { $0 < 0x20 || $0 == 0x7F }) else {
            throw reader.error(.ggufTensor, "a name that is empty or has control characters", expected: "a plain name")
        }
        reader.subject = "tensor \"\(name)\""
        let shape = try self.shape(&reader)
        let number = try reader.integer(UInt32.self)
        guard let type = ElementType(ggmlNumber: number) else {
            throw reader.error(
                .ggufTensor, "element type \(number), which is unknown or was removed from the format",
                expected: "a type of the current format", fix: "Convert the model with a current llama.cpp")
        }
        guard let row = shape.last, row % type.blockElements == 0 else {
            throw reader.error(
                .ggufTensor, "rows of \(shape.last ?? 0) elements",
                expected: "a multiple of \(type.blockElements), the block of \(type.rawValue)")
        }
        guard let elements = elementCount(shape), let size = type.byteCount(of: elements) else {
            throw reader.error(.ggufTensor, "shape \(shape)", expected: "a size that fits 63 bits")
        }
        let offset = try reader.integer(UInt64.self)
        guard let offset = Int(exactly: offset) else {
            throw reader.error(.ggufLayout, "offset \(offset)", expected: "an offset inside the file")
        }
        return Entry(name: name, shape: shape, type: type, offset: offset, size: size, position: position)
    }

    private static func shape(_ reader: inout GGUFReader) throws(Diagnostic) -> [Int] {
        let rank = try reader.integer(UInt32.self)
        guard (1...UInt32(GGUFFile.maximumDimensions)).contains(rank) else {
            throw reader.error(
                .ggufTensor, "\(rank) dimensions", expected: "1 to \(GGUFFile.maximumDimensions) dimensions")
        }
        var dimensions: [Int] = []
        for _ in 0..<rank {
            let dimension = try reader.integer(UInt64.self)
            guard let dimension = Int(exactly: dimension), dimension > 0 else {
                throw reader.error(.ggufTensor, "dimension \(dimension)", expected: "a dimension from 1 to 2^63 - 1")
            }
            dimensions.append(dimension)
        }
        return dimensions.reversed()
    }

    /// Checks that the tensors stand one after another, each on the alignment, inside the file.
    static func tensors(
        _ entries: [Entry], alignment: Int, dataOffset: Int, in file: MappedFile
    ) throws(Diagnostic) -> [WeightTensor] {
        let sorted = entries.sorted { $0.offset < $1.offset }
        var tensors: [WeightTensor] = []
        tensors.reserveCapacity(sorted.count)
        var end = 0
        for entry in sorted {
            let place = "offset 0x\(String(entry.position, radix: 16)), tensor \"\(entry.name)\""
            guard entry.offset == end else {
                let why =
                    entry.offset % alignment != 0
                    ? "which is no multiple of the alignment"
                    : entry.offset < end ? "inside the tensor before" : "after a gap"
                throw Diagnostic(
                    FormatsCode.ggufLayout, at: place, found: "data offset \(entry.offset), \(why)",
                    expected: "data offset \(end), on the alignment of \(alignment)",
                    fix: "Download or convert the file again")
            }
            let (start, overflow) = dataOffset.addingReportingOverflow(entry.offset)
            guard !overflow, start <= file.size, entry.size <= file.size - start else {
                throw Diagnostic(
                    FormatsCode.ggufTruncated, at: place,
                    found: "\(entry.size) bytes at data offset \(entry.offset) of a file of \(file.size) bytes",
                    expected: "a tensor inside the file", fix: "Download the file again")
            }
            // No overflow: the tensor lies in the file, and a file's size is far from 2^63.
            end = (entry.offset + entry.size + alignment - 1) / alignment * alignment
            tensors.append(
                WeightTensor(
                    name: entry.name, shape: entry.shape, type: entry.type,
                    bytes: UnsafeRawBufferPointer(rebasing: file.bytes[start..<(start + entry.size)]), file: file.path,
                    owner: file))
        }
        return tensors
    }
}
