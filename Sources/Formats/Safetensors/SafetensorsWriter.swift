package import Diagnostics
import StrictJSON

extension SafetensorsFile {
    /// Writes a safetensors file as the reference library does: wider types first, then by name, so that every tensor
    /// stands on a multiple of its element's size. Tensors without elements come last.
    ///
    /// The file appears whole or not at all; tensors that compute their bytes do so one at a time.
    /// - Throws: `safetensorsTensor` for two tensors of one name or a type that the format does not have, `weightsSize`,
    ///   `weightsType`, `fileCreate`, `fileWrite`.
    package static func write(
        _ tensors: [OutgoingTensor], metadata: [(key: String, value: String)] = [("format", "pt")], to path: String,
        mode: UInt32 = 0o644
    ) throws(Diagnostic) {
        let ordered = try inFileOrder(tensors)
        let header = try headerBytes(ordered, metadata: metadata)
        var file = try AtomicFile(path, mode: mode)
        try file.append(header)
        for (tensor, _) in ordered { try tensor.write(to: &file) }
        try file.publish()
    }

    private static func inFileOrder(
        _ tensors: [OutgoingTensor]
    ) throws(Diagnostic) -> [(tensor: OutgoingTensor, size: Int)] {
        var names: Set<BytewiseString> = []
        var sized: [(tensor: OutgoingTensor, size: Int)] = []
        for tensor in tensors {
            guard names.insert(BytewiseString(tensor.name)).inserted, tensor.name != "__metadata__" else {
                throw Diagnostic(
                    FormatsCode.safetensorsTensor, at: "tensor \"\(tensor.name)\"", found: "a name that is taken",
                    expected: "every name once")
            }
            guard safetensorsTypes.contains(tensor.type) else {
                throw Diagnostic(
                    FormatsCode.safetensorsTensor, at: "tensor \"\(tensor.name)\"",
                    found: "element type \(tensor.type.rawValue)", expected: "a type that safetensors has")
            }
            sized.append((tensor, try tensor.byteCount()))
        }
        return sized.sorted { a, b in
            if (a.size == 0) != (b.size == 0) { return b.size == 0 }
            let (aRank, bRank) = (rank(a.tensor.type), rank(b.tensor.type))
            if aRank != bRank { return aRank < bRank }
            return a.tensor.name.utf8.lexicographicallyPrecedes(b.tensor.name.utf8)
        }
    }

    /// The reference library's order of types: widest first, and within a width as its table has them.
    private static func rank(_ type: ElementType) -> Int { typeOrder.firstIndex(of: type) ?? typeOrder.count }

    private static let typeOrder: [ElementType] = [
        .u64, .i64, .f64, .c64, .f32, .u32, .i32, .bf16, .f16, .u16, .i16, .f8e5m2fnuz, .f8e4m3fnuz, .f8e8m0, .f8e4m3,
        .f8e5m2, .i8, .u8, .f6e3m2, .f6e2m3, .f4, .bool,
    ]

    private static func headerBytes(
        _ tensors: [(tensor: OutgoingTensor, size: Int)], metadata: [(key: String, value: String)]
    ) throws(Diagnostic) -> [UInt8] {
        var object = JSONObject()
        if !metadata.isEmpty {
            object["__metadata__"] = .object(JSONObject(metadata.map { ($0.key, .string($0.value)) }))
        }
        var offset = 0
        for (tensor, size) in tensors {
            object[tensor.name] = .object([
                "dtype": .string(tensor.type.rawValue), "shape": .array(tensor.shape.map { .integer($0) }),
                "data_offsets": .array([.integer(offset), .integer(offset + size)]),
            ])
            offset += size
        }
        var text = Array(JSONValue.object(object).serialized().utf8)
        text.append(contentsOf: [UInt8](repeating: UInt8(ascii: " "), count: (8 - text.count % 8) % 8))
        guard text.count <= maximumHeaderBytes else {
            throw Diagnostic(
                FormatsCode.safetensorsLimit, found: "a header of \(text.count) bytes",
                expected: "at most \(maximumHeaderBytes)")
        }
        var header: [UInt8] = []
        header.reserveCapacity(8 + text.count)
        header.appendLittleEndian(UInt64(text.count))
        return header + text
    }
}
