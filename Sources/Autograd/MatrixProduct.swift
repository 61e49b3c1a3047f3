import CKernels
import COpenBLAS

/// A matrix in memory as one side of a product: `rows` x `columns` as stored, used transposed or not.
struct Operand {
    let pointer: UnsafePointer<Float>
    let leadingDimension: Int
    var isTransposed = false
}

extension Workspace {
    /// c [m, n] = alpha · a · b, plus c itself if `accumulating`; a is m x k and b k x n after transposition.
    ///
    /// The cut into tiles follows from m, n and k alone, so the result has the same bits on any number of threads.
    func multiply(
        m: Int, n: Int, k: Int, _ a: Operand, _ b: Operand, into c: UnsafeMutablePointer<Float>,
        leadingDimension: Int, accumulating: Bool, alpha: Float = 1
    ) {
        guard m > 0, n > 0 else { return }
        let tiles = Tiles(m: m, n: n)
        threads.forEach(tiles.rows.count * tiles.columns.count) { index, _ in
            let rows = tiles.rows[index / tiles.columns.count]
            let columns = tiles.columns[index % tiles.columns.count]
            let aStart = a.pointer + rows.lowerBound * (a.isTransposed ? 1 : a.leadingDimension)
            let bStart = b.pointer + columns.lowerBound * (b.isTransposed ? b.leadingDimension : 1)
            cblas_sgemm(
                CblasRowMajor, a.isTransposed ? CblasTrans : CblasNoTrans, b.isTransposed ? CblasTrans : CblasNoTrans,
                blasint(rows.count), blasint(columns.count), blasint(k), alpha, aStart, blasint(a.leadingDimension),
                bStart, blasint(b.leadingDimension), accumulating ? 1 : 0,
                c + rows.lowerBound * leadingDimension + columns.lowerBound, blasint(leadingDimension))
        }
    }
}

/// How a product's output is cut: by rows where there are many, because a tile packs all of b, else by columns.
private struct Tiles {
    let rows: [Range<Int>]
    let columns: [Range<Int>]

    init(m: Int, n: Int) {
        rows = m >= n / 4 ? Self.cut(m, about: 192) : [0..<m]
        columns = rows.count == 1 ? Self.cut(n, about: 256) : [0..<n]
    }

    /// An even number of equal pieces, so that two threads finish together.
    private static func cut(_ count: Int, about size: Int) -> [Range<Int>] {
        var pieces = max(1, (count + size / 2) / size)
        if pieces > 1 { pieces = (pieces + 1) / 2 * 2 }
        return (0..<pieces).map { $0 * count / pieces..<($0 + 1) * count / pieces }
    }
}

extension Workspace {
    /// y [T, out] (+)= x [T, in] · wᵀ, with w [out, in] in whatever encoding it has.
    package func multiply(
        _ x: UnsafePointer<Float>, rows: Int, byTransposeOf w: Parameter, into y: UnsafeMutablePointer<Float>,
        accumulating: Bool
    ) {
        let (outputs, inputs) = (w.shape[0], w.shape[1])
        if let blocks = blocks(of: w, rows: rows) {
            return multiply(x, rows: rows, byTransposeOf: blocks, into: y, accumulating: accumulating)
        }
        if let packed = packed(x, rows: rows, depth: inputs, byTranspose: true) {
            return packed.multiply(byTransposeOf: w, into: y, accumulating: accumulating)
        }
        forEachFloatBlock(of: w) { block, weights in
            multiply(
                m: rows, n: block.count, k: inputs, Operand(pointer: x, leadingDimension: inputs),
                Operand(pointer: weights, leadingDimension: inputs, isTransposed: true), into: y + block.lowerBound,
                leadingDimension: outputs, accumulating: accumulating)
        }
    }

    /// dx [T, in] (+)= dy [T, out] · w, with w [out, in].
    package func multiply(
        _ dy: UnsafePointer<Float>, rows: Int, by w: Parameter, into dx: UnsafeMutablePointer<Float>,
        accumulating: Bool
    ) {
        let (outputs, inputs) = (w.shape[0], w.shape[1])
        if let packed = packed(dy, rows: rows, depth: outputs, byTranspose: false) {
            return packed.multiply(by: w, into: dx, accumulating: accumulating)
        }
        forEachFloatBlock(of: w) { block, weights in
            multiply(
                m: rows, n: inputs, k: block.count,
                Operand(pointer: dy + block.lowerBound, leadingDimension: outputs),
                Operand(pointer: weights, leadingDimension: inputs), into: dx, leadingDimension: inputs,
                accumulating: accumulating || block.lowerBound > 0)
        }
    }

    /// dw [out, in] (+)= dyᵀ · x, with dy [T, out] and x [T, in].
    func multiplyOuter(
        _ dy: UnsafePointer<Float>, outputs: Int, _ x: KeptActivation, into dw: UnsafeMutablePointer<Float>,
        accumulating: Bool
    ) {
        let (rows, inputs) = (x.shape[0], x.shape[1])
        if productKernels != nil {
            return multiplyOuter(
                dy, outputs: outputs, x.factor, inputs: inputs, into: dw, accumulating: accumulating)
        }
        let x = x.floats(in: self)
        multiplyOuter(
            dy, outputs: outputs, x.pointer, inputs: inputs, rows: rows, into: dw, accumulating: accumulating)
        withExtendedLifetime(x) {}
    }

    /// dw [out, in] (+)= scale · dyᵀ · x, with dy [T, out] and x [T, in].
    func multiplyOuter(
        _ dy: UnsafePointer<Float>, outputs: Int, _ x: UnsafePointer<Float>, inputs: Int, rows: Int,
        into dw: UnsafeMutablePointer<Float>, accumulating: Bool, scale: Float = 1
    ) {
        if productKernels != nil {
            let factor = ek_gemm_factor(x, stride: inputs, depth: rows, isTransposed: false)
            return multiplyOuter(
                dy, outputs: outputs, factor, inputs: inputs, into: dw, accumulating: accumulating, scale: scale)
        }
        multiply(
            m: outputs, n: inputs, k: rows, Operand(pointer: dy, leadingDimension: outputs, isTransposed: true),
            Operand(pointer: x, leadingDimension: inputs), into: dw, leadingDimension: inputs,
            accumulating: accumulating, alpha: scale)
    }

    private func multiplyOuter(
        _ dy: UnsafePointer<Float>, outputs: Int, _ x: ek_gemm_factor, inputs: Int,
        into dw: UnsafeMutablePointer<Float>, accumulating: Bool, scale: Float = 1
    ) {
        guard let productKernels else { return }
        let packed = PackedRows(
            rows: outputs, depths: [x.depth], byTranspose: false, kernels: productKernels, in: self)
        packed.append(dy, depth: x.depth, isTransposed: true, scale: scale)
        packed.multiply([x], columns: inputs, into: dw, leadingDimension: inputs, accumulating: accumulating)
    }

    /// Calls `body` with blocks of rows of `w`, from the first on: all at once where they are bf16 or floats in memory.
    func forEachBlock(of w: Parameter, _ body: (WeightBlock) -> Void) {
        let (rows, inputs) = (w.shape[0], w.shape[1])
        if case .encoded(let matrix) = w.contents, let values = matrix.bf16 {
            return body(WeightBlock(rows: 0..<rows, inputs: inputs, values: .bf16(values)))
        }
        forEachFloatBlock(of: w) { block, values in
            body(WeightBlock(rows: block, inputs: inputs, values: .floats(values)))
        }
    }

    /// Calls `body` with blocks of rows of `w` as floats: all at once where they are floats already, otherwise decoded
    /// some 4 million elements at a time, so that the base is never converted as a whole. Blocks begin at even rows.
    private func forEachFloatBlock(of w: Parameter, _ body: (Range<Int>, UnsafePointer<Float>) -> Void) {
        let (rows, columns) = (w.shape[0], w.shape[1])
        if let floats = w.floats { return body(0..<rows, floats.pointer) }
        let rowsPerBlock = max(2, decodedElements / max(1, columns) / 2 * 2)
        for start in stride(from: 0, to: rows, by: rowsPerBlock) {
            let block = start..<min(rows, start + rowsPerBlock)
            let decoded = Tensor(Shape(block.count, columns), in: self) { out in
                threads.forEachRange(block.count, grain: rowGrain(width: columns)) { range, _ in
                    let first = block.lowerBound + range.lowerBound
                    w.decode(rows: first..<first + range.count, to: out + range.lowerBound * columns)
                }
            }
            body(block, decoded.pointer)
            withExtendedLifetime(decoded) {}
        }
    }
}

private let decodedElements = 4 << 20
