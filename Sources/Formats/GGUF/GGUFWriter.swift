package import Diagnostics
import StrictJSON

extension GGUFFile {
    /// Writes a GGUF file of version 3 with an alignment of 32, tensors in the given order.
    ///
    /// The file appears whole or not at all. Shapes are row-major here and reversed in the file.
    /// - Throws: `ggufKey` for a key twice, `ggufTensor` for a name that is taken or too long, a type without a number
    ///   in the format, or a shape that it does not have; `weightsSize`, `weightsType`, `fileCreate`, `fileWrite`.
    package static func write(
        metadata: [(key: String, value: GGUFValue)], tensors: [OutgoingTensor], to path: String
    ) throws(Diagnostic) {
        let header = try headerBytes(metadata: metadata, tensors: tensors)
        var file = try AtomicFile(path)
        try file.append(header)
        for tensor in tensors {
            try file.pad(to: writtenAlignment)
            try tensor.write(to: &file)
        }
        try file.pad(to: writtenAlignment)
        try file.publish()
    }

    private static let writtenAlignment = 32

    private static func headerBytes(
        metadata: [(key: String, value: GGUFValue)], tensors: [OutgoingTensor]
    ) throws(Diagnostic) -> [UInt8] {
        var bytes = Array("GGUF".utf8)
        bytes.appendLittleEndian(UInt32(3))
        bytes.appendLittleEndian(UInt64(tensors.count))
        bytes.appendLittleEndian(UInt64(metadata.count))
        var keys: Set<BytewiseString> = []
        for (key, value) in metadata {
            guard !key.isEmpty, keys.insert(BytewiseString(key)).inserted, key != "general.alignment" else {
                throw Diagnostic(
                    FormatsCode.ggufKey, at: "key \"\(key)\"", found: "a key that is taken", expected: "every key once")
            }
            bytes.appendGGUF(key)
            bytes.appendLittleEndian(value.kind.rawValue)
            bytes.appendGGUF(value)
        }
        var names: Set<BytewiseString> = []
        var offset = 0
        for tensor in tensors {
            guard !tensor.name.isEmpty, names.insert(BytewiseString(tensor.name)).inserted,
                tensor.name.utf8.count <= maximumTensorNameBytes
            else {
                throw Diagnostic(
                    FormatsCode.ggufTensor, at: "tensor \"\(tensor.name)\"",
                    found: "a name that is taken, empty or longer than \(maximumTensorNameBytes) bytes",
                    expected: "another name")
            }
            bytes.appendGGUF(tensor.name)
            try bytes.appendGGUF(descriptionOf: tensor)
            bytes.appendLittleEndian(UInt64(offset))
            offset += (try tensor.byteCount() + writtenAlignment - 1) / writtenAlignment * writtenAlignment
        }
        return bytes
    }
}

extension [UInt8] {
    fileprivate mutating func appendGGUF(_ text: String) {
        appendLittleEndian(UInt64(text.utf8.count))
        append(contentsOf: text.utf8)
    }

    fileprivate mutating func appendGGUF(_ value: GGUFValue) {
        switch value {
        case .uint8(let value): appendLittleEndian(value)
        case .int8(let value): appendLittleEndian(value)
        case .uint16(let value): appendLittleEndian(value)
        case .int16(let value): appendLittleEndian(value)
        case .uint32(let value): appendLittleEndian(value)
        case .int32(let value): appendLittleEndian(value)
        case .float32(let value): appendLittleEndian(value.bitPattern)
        case .bool(let value): append(value ? 1 : 0)
        case .string(let value): appendGGUF(value)
        case .array(let value):
            appendLittleEndian(value.element.rawValue)
            appendLittleEndian(UInt64(value.count))
            append(contentsOf: value.bytes)
        case .uint64(let value): appendLittleEndian(value)
        case .int64(let value): appendLittleEndian(value)
        case .float64(let value): appendLittleEndian(value.bitPattern)
        }
    }

    fileprivate mutating func appendGGUF(descriptionOf tensor: OutgoingTensor) throws(Diagnostic) {
        let row = tensor.shape.last ?? 0
        guard let number = tensor.type.ggmlNumber, (1...GGUFFile.maximumDimensions).contains(tensor.shape.count),
            tensor.shape.allSatisfy({ $0 > 0 }), row % tensor.type.blockElements == 0
        else {
            throw Diagnostic(
                FormatsCode.ggufTensor, at: "tensor \"\(tensor.name)\"",
                found: "shape \(tensor.shape) of \(tensor.type.rawValue)",
                expected: "1 to 4 dimensions over 0, rows in whole blocks, and a type that GGUF has")
        }
        appendLittleEndian(UInt32(tensor.shape.count))
        for dimension in tensor.shape.reversed() { appendLittleEndian(UInt64(dimension)) }
        appendLittleEndian(number)
    }
}
