import Autograd
import CKernels
import TestSupport
import Testing

/// Products against sums in double over the inputs as the kernels have them, rounded or not, so that only f32's own
/// sums separate the two: they stay within 1e-6 of the sum of the magnitudes, some ten roundings.
@Suite struct ProductTests {
    /// The kernels of one precision, if this machine has them.
    struct Kernels: CustomTestStringConvertible {
        let table: ek_gemm_kernels
        let testDescription: String
        var precision: ek_gemm_precision { table.precision }

        static let available: [Kernels] = {
            var tables: [(String, UnsafePointer<ek_gemm_kernels>?)] = []
            if InstructionSet.avx512.isAvailable {
                tables.append(("f32", ek_gemm_kernels_for(EK_ISA_AVX512, EK_GEMM_F32)))
            }
            if InstructionSet.avx512BF16.isAvailable {
                tables.append(("bf16", ek_gemm_kernels_for(EK_ISA_AVX512_BF16, EK_GEMM_BF16)))
            }
            tables.append(("bf16 by oneDNN", ek_onednn_kernels()))
            return tables.compactMap { name, table in table.map { Kernels(table: $0.pointee, testDescription: name) } }
        }()
    }

    /// How one factor of the right side is stored.
    struct Storage {
        let depth: Int
        var isTransposed = false
        var isF32 = false
    }

    @Test(arguments: Kernels.available) func everySizeUpTo65(_ kernels: Kernels) {
        // 17, 29 and 65 have no common divisor: each dimension takes every size, beside ever others of the rest.
        for sample in 0..<130 {
            let (m, n) = (sample % 65 + 1, (sample * 17 + sample / 65 * 5) % 65 + 1)
            let k = (sample * 29 + sample / 65 * 11) % 65 + 1
            for isTransposed in [false, true] {
                for isF32 in [false, true] {
                    let factor = Storage(depth: k, isTransposed: isTransposed, isF32: isF32)
                    check(kernels, m: m, n: n, [factor], accumulating: sample % 2 == 0)
                }
            }
            check(kernels, m: m, n: n, [Storage(depth: k)], leftIsTransposed: true, accumulating: sample % 2 == 1)
        }
    }

    @Test(arguments: Kernels.available) func sizesBeyondEveryBlock(_ kernels: Kernels) {
        for isTransposed in [false, true] {
            check(kernels, m: 700, n: 37, [Storage(depth: 65, isTransposed: isTransposed)], accumulating: false)
            check(kernels, m: 30, n: 700, [Storage(depth: 65, isTransposed: isTransposed)], accumulating: true)
            check(kernels, m: 15, n: 40, [Storage(depth: 4601, isTransposed: isTransposed)], accumulating: false)
            check(kernels, m: 14, n: 150, [Storage(depth: 8301, isTransposed: isTransposed)], accumulating: true)
        }
    }

    @Test(arguments: Kernels.available) func factorsOnEachOther(_ kernels: Kernels) {
        for (first, second) in [(1, 1), (17, 16), (64, 3), (2047, 16)] {
            for isTransposed in [false, true] {
                let weight = Storage(depth: first, isTransposed: isTransposed)
                let lowRank = Storage(depth: second, isTransposed: isTransposed, isF32: true)
                check(kernels, m: 29, n: 50, [weight, lowRank], accumulating: false)
            }
        }
    }

    @Test(arguments: Kernels.available) func fewRowsOfEverySize(_ kernels: Kernels) {
        for sample in 0..<195 {
            let (m, n) = (sample % EK_GEMM_FEW_ROWS + 1, (sample * 17 + sample / 65 * 5) % 65 + 1)
            let k = (sample * 29 + sample / 65 * 11) % 65 + 1
            for isF32 in [false, true] {
                check(
                    kernels, m: m, n: n, [Storage(depth: k, isTransposed: true, isF32: isF32)],
                    accumulating: sample % 2 == 0,
                    fewRows: true)
            }
        }
        for m in [1, 2, 3, 4, 5, 16] {
            check(kernels, m: m, n: 1030, [Storage(depth: 131, isTransposed: true)], accumulating: false, fewRows: true)
            check(kernels, m: m, n: 23, [Storage(depth: 5001, isTransposed: true)], accumulating: true, fewRows: true)
            for (first, second) in [(1, 1), (17, 16), (64, 3), (2047, 16)] {
                let factors = [
                    Storage(depth: first, isTransposed: true), Storage(depth: second, isTransposed: true, isF32: true),
                ]
                check(kernels, m: m, n: 50, factors, accumulating: false, fewRows: true)
            }
        }
    }

    /// A sequence gives the same whether it is decoded alone or with others.
    @Test(arguments: Kernels.available) func fewRowsHaveTheirBitsFromTheirOwnInputs(_ kernels: Kernels) {
        var numbers = TestNumbers(seed: 11)
        let (n, k) = (70, 333)
        let left = (0..<EK_GEMM_FEW_ROWS * k).map { _ in numbers.uniform() }
        let right = (Storage(depth: k, isTransposed: true), (0..<n * k).map { _ in numbers.uniform() })
        let zeros = [Float](repeating: 0, count: EK_GEMM_FEW_ROWS * n)
        let all = product(
            kernels, m: EK_GEMM_FEW_ROWS, n: n, left: left, leftIsTransposed: false, scale: 1, [right], into: zeros,
            accumulating: false, fewRows: true)
        for m in 1..<EK_GEMM_FEW_ROWS {
            let some = product(
                kernels, m: m, n: n, left: left, leftIsTransposed: false, scale: 1, [right], into: zeros,
                accumulating: false,
                fewRows: true)
            #expect(some == Array(all[..<(m * n)]))
        }
    }

    @Test(arguments: Kernels.available.filter { $0.precision == EK_GEMM_BF16 })
    func tieRoundsToEvenAndInfinityStays(_ kernels: Kernels) {
        // Between 1 and the next bf16, 1 + 2^-7, and between that and 1 + 2^-6.
        let values: [Float] = [1 + 0x1p-8, 1 + 0x1p-7 + 0x1p-8, .infinity]
        let expected: [Float] = [1, 1 + 0x1p-6, .infinity]
        for (value, rounded) in zip(values, expected) {
            let c = product(
                kernels, m: 1, n: 1, left: [value], leftIsTransposed: false, scale: 1,
                [(Storage(depth: 1, isF32: true), [1])], into: [0], accumulating: false)
            #expect(c == [rounded])
        }
    }

    // MARK: - Reference

    /// Compares every element for random inputs.
    func check(
        _ kernels: Kernels, m: Int, n: Int, _ factors: [Storage], leftIsTransposed: Bool = false, accumulating: Bool,
        fewRows: Bool = false, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        var numbers = TestNumbers(seed: UInt64(m &* 7919 &+ n))
        let depth = factors.reduce(0) { $0 + $1.depth }
        let scale: Float = leftIsTransposed ? 0.75 : 1
        let left = (0..<m * depth).map { _ in numbers.uniform() }
        let rights = factors.map { factor in (factor, (0..<factor.depth * n).map { _ in numbers.uniform() }) }
        let before = (0..<m * n).map { _ in numbers.uniform() }
        let c = product(
            kernels, m: m, n: n, left: left, leftIsTransposed: leftIsTransposed, scale: scale, rights, into: before,
            accumulating: accumulating, fewRows: fewRows)
        // Both sides with their rows along the reduction.
        let a = (0..<m * depth).map { index -> Double in
            let (i, k) = (index / depth, index % depth)
            return Double(kernels.rounded(scale * left[leftIsTransposed ? k * m + i : index]))
        }
        var b = [Double](repeating: 0, count: n * depth)
        var first = 0
        for (factor, values) in rights {
            for j in 0..<n {
                for k in 0..<factor.depth {
                    let value = values[factor.isTransposed ? j * factor.depth + k : k * n + j]
                    b[j * depth + first + k] = Double(factor.isF32 ? kernels.rounded(value) : roundedToBF16(value))
                }
            }
            first += factor.depth
        }
        var worst = (error: 0.0, place: 0)
        a.withUnsafeBufferPointer { a in
            b.withUnsafeBufferPointer { b in
                for place in 0..<m * n {
                    let (x, y) = (a.baseAddress! + place / n * depth, b.baseAddress! + place % n * depth)
                    var sum = accumulating ? Double(before[place]) : 0
                    var magnitude = abs(sum)
                    for k in 0..<depth {
                        sum += x[k] * y[k]
                        magnitude += abs(x[k] * y[k])
                    }
                    let error = abs(Double(c[place]) - sum) / magnitude
                    if !(error <= worst.error) { worst = (error.isNaN ? .infinity : error, place) }
                }
            }
        }
        #expect(
            worst.error < 1e-6, "\(m) x \(n) x \(factors), element \(worst.place / n), \(worst.place % n)",
            sourceLocation: sourceLocation)
    }

    /// The kernels' product, item by item; the packed side and the output have guards around them.
    func product(
        _ kernels: Kernels, m: Int, n: Int, left: [Float], leftIsTransposed: Bool, scale: Float,
        _ rights: [(Storage, [Float])],
        into before: [Float], accumulating: Bool, fewRows: Bool = false
    ) -> [Float] {
        let depth = rights.reduce(0) { $0 + $1.0.depth }
        // A reduction of which only a middle part takes part in the product.
        let (skipped, trailing) = (16, 32)
        let ownWords = { (depth: Int) in
            fewRows ? ek_gemm_row_words(kernels.precision, depth) : ek_gemm_words(kernels.precision, depth)
        }
        let own = rights.reduce(0) { $0 + ownWords($1.0.depth) }
        let words = skipped + own + trailing
        let packed = UnsafeMutablePointer<UInt32>.allocate(
            aligned: fewRows ? m * words : ek_gemm_packed_words(m, words), filling: 0x7FC0_7FC0)
        defer { packed.deallocate() }
        var (firstWord, firstDepth) = (skipped, 0)
        for (factor, _) in rights {
            left.withUnsafeBufferPointer { left in
                // Parts of the left side stand beside each other in rows, or below each other if transposed.
                var part: [Float] = []
                for k in 0..<(leftIsTransposed ? factor.depth * m : m * factor.depth) {
                    let (outer, inner) = leftIsTransposed ? (k / m, k % m) : (k / factor.depth, k % factor.depth)
                    part.append(
                        leftIsTransposed
                            ? left[(firstDepth + outer) * m + inner] : left[outer * depth + firstDepth + inner])
                }
                if fewRows {
                    kernels.table.pack_rows(packed, words, firstWord, part, factor.depth, m, factor.depth, scale)
                }
                for tile in 0..<(fewRows ? 0 : ek_gemm_tiles(m)) {
                    kernels.table.pack_left(
                        packed, words, firstWord, part, leftIsTransposed ? m : factor.depth, leftIsTransposed ? 1 : 0,
                        m, factor.depth, scale, tile)
                }
            }
            firstWord += ownWords(factor.depth)
            firstDepth += factor.depth
        }
        let halves = rights.map { $0.1.map { UInt16(roundedToBF16($0).bitPattern >> 16) } }
        let ldc = n + 5
        var c = [Float](repeating: 77, count: m * ldc)
        for i in 0..<m { for j in 0..<n { c[i * ldc + j] = before[i * n + j] } }
        var factors: [ek_gemm_factor] = []
        withExtendedLifetime((rights, halves)) {
            for (right, half) in zip(rights, halves) {
                let stride = right.0.isTransposed ? right.0.depth : n
                right.1.withUnsafeBytes { floats in
                    half.withUnsafeBytes { half in
                        factors.append(
                            ek_gemm_factor(
                                values: right.0.isF32 ? floats.baseAddress : half.baseAddress, stride: stride,
                                depth: right.0.depth, is_f32: right.0.isF32 ? 1 : 0,
                                is_transposed: right.0.isTransposed ? 1 : 0))
                    }
                }
            }
            c.withUnsafeMutableBufferPointer { c in
                var product = ek_gemm_product()
                product.precision = kernels.precision
                (product.rows, product.columns, product.left_words) = (m, n, words)
                product.left = UnsafePointer(packed) + skipped * (fewRows ? 1 : kernels.table.left_step)
                product.factors.0 = factors[0]
                if factors.count > 1 { product.factors.1 = factors[1] }
                (product.factor_count, product.accumulate) = (Int32(factors.count), accumulating ? 1 : 0)
                (product.c, product.ldc) = (c.baseAddress, ldc)
                guard !fewRows else {
                    for item in 0..<ek_gemm_row_items(&product) { kernels.table.multiply_rows(&product, item) }
                    return
                }
                var cut = kernels.table.cut(&product)
                let scratch = UnsafeMutablePointer<UInt32>.allocate(
                    aligned: cut.scratch_bytes / 4, filling: 0x7FC0_7FC0)
                defer { scratch.deallocate() }
                for item in (0..<cut.row_pieces * cut.column_pieces).reversed() {
                    kernels.table.multiply(&product, &cut, item, scratch)
                }
            }
        }
        for i in 0..<m { #expect(c[i * ldc + n..<(i + 1) * ldc].allSatisfy { $0 == 77 }, "writes beside row \(i)") }
        return (0..<m).flatMap { c[$0 * ldc..<$0 * ldc + n] }
    }
}

/// Nearest bf16, ties to even.
private func roundedToBF16(_ x: Float) -> Float {
    Float(bitPattern: (x.bitPattern &+ 0x7FFF &+ (x.bitPattern >> 16 & 1)) & 0xFFFF_0000)
}

extension ProductTests.Kernels {
    /// `x` as the products have it.
    fileprivate func rounded(_ x: Float) -> Float { precision == EK_GEMM_BF16 ? roundedToBF16(x) : x }
}

extension UnsafeMutablePointer<UInt32> {
    /// `count` 64-byte-aligned words; NaNs as `filling` show every one that is read without having been written.
    fileprivate static func allocate(aligned count: Int, filling: UInt32) -> Self {
        let bytes = UnsafeMutableRawPointer.allocate(byteCount: max(64, count * 4), alignment: 64)
        return bytes.initializeMemory(as: UInt32.self, repeating: filling, count: count)
    }
}
