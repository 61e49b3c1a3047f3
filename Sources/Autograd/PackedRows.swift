import CKernels

/// The left side of products: rows in the workspace's precision, packed once for as many products as need them.
///
/// The reduction may consist of several parts, packed one after the other: [x | p] times a weight and a low-rank
/// factor that stand on each other is one product.
final class PackedRows {
    let rows: Int
    /// Words along the reduction, all parts together: floats, or pairs of bf16.
    let words: Int
    /// Few rows times the transpose of a weight: rows stand one after the other, otherwise in tiles.
    private let isFew: Bool
    private let storage: Storage
    private let workspace: Workspace
    private let kernels: ek_gemm_kernels
    private var packedWords = 0

    /// Space for `rows` rows with parts of these depths.
    ///
    /// - Parameter byTranspose: whether they will be multiplied by weights' transposes, or by weights as they are.
    init(rows: Int, depths: [Int], byTranspose: Bool, kernels: ek_gemm_kernels, in workspace: Workspace) {
        self.rows = rows
        self.workspace = workspace
        self.kernels = kernels
        let isFew = byTranspose && rows <= EK_GEMM_FEW_ROWS
        self.isFew = isFew
        let words = depths.reduce(0) { $0 + Self.words(depth: $1, isFew: isFew, kernels.precision) }
        self.words = words
        let all = isFew ? rows * words : ek_gemm_packed_words(rows, words)
        storage = Storage(byteCount: 4 * all, pool: workspace.buffers)
    }

    private static func words(depth: Int, isFew: Bool, _ precision: ek_gemm_precision) -> Int {
        isFew ? ek_gemm_row_words(precision, depth) : ek_gemm_words(precision, depth)
    }

    private func words(depth: Int) -> Int { Self.words(depth: depth, isFew: isFew, kernels.precision) }

    /// Packs the next part: scale · `values`, which are [rows, depth], or [depth, rows] if `isTransposed`.
    func append(_ values: UnsafePointer<Float>, depth: Int, isTransposed: Bool = false, scale: Float = 1) {
        let (rows, words, first, packed) = (rows, words, packedWords, packed)
        packedWords += self.words(depth: depth)
        precondition(packedWords <= words, "a part of depth \(depth) too many")
        let stride = isTransposed ? rows : depth
        if isFew {
            precondition(!isTransposed, "few rows that are stored as columns")
            return kernels.pack_rows(packed, words, first, values, stride, rows, depth, scale)
        }
        workspace.threads.forEach(ek_gemm_tiles(rows)) { [kernels] tile, _ in
            kernels.pack_left(
                packed, words, first, values, stride, isTransposed ? 1 : 0, rows, depth, scale, tile)
        }
    }

    /// Forgets the parts after the first, of depth `depth`, so that others can take their place.
    func keepOnly(depth: Int) { packedWords = words(depth: depth) }

    /// The deepest part that has room after one of depth `depth`.
    func room(after depth: Int) -> Int { (words - words(depth: depth)) * (kernels.precision == EK_GEMM_BF16 ? 2 : 1) }

    /// c [rows, columns] (+)= these rows, from `firstWord` on, times `factors` standing on each other.
    func multiply(
        firstWord: Int = 0, _ factors: [ek_gemm_factor], columns: Int, into c: UnsafeMutablePointer<Float>,
        leadingDimension: Int, accumulating: Bool
    ) {
        precondition((1...2).contains(factors.count), "\(factors.count) factors")
        let depth = factors.reduce(0) { $0 + words(depth: $1.depth) }
        precondition(!isFew || factors.allSatisfy { $0.is_transposed == 1 }, "few rows by a weight as it is")
        precondition(firstWord + depth <= packedWords, "\(depth) words from \(firstWord) of \(packedWords) packed")
        guard rows > 0, columns > 0 else { return }
        var product = ek_gemm_product()
        product.precision = kernels.precision
        product.rows = rows
        product.columns = columns
        product.left = UnsafePointer(packed) + firstWord * kernels.left_step
        product.left_words = words
        product.factors.0 = factors[0]
        if factors.count > 1 { product.factors.1 = factors[1] }
        product.factor_count = Int32(factors.count)
        product.accumulate = accumulating ? 1 : 0
        product.c = c
        product.ldc = leadingDimension
        withUnsafePointer(to: product) { product in
            if isFew {
                return workspace.threads.forEach(ek_gemm_row_items(product)) { item, _ in
                    kernels.multiply_rows(product, item)
                }
            }
            var cut = kernels.cut(product)
            workspace.reserveScratch(count: cut.scratch_bytes / 4)
            withUnsafePointer(to: &cut) { cut in
                workspace.threads.forEach(cut.pointee.row_pieces * cut.pointee.column_pieces) { item, worker in
                    kernels.multiply(product, cut, item, workspace.scratch(worker: worker))
                }
            }
        }
    }

    private var packed: UnsafeMutablePointer<UInt32> {
        UnsafeMutableRawPointer(storage.floats).assumingMemoryBound(to: UInt32.self)
    }
}

extension ek_gemm_factor {
    /// Floats as they are in memory: R's rows, [depth, columns], or its columns, [columns, depth].
    init(_ values: UnsafePointer<Float>, stride: Int, depth: Int, isTransposed: Bool) {
        self.init(
            values: UnsafeRawPointer(values), stride: stride, depth: depth, is_f32: 1,
            is_transposed: isTransposed ? 1 : 0)
    }

    init(_ values: UnsafePointer<UInt16>, stride: Int, depth: Int, isTransposed: Bool) {
        self.init(
            values: UnsafeRawPointer(values), stride: stride, depth: depth, is_f32: 0,
            is_transposed: isTransposed ? 1 : 0)
    }
}

/// A block of rows of a weight [out, in] as it lies in memory: bf16 or floats.
struct WeightBlock {
    let rows: Range<Int>
    let inputs: Int
    let values: Values

    enum Values {
        case bf16(UnsafePointer<UInt16>)
        case floats(UnsafePointer<Float>)
    }

    /// The right side of x·Wᵀ, with one column for each row of the block.
    var transposed: ek_gemm_factor { factor(depth: inputs, isTransposed: true) }

    /// The right side of dy·W.
    var asStored: ek_gemm_factor { factor(depth: rows.count, isTransposed: false) }

    private func factor(depth: Int, isTransposed: Bool) -> ek_gemm_factor {
        switch values {
        case .bf16(let values): ek_gemm_factor(values, stride: inputs, depth: depth, isTransposed: isTransposed)
        case .floats(let values): ek_gemm_factor(values, stride: inputs, depth: depth, isTransposed: isTransposed)
        }
    }
}

extension Workspace {
    /// `rows` rows of `values`, [rows, depth], packed for products; nil where the instruction set has no kernels
    /// for them.
    ///
    /// - Parameters:
    ///   - extra: the depth of a part that the caller will append.
    ///   - byTranspose: whether they will be multiplied by weights' transposes, or by weights as they are.
    func packed(
        _ values: UnsafePointer<Float>, rows: Int, depth: Int, extra: Int? = nil, byTranspose: Bool
    ) -> PackedRows? {
        guard let productKernels else { return nil }
        let depths = extra.map { [depth, $0] } ?? [depth]
        let packed = PackedRows(
            rows: rows, depths: depths, byTranspose: byTranspose, kernels: productKernels, in: self)
        packed.append(values, depth: depth)
        return packed
    }
}

extension PackedRows {
    /// y [T, out] (+)= x·wᵀ + p·bᵀ, where these rows are x and, if there is a `b` [out, rank], p after it.
    func multiply(
        byTransposeOf w: Parameter, and b: Parameter? = nil, into y: UnsafeMutablePointer<Float>, accumulating: Bool
    ) {
        let outputs = w.shape[0]
        workspace.forEachBlock(of: w) { block in
            func run(_ factors: [ek_gemm_factor]) {
                multiply(
                    factors, columns: block.rows.count, into: y + block.rows.lowerBound, leadingDimension: outputs,
                    accumulating: accumulating)
            }
            guard let b else { return run([block.transposed]) }
            let rank = b.shape[1]
            b.withFloats(in: workspace) { b in
                run([
                    block.transposed,
                    ek_gemm_factor(
                        b + block.rows.lowerBound * rank, stride: rank, depth: rank, isTransposed: true),
                ])
            }
        }
    }

    /// dx [T, in] (+)= dy·w + dp·a, where these rows are dy and, if there is an `a` [rank, in], dp after it.
    func multiply(
        by w: Parameter, and a: Parameter? = nil, into dx: UnsafeMutablePointer<Float>, accumulating: Bool
    ) {
        let (outputs, inputs) = (w.shape[0], w.shape[1])
        workspace.forEachBlock(of: w) { block in
            func run(_ factors: [ek_gemm_factor]) {
                multiply(
                    firstWord: words(depth: block.rows.lowerBound), factors, columns: inputs, into: dx,
                    leadingDimension: inputs,
                    accumulating: accumulating || block.rows.lowerBound > 0)
            }
            guard let a, block.rows.upperBound == outputs else { return run([block.asStored]) }
            let rank = a.shape[0]
            a.withFloats(in: workspace) { a in
                run([block.asStored, ek_gemm_factor(a, stride: inputs, depth: rank, isTransposed: false)])
            }
        }
    }
}
