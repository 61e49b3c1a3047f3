package import Diagnostics

/// A tensor that is about to be written: its description now, its bytes when their turn comes.
package struct OutgoingTensor: Sendable {
    package var name: String
    /// Row-major.
    package var shape: [Int]
    package var type: ElementType
    let content: Content

    enum Content: Sendable {
        case stored(WeightTensor)
        case floats([Float])
        case made(@Sendable () throws(Diagnostic) -> [UInt8])
    }

    /// The tensor as it is stored, under its own name or another.
    package init(_ tensor: WeightTensor, name: String? = nil) {
        (self.name, shape, type) = (name ?? tensor.name, tensor.shape, tensor.type)
        content = .stored(tensor)
    }

    /// `values` in row-major order, to be stored as `type`: f32, f64, or f16 and bf16 rounded to nearest even.
    package init(name: String, shape: [Int], values: [Float], as type: ElementType = .f32) {
        (self.name, self.shape, self.type) = (name, shape, type)
        content = .floats(values)
    }

    /// A tensor whose bytes `make` computes when it is written, so that only one is in memory at a time.
    package init(
        name: String, shape: [Int], type: ElementType, make: @escaping @Sendable () throws(Diagnostic) -> [UInt8]
    ) {
        (self.name, self.shape, self.type) = (name, shape, type)
        content = .made(make)
    }

    /// Bytes that the tensor takes in a file.
    ///
    /// - Throws: `weightsSize` if the shape does not fit the type.
    package func byteCount() throws(Diagnostic) -> Int {
        if let count = elementCount(shape), let bytes = type.byteCount(of: count) { return bytes }
        throw Diagnostic(
            FormatsCode.weightsSize, at: "tensor \"\(name)\"", found: "shape \(shape) of \(type.rawValue)",
            expected: "a size in whole blocks that fits 63 bits")
    }

    /// Adds the bytes to `file`.
    ///
    /// - Throws: `weightsSize` if there are not as many as shape and type ask for, `weightsType`, `fileWrite`.
    func write(to file: inout AtomicFile) throws(Diagnostic) {
        let expected = try byteCount()
        let bytes: [UInt8]
        switch content {
        case .stored(let tensor):
            try checkSize(tensor.bytes.count, expected)
            return try file.append(tensor.bytes)
        case .floats(let values):
            guard let encoded = values.withUnsafeBufferPointer({ WeightTensor.encode($0, as: type) }) else {
                throw Diagnostic(
                    FormatsCode.weightsType, at: "tensor \"\(name)\"", found: "floats to be stored as \(type.rawValue)",
                    expected: "F32, F16, BF16 or F64")
            }
            bytes = encoded
        case .made(let make): bytes = try make()
        }
        try checkSize(bytes.count, expected)
        try bytes.withUnsafeBytes { buffer in
            Result { () throws(Diagnostic) in try file.append(buffer) }
        }.get()
    }

    private func checkSize(_ found: Int, _ expected: Int) throws(Diagnostic) {
        guard found == expected else {
            throw Diagnostic(
                FormatsCode.weightsSize, at: "tensor \"\(name)\"", found: "\(found) bytes",
                expected: "\(expected) for \(type.rawValue) \(shape)")
        }
    }
}
