import Autograd
import CKernels
import TestSupport
import Testing

/// Products in bf16 against sums in double over inputs that were rounded to bf16 first, so that only f32's own sums
/// separate the two: they stay within 1e-6 of the sum of the magnitudes, some ten roundings.
@Suite(.enabled(if: InstructionSet.avx512BF16.isAvailable)) struct BF16ProductTests {
    let kernels = ek_bf16_kernels_for(EK_ISA_AVX512_BF16)!.pointee

    /// How one factor of the right side is stored.
    struct Storage {
        let depth: Int
        var isTransposed = false
        var isF32 = false
    }

    @Test func everySizeUpTo65() {
        // 17, 29 and 65 have no common divisor: each dimension takes every size, beside ever others of the rest.
        for sample in 0..<130 {
            let (m, n) = (sample % 65 + 1, (sample * 17 + sample / 65 * 5) % 65 + 1)
            let k = (sample * 29 + sample / 65 * 11) % 65 + 1
            for isTransposed in [false, true] {
                for isF32 in [false, true] {
                    let factor = Storage(depth: k, isTransposed: isTransposed, isF32: isF32)
                    check(m: m, n: n, [factor], accumulating: sample % 2 == 0)
                }
            }
            check(m: m, n: n, [Storage(depth: k)], leftIsTransposed: true, accumulating: sample % 2 == 1)
        }
    }

    @Test func sizesBeyondEveryBlock() {
        for isTransposed in [false, true] {
            check(m: 1400, n: 37, [Storage(depth: 65, isTransposed: isTransposed)], accumulating: false)
            check(m: 30, n: 700, [Storage(depth: 65, isTransposed: isTransposed)], accumulating: true)
            check(m: 30, n: 70, [Storage(depth: 4601, isTransposed: isTransposed)], accumulating: false)
        }
        check(m: 690, n: 170, [Storage(depth: 2113, isTransposed: true)], accumulating: true)
    }

    @Test func factorsOnEachOther() {
        for (first, second) in [(1, 1), (17, 16), (64, 3), (2047, 16), (4096, 33)] {
            for isTransposed in [false, true] {
                let weight = Storage(depth: first, isTransposed: isTransposed)
                let lowRank = Storage(depth: second, isTransposed: isTransposed, isF32: true)
                check(m: 29, n: 50, [weight, lowRank], accumulating: false)
            }
        }
    }

    @Test func tieRoundsToEvenAndInfinityStays() {
        // Between 1 and the next bf16, 1 + 2^-7, and between that and 1 + 2^-6.
        let values: [Float] = [1 + 0x1p-8, 1 + 0x1p-7 + 0x1p-8, .infinity]
        let expected: [Float] = [1, 1 + 0x1p-6, .infinity]
        for (value, rounded) in zip(values, expected) {
            let c = product(
                m: 1, n: 1, left: [value], leftIsTransposed: false, scale: 1,
                [(Storage(depth: 1, isF32: true), [1])], into: [0], accumulating: false)
            #expect(c == [rounded])
        }
    }

    // MARK: - Reference

    /// Compares every element for random inputs.
    func check(
        m: Int, n: Int, _ factors: [Storage], leftIsTransposed: Bool = false, accumulating: Bool,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        var numbers = TestNumbers(seed: UInt64(m &* 7919 &+ n))
        let depth = factors.reduce(0) { $0 + $1.depth }
        let scale: Float = leftIsTransposed ? 0.75 : 1
        let left = (0..<m * depth).map { _ in numbers.uniform() }
        let rights = factors.map { factor in (factor, (0..<factor.depth * n).map { _ in numbers.uniform() }) }
        let before = (0..<m * n).map { _ in numbers.uniform() }
        let c = product(
            m: m, n: n, left: left, leftIsTransposed: leftIsTransposed, scale: scale, rights, into: before,
            accumulating: accumulating)
        // Both sides with their rows along the reduction.
        let a = (0..<m * depth).map { index -> Double in
            let (i, k) = (index / depth, index % depth)
            return Double(rounded(scale * left[leftIsTransposed ? k * m + i : index]))
        }
        var b = [Double](repeating: 0, count: n * depth)
        var first = 0
        for (factor, values) in rights {
            for j in 0..<n {
                for k in 0..<factor.depth {
                    b[j * depth + first + k] =
                        Double(rounded(values[factor.isTransposed ? j * factor.depth + k : k * n + j]))
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

    /// Nearest bf16, ties to even.
    func rounded(_ x: Float) -> Float {
        let bits = x.bitPattern
        return Float(bitPattern: (bits &+ 0x7FFF &+ (bits >> 16 & 1)) & 0xFFFF_0000)
    }

    /// The kernels' product, item by item; the packed side and the output have guards around them.
    func product(
        m: Int, n: Int, left: [Float], leftIsTransposed: Bool, scale: Float, _ rights: [(Storage, [Float])],
        into before: [Float], accumulating: Bool
    ) -> [Float] {
        let depth = rights.reduce(0) { $0 + $1.0.depth }
        // A reduction of which only a middle part takes part in the product.
        let (skipped, trailing) = (3, 2)
        let pairs = skipped + rights.reduce(0) { $0 + ek_bf16_pairs($1.0.depth) } + trailing
        let packed = UnsafeMutablePointer<UInt32>.allocate(
            aligned: ek_bf16_packed_words(m, pairs), filling: 0x7FC0_7FC0)
        defer { packed.deallocate() }
        var (firstPair, firstDepth) = (skipped, 0)
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
                for tile in 0..<ek_bf16_tiles(m) {
                    kernels.pack_left(
                        packed, pairs, firstPair, part, leftIsTransposed ? m : factor.depth, leftIsTransposed ? 1 : 0,
                        m, factor.depth, scale, tile)
                }
            }
            firstPair += ek_bf16_pairs(factor.depth)
            firstDepth += factor.depth
        }
        let halves = rights.map { $0.1.map { UInt16(rounded($0).bitPattern >> 16) } }
        let ldc = n + 5
        var c = [Float](repeating: 77, count: m * ldc)
        for i in 0..<m { for j in 0..<n { c[i * ldc + j] = before[i * n + j] } }
        var factors: [ek_bf16_factor] = []
        withExtendedLifetime((rights, halves)) {
            for (right, half) in zip(rights, halves) {
                let stride = right.0.isTransposed ? right.0.depth : n
                right.1.withUnsafeBytes { floats in
                    half.withUnsafeBytes { half in
                        factors.append(
                            ek_bf16_factor(
                                values: right.0.isF32 ? floats.baseAddress : half.baseAddress, stride: stride,
                                depth: right.0.depth, is_f32: right.0.isF32 ? 1 : 0,
                                is_transposed: right.0.isTransposed ? 1 : 0))
                    }
                }
            }
            c.withUnsafeMutableBufferPointer { c in
                var product = ek_bf16_product()
                (product.rows, product.columns, product.left_pairs) = (m, n, pairs)
                product.left = UnsafePointer(packed) + skipped * EK_BF16_TILE_STRIDE
                product.factors.0 = factors[0]
                if factors.count > 1 { product.factors.1 = factors[1] }
                (product.factor_count, product.accumulate) = (Int32(factors.count), accumulating ? 1 : 0)
                (product.c, product.ldc) = (c.baseAddress, ldc)
                var cut = ek_bf16_cut_of(&product)
                let scratch = UnsafeMutablePointer<UInt32>.allocate(
                    aligned: cut.scratch_bytes / 4, filling: 0x7FC0_7FC0)
                defer { scratch.deallocate() }
                for item in (0..<cut.row_pieces * cut.column_pieces).reversed() {
                    kernels.multiply(&product, &cut, item, scratch)
                }
            }
        }
        for i in 0..<m { #expect(c[i * ldc + n..<(i + 1) * ldc].allSatisfy { $0 == 77 }, "writes beside row \(i)") }
        return (0..<m).flatMap { c[$0 * ldc..<$0 * ldc + n] }
    }
}

extension UnsafeMutablePointer<UInt32> {
    /// `count` 64-byte-aligned words; NaNs as `filling` show every one that is read without having been written.
    fileprivate static func allocate(aligned count: Int, filling: UInt32) -> Self {
        let bytes = UnsafeMutableRawPointer.allocate(byteCount: max(64, count * 4), alignment: 64)
        return bytes.initializeMemory(as: UInt32.self, repeating: filling, count: count)
    }
}
