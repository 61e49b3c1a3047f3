import Autograd
import CKernels
import TestSupport
import Testing

/// Few rows times quantised weights, against sums in double over the values that dequantising gives.
@Suite struct QuantizedProductTests {
    /// The kernels of one instruction set.
    struct Kernels: CustomTestStringConvertible {
        let set: InstructionSet
        let isExact: Bool
        var table: ek_quantized_kernels { ek_quantized_kernels_for(set.kernelSet, isExact ? 1 : 0).pointee }
        var testDescription: String { "\(set.rawValue), \(isExact ? "exact" : "16 bits")" }

        static let available = InstructionSet.allCases.filter(\.isAvailable).flatMap { set in
            [Kernels(set: set, isExact: true), Kernels(set: set, isExact: false)]
        }
    }

    static var types: [ek_block_type] {
        (0..<ek_block_type_count()).compactMap { ek_block_type_at($0)?.pointee }
            .filter { $0.block_elements > 1 && $0.dequantize != nil }
    }

    @Test(arguments: types.map(\.ggml_type)) func everySize(_ number: UInt32) throws {
        let type = try #require(ek_find_block_type(number)?.pointee)
        for sample in 0..<24 {
            check(
                Problem(
                    type, rows: sample % 16 + 1, outputs: (sample * 17) % 65 + 1, blocks: sample % 3 + 1,
                    seed: UInt64(sample)))
        }
        check(Problem(type, rows: 3, outputs: 300, blocks: 5, seed: 24))
    }

    @Test(arguments: types.map(\.ggml_type)) func lowRankPermutedAndAccumulated(_ number: UInt32) throws {
        let type = try #require(ek_find_block_type(number)?.pointee)
        for (index, rank) in [1, 3, 16, 37].enumerated() {
            check(
                Problem(
                    type, rows: 5, outputs: 40, blocks: 2, rank: rank, isPermuted: index % 2 == 0,
                    accumulating: index > 1, seed: UInt64(rank)))
        }
    }

    @Test func allReadableTypesAreCovered() {
        #expect(
            Set(Self.types.map { String(cString: $0.name) }) == Set(Problem.halfOffsets.keys))
    }

    /// A sequence gives the same whether it is decoded alone or with others.
    @Test(arguments: Kernels.available) func rowsHaveTheirBitsFromTheirOwnInputs(_ kernels: Kernels) {
        for type in Self.types {
            let all = Problem(type, rows: 16, outputs: 33, blocks: 3, seed: 5)
            let expected = all.product(kernels.table)
            for rows in 1..<16 {
                var some = all
                some.rows = rows
                #expect(some.product(kernels.table) == Array(expected[..<(rows * 33)]), "\(String(cString: type.name))")
            }
        }
    }

    @Test(arguments: Kernels.available) func aNaNIsNeverLost(_ kernels: Kernels) {
        for type in Self.types {
            var problem = Problem(type, rows: 3, outputs: 9, blocks: 2, seed: 6)
            problem.x[problem.inputs + 7] = .nan
            let y = problem.product(kernels.table)
            #expect(y.indices.allSatisfy { y[$0].isNaN == ($0 / 9 == 1) }, "\(String(cString: type.name))")
        }
    }

    /// Compares every element of every instruction set's product.
    private func check(_ problem: Problem, sourceLocation: SourceLocation = #_sourceLocation) {
        let reference = problem.reference()
        for kernels in Kernels.available {
            let y = problem.product(kernels.table)
            var worst = (excess: 0.0, place: 0)
            for (index, expected) in reference.enumerated() {
                let tolerance = kernels.isExact ? expected.tolerance : expected.tolerance + expected.rounding
                let excess = abs(Double(y[index]) - expected.value) / tolerance
                if !(excess <= worst.excess) { worst = (excess, index) }
            }
            #expect(
                worst.excess <= 1,
                "\(String(cString: problem.type.name)), \(kernels), inputs \(problem.inputs): \(worst)",
                sourceLocation: sourceLocation)
        }
    }
}

/// A product with random blocks.
private struct Problem {
    let type: ek_block_type
    var rows: Int
    let outputs: Int
    let inputs: Int
    let rank: Int
    let accumulating: Bool
    let bytes: [UInt8]
    let places: [Int32]?
    var x: [Float]
    let p: [Float]
    let b: [Float]
    let before: [Float]

    var rowBytes: Int { inputs / Int(type.block_elements) * Int(type.block_bytes) }

    init(
        _ type: ek_block_type, rows: Int, outputs: Int, blocks: Int, rank: Int = 0, isPermuted: Bool = false,
        accumulating: Bool = false, seed: UInt64
    ) {
        var numbers = TestNumbers(seed: seed)
        (self.type, self.rows, self.outputs, self.rank) = (type, rows, outputs, rank)
        self.accumulating = accumulating
        inputs = blocks * Int(type.block_elements)
        let blockBytes = Int(type.block_bytes)
        var bytes = (0..<outputs * blocks * blockBytes).map { _ in UInt8(abs(numbers.uniform()) * 255.9) }
        let halves = Self.halfOffsets[String(cString: type.name)] ?? []
        for block in 0..<outputs * blocks {
            // Scales from 1/16 to 8 of either sign: any bytes would also be infinities.
            for offset in halves {
                bytes[block * blockBytes + offset + 1] = bytes[block * blockBytes] & 0x80 | 0x2c + UInt8(block % 28)
            }
        }
        self.bytes = bytes
        places = isPermuted ? (0..<outputs).map { Int32(outputs - 1 - $0) } : nil
        // Rows of very different sizes, with a few outliers.
        x = (0..<rows * inputs).map { index in
            numbers.uniform() * (index % 97 == 0 ? 100 : 1) * (index / 32 % 3 == 0 ? 1e-3 : 1)
        }
        p = (0..<rows * rank).map { _ in numbers.uniform() }
        b = (0..<outputs * rank).map { _ in numbers.uniform() }
        before = (0..<rows * outputs).map { _ in numbers.uniform() }
    }

    /// Where a block has its scales and minima as halves.
    static let halfOffsets: [String: [Int]] = [
        "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "IQ4_NL": [0], "Q2_K": [80, 82],
        "Q3_K": [108], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_XS": [0],
    ]

    func product(_ kernels: ek_quantized_kernels) -> [Float] {
        let leftBytes = kernels.left_bytes(inputs)
        let left = UnsafeMutableRawPointer.allocate(byteCount: rows * leftBytes, alignment: 64)
        defer { left.deallocate() }
        for row in 0..<rows {
            x.withUnsafeBufferPointer { x in
                let own = x.baseAddress! + row * inputs
                if let pack = kernels.pack { return pack(left + row * leftBytes, own, inputs) }
                (left + row * leftBytes).copyMemory(from: own, byteCount: inputs * 4)
            }
        }
        var y = Array(before[..<(rows * outputs)])
        bytes.withUnsafeBufferPointer { blocks in
            y.withUnsafeMutableBufferPointer { y in
                var product = ek_quantized_product()
                product.blocks = blocks.baseAddress
                product.ggml_type = type.ggml_type
                (product.outputs, product.inputs, product.rows) = (outputs, inputs, rows)
                (product.left, product.left_bytes) = (UnsafeRawPointer(left), leftBytes)
                (product.rank, product.scale, product.accumulate) = (rank, 0.75, accumulating ? 1 : 0)
                (product.y, product.ldy) = (y.baseAddress, outputs)
                p.withUnsafeBufferPointer { p in
                    b.withUnsafeBufferPointer { b in
                        (places ?? []).withUnsafeBufferPointer { places in
                            (product.p, product.b) = (p.baseAddress, b.baseAddress)
                            product.places = self.places == nil ? nil : places.baseAddress
                            for item in 0..<ek_quantized_items(&product) { kernels.multiply(&product, item) }
                        }
                    }
                }
            }
        }
        return y
    }

    struct Element {
        var value: Double
        /// What f32's own sums may add up to: 4e-6 of the sum of the magnitudes, some thirty roundings.
        var tolerance: Double
        /// What 16 bits may add: half a step of the largest of each 32, times the weights.
        var rounding: Double
    }

    func reference() -> [Element] {
        let weights = (0..<outputs).map { row -> [Float] in
            var values = [Float](repeating: 0, count: inputs)
            bytes.withUnsafeBytes {
                type.dequantize($0.baseAddress! + Int(places?[row] ?? Int32(row)) * rowBytes, &values, inputs)
            }
            return values
        }
        let steps = stride(from: 0, to: rows * inputs, by: 32).map { start in
            Double(x[start..<start + 32].map(abs).max() ?? 0) / 32767
        }
        return (0..<rows * outputs).map { index in
            let (i, j) = (index / outputs, index % outputs)
            var sum = accumulating ? Double(before[index]) : 0
            var (magnitude, rounding) = (abs(sum), 0.0)
            for k in 0..<inputs {
                let weight = Double(weights[j][k])
                let term = weight * Double(x[i * inputs + k])
                sum += term
                magnitude += abs(term)
                rounding += abs(weight) * steps[(i * inputs + k) / 32]
            }
            for r in 0..<rank {
                let term = 0.75 * Double(p[i * rank + r]) * Double(b[j * rank + r])
                sum += term
                magnitude += abs(term)
            }
            return Element(value: sum, tolerance: 4e-6 * magnitude + 1e-12, rounding: 0.51 * rounding)
        }
    }
}
