import CKernels
package import Diagnostics
import StrictJSON

/// A named tensor as it is stored: row-major, contiguous, little endian, usually in a mapped file.
///
/// `@unchecked Sendable`: the bytes are never written, and `owner` keeps them where they are.
package struct WeightTensor: @unchecked Sendable {
    package let name: String
    /// Row-major, slowest dimension first; empty for a scalar.
    package let shape: [Int]
    package let type: ElementType
    /// Exactly the tensor's bytes; valid as long as this value or a copy of it lives.
    package let bytes: UnsafeRawBufferPointer
    /// The file it stands in, for messages.
    package let file: String
    let owner: AnyObject

    package var count: Int { shape.reduce(1, *) }

    /// `bytes` must be what `shape` and `type` ask for; the readers have checked it.
    init(
        name: String, shape: [Int], type: ElementType, bytes: UnsafeRawBufferPointer, file: String, owner: AnyObject
    ) {
        precondition(type.byteCount(of: shape.reduce(1, *)) == bytes.count, "\(name): \(shape) of \(type)")
        (self.name, self.shape, self.type, self.bytes) = (name, shape, type, bytes)
        (self.file, self.owner) = (file, owner)
    }

    /// A tensor that holds `values` in memory, stored as f32.
    package init(name: String, shape: [Int], values: [Float]) {
        let heap = HeapBytes(count: values.count * 4)
        values.withUnsafeBytes { heap.bytes.copyMemory(from: $0) }
        self.init(
            name: name, shape: shape, type: .f32, bytes: UnsafeRawBufferPointer(heap.bytes), file: "memory",
            owner: heap)
    }

    /// A tensor in memory, stored as bf16, whose elements `fill` writes, every one.
    package init(name: String, shape: [Int], bf16 fill: (UnsafeMutableBufferPointer<UInt16>) -> Void) {
        let heap = HeapBytes(count: shape.reduce(2, *))
        fill(heap.bytes.bindMemory(to: UInt16.self))
        self.init(
            name: name, shape: shape, type: .bf16, bytes: UnsafeRawBufferPointer(heap.bytes), file: "memory",
            owner: heap)
    }

    /// The same bytes under another name.
    package func renamed(_ name: String) -> WeightTensor {
        WeightTensor(name: name, shape: shape, type: type, bytes: bytes, file: file, owner: owner)
    }

    /// The same bytes in another shape of as many elements.
    package func reshaped(_ shape: [Int]) -> WeightTensor {
        WeightTensor(name: name, shape: shape, type: type, bytes: bytes, file: file, owner: owner)
    }

    /// Entry `index` of the slowest dimension of a tensor of rank 2 or more, whose rows are whole blocks.
    package func slice(_ index: Int, name: String) -> WeightTensor {
        let size = bytes.count / shape[0]
        return WeightTensor(
            name: name, shape: Array(shape.dropFirst()), type: type,
            bytes: UnsafeRawBufferPointer(rebasing: bytes[index * size..<(index + 1) * size]), file: file, owner: owner)
    }

    /// The transpose of a matrix, copied to memory; nil for another rank or a type whose elements stand in blocks.
    package func transposed() -> WeightTensor? {
        guard shape.count == 2, type.blockElements == 1 else { return nil }
        let (rows, columns, size) = (shape[0], shape[1], type.blockBytes)
        let heap = HeapBytes(count: bytes.count)
        // Square tiles, so that both sides stay in the cache.
        let tile = 32
        for row0 in stride(from: 0, to: rows, by: tile) {
            for column0 in stride(from: 0, to: columns, by: tile) {
                for row in row0..<min(rows, row0 + tile) {
                    for column in column0..<min(columns, column0 + tile) {
                        let (from, to) = ((row * columns + column) * size, (column * rows + row) * size)
                        for byte in 0..<size { heap.bytes[to + byte] = bytes[from + byte] }
                    }
                }
            }
        }
        return WeightTensor(
            name: name, shape: [columns, rows], type: type, bytes: UnsafeRawBufferPointer(heap.bytes), file: file,
            owner: heap)
    }

    /// All values as floats: f64 and integers rounded to nearest, blocks dequantised, BOOL as 0 and 1.
    ///
    /// - Throws: `weightsType` for a type whose values cannot be read.
    package func floats() throws(Diagnostic) -> [Float] {
        let convert = try converter()
        let count = self.count
        return [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
            if count > 0 { convert(bytes.baseAddress, buffer.baseAddress, count) }
            initialized = count
        }
    }

    /// Writes `output.count` values from element `start` on, which must be at the border of a block, into `output`.
    ///
    /// - Throws: `weightsType`.
    package func readFloats(from start: Int = 0, into output: UnsafeMutableBufferPointer<Float>) throws(Diagnostic) {
        let convert = try converter()
        let block = type.blockElements
        precondition(
            start >= 0 && start % block == 0 && output.count % block == 0 && start + output.count <= count,
            "\(output.count) elements from \(start) of \(count) in blocks of \(block)")
        guard output.count > 0 else { return }
        convert(bytes.baseAddress! + start / block * type.blockBytes, output.baseAddress, output.count)
    }

    /// How many values are NaN or infinite, 0 for types that have no such values; reads the tensor piece by piece.
    ///
    /// - Throws: `weightsType`.
    package func nonfiniteCount() throws(Diagnostic) -> Int {
        _ = try converter()
        switch type {
        case .i64, .i32, .i16, .i8, .u64, .u32, .u16, .u8, .bool: return 0
        default: break
        }
        var found = 0
        let piece = 1 << 16
        let buffer = UnsafeMutableBufferPointer<Float>.allocate(capacity: piece)
        defer { buffer.deallocate() }
        var start = 0
        while start < count {
            let part = UnsafeMutableBufferPointer(rebasing: buffer[..<min(piece, count - start)])
            try readFloats(from: start, into: part)
            found += ek_count_nonfinite(part.baseAddress, part.count)
            start += part.count
        }
        return found
    }

    private func converter() throws(Diagnostic) -> ek_dequantize_function {
        if let converter = type.converter { return converter }
        throw Diagnostic(
            FormatsCode.weightsType, file: file, at: "tensor \"\(name)\"",
            found: "element type \(type.rawValue), whose values this version cannot read",
            expected: ElementType.allCases.filter(\.isConvertible).map(\.rawValue).joined(separator: ", "),
            fix: "Convert the model to one of these")
    }
}

extension WeightTensor {
    /// `values` as the bytes of a floating-point type: f32, or f16 and bf16 rounded to nearest even, or f64.
    package static func encode(_ values: UnsafeBufferPointer<Float>, as type: ElementType) -> [UInt8]? {
        guard let size = type.byteCount(of: values.count) else { return nil }
        switch type {
        case .f32: return Array(UnsafeRawBufferPointer(values))
        case .f64: return values.map(Double.init).withUnsafeBytes(Array.init)
        case .f16, .bf16:
            return [UInt8](unsafeUninitializedCapacity: size) { buffer, initialized in
                let encode = type == .f16 ? ek_encode_f16 : ek_encode_bf16
                if size > 0 { encode(values.baseAddress, buffer.baseAddress, values.count) }
                initialized = size
            }
        default: return nil
        }
    }

    /// The values of whole blocks of `type`; nil for a type whose values cannot be read.
    package static func decode(_ bytes: UnsafeRawBufferPointer, as type: ElementType) -> [Float]? {
        guard let convert = type.converter else { return nil }
        let count = bytes.count / type.blockBytes * type.blockElements
        return [Float](unsafeUninitializedCapacity: count) { buffer, initialized in
            if count > 0 { convert(bytes.baseAddress, buffer.baseAddress, count) }
            initialized = count
        }
    }
}

/// Bytes on the heap that a `WeightTensor` can own; 64-byte aligned.
final class HeapBytes {
    let bytes: UnsafeMutableRawBufferPointer

    init(count: Int) { bytes = .allocate(byteCount: count, alignment: 64) }

    deinit { bytes.deallocate() }
}

/// The product of `shape`; nil if a dimension is negative or the product overflows.
func elementCount(_ shape: [Int]) -> Int? {
    var count = 1
    var overflows = false
    for dimension in shape {
        guard dimension >= 0 else { return nil }
        let (product, overflow) = count.multipliedReportingOverflow(by: dimension)
        // A later zero makes the count 0, but the product without it must fit as well.
        overflows = overflows || overflow
        count = product
    }
    return overflows ? nil : count
}
