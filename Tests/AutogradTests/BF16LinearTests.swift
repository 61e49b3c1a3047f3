import Autograd
import TestSupport
import Testing

/// The linear layer and the head in bf16: the same bits on any number of threads, and near f32.
@Suite(.enabled(if: InstructionSet.avx512BF16.isAvailable)) struct BF16LinearTests {
    /// bf16 keeps 8 bits: a rounding of 2^-9 each way, which averages out over a sum.
    static let bound = 1e-2

    /// Everything that a layer computes, for a weight kept in one of these ways.
    enum Stored: CaseIterable {
        case floats, bf16, decoded
    }

    struct Results {
        var y: [Float] = []
        var dx: [Float] = []
        var da: [Float] = []
        var db: [Float] = []
    }

    func layer(
        _ workspace: Workspace, rows: Int, inputs: Int, outputs: Int, stored: Stored, dropout: Dropout?
    ) -> Results {
        var numbers = TestNumbers(seed: 5)
        let x = numbers.tensor(Shape(rows, inputs), in: workspace)
        // Values that bf16 holds exactly.
        let halves = (0..<outputs * inputs).map { _ in UInt16(truncatingIfNeeded: numbers.uniform().bitPattern >> 16) }
        let weight = Parameter.matrix(halves, rows: outputs, columns: inputs, stored: stored, in: workspace)
        let rank = 5
        let a = Parameter(numbers.tensor(Shape(rank, inputs), in: workspace), isTrainable: true)
        let b = Parameter(numbers.tensor(Shape(outputs, rank), in: workspace), isTrainable: true)
        var results = Results()
        let tape = Tape(workspace, recording: true)
        let input = tape.watched(x) { results.dx = $0.elements }
        let y = linear(input, weight: weight, lowRank: LowRankTerm(a: a, b: b, scale: 0.7, dropout: dropout))
        results.y = y.value.elements
        tape.backward(from: weightedSum(y))
        results.da = a.gradient!.elements
        results.db = b.gradient!.elements
        return results
    }

    @Test(arguments: Stored.allCases, [nil, Dropout(rate: 0.3, key: 9)])
    func isNearF32(_ stored: Stored, dropout: Dropout?) {
        for (rows, inputs, outputs) in [(70, 96, 130), (1, 33, 65), (17, 1030, 40), (9, 64, 5)] {
            let exact = layer(
                Workspace(threadCount: 2), rows: rows, inputs: inputs, outputs: outputs, stored: stored,
                dropout: dropout)
            let half = layer(
                Workspace(threadCount: 2, precision: .bf16), rows: rows, inputs: inputs, outputs: outputs,
                stored: stored, dropout: dropout)
            expectClose(half.y, exact.y, relative: Self.bound, "y")
            expectClose(half.dx, exact.dx, relative: Self.bound, "dx")
            expectClose(half.da, exact.da, relative: Self.bound, "da")
            expectClose(half.db, exact.db, relative: Self.bound, "db")
            #expect(half.y != exact.y)
        }
    }

    @Test(arguments: Stored.allCases) func hasTheSameBitsOnAnyNumberOfThreads(_ stored: Stored) {
        for rows in [3, 500] {
            let one = layer(
                Workspace(threadCount: 1, precision: .bf16), rows: rows, inputs: 300, outputs: 200, stored: stored,
                dropout: nil)
            for threads in [2, 3, 7] {
                let many = layer(
                    Workspace(threadCount: threads, precision: .bf16), rows: rows, inputs: 300, outputs: 200,
                    stored: stored, dropout: nil)
                #expect(many.y == one.y && many.dx == one.dx && many.da == one.da && many.db == one.db)
            }
        }
    }

    /// A weight of more elements than are decoded at once, in both directions.
    @Test func weightDecodedInSeveralBlocks() {
        let (rows, inputs, outputs) = (5, 1001, 4300)
        let exact = layer(
            Workspace(threadCount: 2), rows: rows, inputs: inputs, outputs: outputs, stored: .bf16, dropout: nil)
        let half = layer(
            Workspace(threadCount: 2, precision: .bf16), rows: rows, inputs: inputs, outputs: outputs,
            stored: .decoded, dropout: nil)
        expectClose(half.y, exact.y, relative: Self.bound, "y")
        expectClose(half.dx, exact.dx, relative: Self.bound, "dx")
    }

    @Test func crossEntropyIsNearF32() {
        func loss(_ workspace: Workspace) -> (Float, [Float]) {
            var numbers = TestNumbers(seed: 8)
            let hidden = numbers.tensor(Shape(40, 64), in: workspace)
            let halves = (0..<300 * 64).map { _ in UInt16(truncatingIfNeeded: numbers.uniform().bitPattern >> 16) }
            let head = Parameter.matrix(halves, rows: 300, columns: 64, stored: .bf16, in: workspace)
            var gradient: [Float] = []
            let tape = Tape(workspace, recording: true)
            let predictions = Predictions(
                rows: Array(0..<40), targets: (0..<40).map { $0 * 7 % 300 }, weights: Array(repeating: 1, count: 40))
            let result = crossEntropy(
                tape.watched(hidden) { gradient = $0.elements }, head: head, predictions: predictions)
            tape.backward(from: result.sum)
            return (result.sum.value[0], gradient)
        }
        let exact = loss(Workspace(threadCount: 2)), half = loss(Workspace(threadCount: 2, precision: .bf16))
        #expect(abs(exact.0 - half.0) < 2e-3 * abs(exact.0))
        expectClose(half.1, exact.1, relative: Self.bound)
    }

    @Test func bf16WithoutTheInstructionsMeansF32() {
        #expect(Workspace(threadCount: 1, instructionSet: .avx512, precision: .bf16).precision == .f32)
        #expect(Workspace(threadCount: 1, instructionSet: .avx512BF16, precision: .bf16).precision == .bf16)
    }
}

extension Parameter {
    /// A matrix of bf16 values in memory of one of these kinds.
    fileprivate static func matrix(
        _ halves: [UInt16], rows: Int, columns: Int, stored: BF16LinearTests.Stored, in workspace: Workspace
    ) -> Parameter {
        let floats = halves.map { Float(bitPattern: UInt32($0) << 16) }
        switch stored {
        case .floats: return Parameter(Tensor(Shape(rows, columns), floats, in: workspace))
        case .bf16, .decoded:
            let memory = HalfMemory(halves)
            let matrix = EncodedMatrix(
                rows: rows, columns: columns, bf16: stored == .bf16 ? UnsafePointer(memory.start) : nil
            ) { range, out in
                withExtendedLifetime(memory) {
                    for (index, element) in (range.lowerBound * columns..<range.upperBound * columns).enumerated() {
                        out[index] = floats[element]
                    }
                }
            }
            return Parameter(matrix)
        }
    }
}

private final class HalfMemory: @unchecked Sendable {
    let start: UnsafeMutablePointer<UInt16>

    init(_ halves: [UInt16]) {
        start = .allocate(capacity: halves.count)
        start.initialize(from: halves, count: halves.count)
    }

    deinit { start.deallocate() }
}
