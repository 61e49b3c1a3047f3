import Autograd
import CKernels
import Foundation
import TestSupport
import Testing

/// Every kernel of every instruction set of this machine against a naive loop in double, on odd sizes.
///
/// The tolerance is that of f32 sums of the length at hand: 2e-6 of the largest value, times a few.
@Suite struct KernelReferenceTests {
    static let sets = InstructionSet.allCases.filter(\.isAvailable)
    static let sizes = [1, 2, 3, 5, 7, 8, 15, 16, 17, 31, 33, 64, 65, 100]

    func kernels(_ set: InstructionSet) -> ek_kernels { Workspace(threadCount: 1, instructionSet: set).kernels }

    func numbers(_ count: Int, _ seed: UInt64, _ range: ClosedRange<Float> = -2...2) -> [Float] {
        var source = TestNumbers(seed: seed)
        return (0..<count).map { _ in source.uniform(range) }
    }

    @Test(arguments: sets) func smallProductOfEverySize(_ set: InstructionSet) {
        let kernels = kernels(set)
        for m in [1, 2, 5, 6, 7, 13] {
            for n in Self.sizes {
                for k in [1, 3, 17, 64] {
                    for (transposed, accumulate) in [(false, false), (true, true)] {
                        let a = numbers(m * k, 1), b = numbers(k * n, 2)
                        var c = numbers(m * n, 3)
                        var expected = c.map { accumulate ? Double($0) : 0 }
                        for i in 0..<m {
                            for j in 0..<n {
                                for p in 0..<k {
                                    expected[i * n + j] +=
                                        Double(a[transposed ? p * m + i : i * k + p]) * Double(b[p * n + j])
                                }
                            }
                        }
                        kernels.gemm_small(
                            m, n, k, a, transposed ? 1 : k, transposed ? m : 1, b, n, &c, n, accumulate ? 1 : 0)
                        expectClose(c, expected, relative: 1e-5)
                    }
                }
            }
        }
    }

    @Test(arguments: sets) func elementwiseKernels(_ set: InstructionSet) {
        let kernels = kernels(set)
        for n in Self.sizes {
            let a = numbers(n, 1), b = numbers(n, 2)
            var y = [Float](repeating: 7, count: n)
            kernels.sum(&y, a, b, 0.5, n)
            expectClose(y, zip(a, b).map { Double($0) + 0.5 * Double($1) }, relative: 1e-6)
            kernels.add_scaled(&y, a, -1, n, 1)
            expectClose(y, b.map { 0.5 * Double($0) }, relative: 1e-6)
            #expect(abs(kernels.squared_norm(a, n) - a.reduce(0) { $0 + Double($1) * Double($1) }) < 1e-9)
        }
    }

    @Test(arguments: sets) func activationsOverTheirWholeRange(_ set: InstructionSet) {
        let kernels = kernels(set)
        let x = (-3000...3000).map { Float($0) / 100 }
        let references: [(ek_activation, (Double) -> Double)] = [
            (EK_SILU, { $0 / (1 + exp(-$0)) }), (EK_GELU, { 0.5 * $0 * (1 + erf($0 / 2.0.squareRoot())) }),
            (EK_GELU_TANH, { 0.5 * $0 * (1 + tanh(0.7978845608028654 * ($0 + 0.044715 * $0 * $0 * $0))) }),
            (EK_RELU2, { $0 > 0 ? $0 * $0 : 0 }), (EK_RELU, { max(0, $0) }), (EK_TANH, { tanh($0) }),
            (EK_QUICK_GELU, { $0 / (1 + exp(-1.702 * $0)) }),
        ]
        for (kind, reference) in references {
            var y = [Float](repeating: 0, count: x.count)
            kernels.gated_forward(&y, x, nil, x.count, kind)
            for (input, output) in zip(x, y) {
                let expected = reference(Double(input))
                #expect(
                    abs(Double(output) - expected) < 3e-7 * max(1, abs(Double(input)), abs(expected)),
                    "\(kind) of \(input)")
            }
        }
    }

    @Test(arguments: sets) func xieluOverItsWholeRange(_ set: InstructionSet) {
        let kernels = kernels(set)
        let x = (-3000...3000).map { Float($0) / 100 } + (-300...300).map { Float($0) / 1e4 }
        let factors = ek_xielu(alpha_p: 0.8, alpha_n: 1.3, beta: 0.5, epsilon: -1e-6)
        let (p, n, beta) = (Double(factors.alpha_p), Double(factors.alpha_n), Double(factors.beta))
        var y = [Float](repeating: 0, count: x.count)
        kernels.xielu_forward(&y, x, x.count, factors)
        for (input, output) in zip(x, y) {
            let v = Double(input)
            let bent = v > 0 ? p * v * v : n * (expm1(min(v, Double(factors.epsilon))) - v)
            #expect(abs(Double(output) - bent - beta * v) <= 4e-7 * max(abs(v), abs(bent)), "xielu of \(input)")
        }
    }

    @Test(arguments: sets) func layerNormForward(_ set: InstructionSet) {
        let kernels = kernels(set)
        for n in Self.sizes {
            // A mean far from 0, where mean(x²) - mean(x)² would have cancelled.
            let x = numbers(3 * n, 1).map { $0 + 100 }, gain = numbers(n, 2), bias = numbers(n, 3)
            var y = [Float](repeating: 0, count: 3 * n), means = [Float](repeating: 0, count: 3), inverses = means
            for isPlain in [false, true] {
                kernels.layer_norm_forward(
                    &y, &means, &inverses, x, isPlain ? nil : gain, isPlain ? nil : bias, 3, n, 1e-5)
                var expected: [Double] = []
                for r in 0..<3 {
                    let row = x[r * n..<(r + 1) * n].map(Double.init)
                    let mean = row.reduce(0, +) / Double(n)
                    let variance = row.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(n)
                    for (i, value) in row.enumerated() {
                        let normed = (value - mean) / (variance + 1e-5).squareRoot()
                        expected.append(isPlain ? normed : normed * Double(gain[i]) + Double(bias[i]))
                    }
                }
                // x itself has 1e-5 of the spread left below its last digit.
                expectClose(y, expected, relative: 3e-5)
            }
        }
    }

    @Test(arguments: sets) func rmsNormForwardAndSoftmax(_ set: InstructionSet) {
        let kernels = kernels(set)
        for n in Self.sizes {
            let x = numbers(3 * n, 1), gain = numbers(n, 2)
            var y = [Float](repeating: 0, count: 3 * n), inverse = [Float](repeating: 0, count: 3)
            kernels.rms_norm_forward(&y, &inverse, x, gain, 1, 3, n, 1e-5)
            var expected: [Double] = []
            for r in 0..<3 {
                let row = x[r * n..<(r + 1) * n].map(Double.init)
                let scale = 1 / (row.reduce(0) { $0 + $1 * $1 } / Double(n) + 1e-5).squareRoot()
                expected += zip(row, gain).map { $0 * scale * (Double($1) + 1) }
            }
            expectClose(y, expected, relative: 2e-6)

            var logits = numbers(n, 3, -90...90)
            let exact = logits.map(Double.init), top = exact.max()!
            let total = exact.reduce(0) { $0 + exp($1 - top) }
            let lse = kernels.softmax_row(&logits, n, 2)
            #expect(abs(Double(lse) - (top + log(total))) < 1e-4)
            expectClose(logits, exact.map { 2 * exp($0 - top) / total }, relative: 2e-6)
        }
    }

    @Test(arguments: sets) func conversionsOfEveryPattern(_ set: InstructionSet) {
        let kernels = kernels(set)
        let patterns = (0...UInt16.max).map { $0 }
        var floats = [Float](repeating: 0, count: patterns.count)
        kernels.f16_to_f32(&floats, patterns, patterns.count)
        for (bits, value) in zip(patterns, floats) {
            let expected = Float(Float16(bitPattern: bits))
            #expect(value == expected || (value.isNaN && expected.isNaN), "f16 0x\(String(bits, radix: 16))")
        }
        kernels.bf16_to_f32(&floats, patterns, patterns.count)
        for (bits, value) in zip(patterns, floats) {
            #expect(value.bitPattern == UInt32(bits) << 16)
        }
        var back = [UInt16](repeating: 0, count: patterns.count)
        kernels.f32_to_bf16(&back, floats, patterns.count)
        for (bits, result) in zip(patterns, back) where !Float(bitPattern: UInt32(bits) << 16).isNaN {
            #expect(bits == result)
        }
        var ties: [UInt16] = [0, 0, 0]
        kernels.f32_to_bf16(
            &ties, [0x3F80_8000, 0x3F81_8000, 0x3F80_8001].map { Float(bitPattern: $0) }, 3)
        #expect(ties == [0x3F80, 0x3F82, 0x3F81])
    }

    @Test(arguments: sets) func dropoutKeepsItsShareAndItsMask(_ set: InstructionSet) {
        let kernels = kernels(set)
        let x = [Float](repeating: 1, count: 100_000)
        var y = x
        kernels.dropout(&y, x, x.count, 42, 0, 0.3, 0)
        let kept = y.count { $0 != 0 }
        // Six standard deviations of a binomial share.
        #expect(abs(Double(kept) / 100_000 - 0.7) < 0.009)
        #expect(y.allSatisfy { $0 == 0 || abs($0 - 1 / 0.7) < 1e-6 })
        var tail = [Float](repeating: 0, count: 1000)
        kernels.dropout(&tail, x, 1000, 42, 5000, 0.3, 0)
        #expect(tail == Array(y[5000..<6000]))
        kernels.dropout(&tail, x, 1000, 43, 5000, 0.3, 0)
        #expect(tail != Array(y[5000..<6000]))
    }

    @Test func allInstructionSetsDropTheSameElements() {
        let x = [Float](repeating: 1, count: 1000)
        let masks = Self.sets.map { set in
            var y = x
            kernels(set).dropout(&y, x, x.count, 7, 3, 0.5, 0)
            return y.map { $0 != 0 }
        }
        #expect(masks.allSatisfy { $0 == masks[0] })
    }
}
