import CKernels

/// A weight [out, in] in the quantised blocks of its file, which few rows are multiplied by as they are.
///
/// `@unchecked Sendable`: what `start` points to is only read, and `owner` keeps it there.
package struct QuantizedBlocks: @unchecked Sendable {
    let rows: Int
    let columns: Int
    let byteCount: Int
    private let start: UnsafePointer<UInt8>
    private let ggmlType: UInt32
    /// Where each row stands among the stored ones; nil: in order.
    private let places: [Int32]?
    private let owner: any AnyObject & Sendable

    /// nil for a type whose elements stand alone or cannot be read, and for rows that do not end with a block.
    ///
    /// - Parameters:
    ///   - ggmlType: the type's number in a GGUF file.
    ///   - places: where each row stands among the stored ones; nil: in order.
    package init?(
        rows: Int, columns: Int, start: UnsafeRawPointer, ggmlType: UInt32, places: [Int]?,
        owner: any AnyObject & Sendable
    ) {
        guard let type = ek_find_block_type(ggmlType)?.pointee, type.dequantize != nil, type.block_elements > 1,
            columns % Int(type.block_elements) == 0
        else { return nil }
        precondition(
            places.map { $0.count == rows && $0.allSatisfy { $0 >= 0 && $0 < rows } } ?? true,
            "places of other rows than the \(rows) stored")
        (self.rows, self.columns) = (rows, columns)
        byteCount = rows * columns / Int(type.block_elements) * Int(type.block_bytes)
        self.start = start.assumingMemoryBound(to: UInt8.self)
        self.ggmlType = ggmlType
        self.places = places.map { $0.map(Int32.init) }
        self.owner = owner
    }

    fileprivate func withProduct(_ body: (ek_quantized_product) -> Void) {
        var product = ek_quantized_product()
        product.blocks = start
        product.ggml_type = ggmlType
        (product.outputs, product.inputs) = (rows, columns)
        withExtendedLifetime(owner) {
            guard let places else { return body(product) }
            places.withUnsafeBufferPointer { places in
                product.places = places.baseAddress
                body(product)
            }
        }
    }
}

/// scale · p·bᵀ, with p [T, rank] and b [out, rank].
struct LowRankFactor {
    let p: UnsafePointer<Float>
    let b: UnsafePointer<Float>
    let rank: Int
    let scale: Float
}

extension Workspace {
    /// The blocks of `w`, if `rows` rows are few enough to be multiplied by them as they are.
    func blocks(of w: Parameter, rows: Int) -> QuantizedBlocks? {
        guard rows <= EK_GEMM_FEW_ROWS, case .encoded(let matrix) = w.contents else { return nil }
        return matrix.blocks
    }

    /// y [T, out] (+)= x [T, in] · wᵀ, plus the low-rank factor, for few rows.
    ///
    /// In f32 the blocks' values are multiplied as they are; in bf16 x is rounded to 16 bits with a scale for every 32
    /// elements, and the blocks' values are exact.
    func multiply(
        _ x: UnsafePointer<Float>, rows: Int, byTransposeOf w: QuantizedBlocks, lowRank: LowRankFactor? = nil,
        into y: UnsafeMutablePointer<Float>, accumulating: Bool
    ) {
        let kernels = quantizedKernels
        let rowBytes = kernels.left_bytes(w.columns)
        var packed: Storage?
        if let pack = kernels.pack {
            let storage = Storage(byteCount: rows * rowBytes, pool: buffers)
            for row in 0..<rows {
                pack(UnsafeMutableRawPointer(storage.floats) + row * rowBytes, x + row * w.columns, w.columns)
            }
            packed = storage
        }
        w.withProduct { product in
            var product = product
            product.left = packed.map { UnsafeRawPointer($0.floats) } ?? UnsafeRawPointer(x)
            product.left_bytes = rowBytes
            product.rows = rows
            if let lowRank {
                (product.p, product.b) = (lowRank.p, lowRank.b)
                (product.rank, product.scale) = (lowRank.rank, lowRank.scale)
            }
            product.accumulate = accumulating ? 1 : 0
            (product.y, product.ldy) = (y, w.rows)
            withUnsafePointer(to: product) { product in
                threads.forEach(ek_quantized_items(product)) { item, _ in kernels.multiply(product, item) }
            }
        }
        withExtendedLifetime(packed) {}
    }
}
