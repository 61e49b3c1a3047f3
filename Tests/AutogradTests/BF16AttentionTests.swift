import Autograd
import TestSupport
import Testing

/// Attention whose products are in bf16: near f32 in every result, and the same bits on any number of threads.
@Suite(.enabled(if: InstructionSet.avx512BF16.isAvailable)) struct BF16AttentionTests {
    /// bf16 keeps 8 bits. Probabilities and their gradients are rounded as well as q, k and v, relative to each result's
    /// largest element.
    static let bound = 1.5e-2

    struct Results: Equatable {
        var y: [Float] = []
        var dq: [Float] = []
        var dk: [Float] = []
        var dv: [Float] = []
    }

    /// A forest with segments of one row, of less and of more than a block, and all gradients of a weighted sum; not
    /// causal the same segments without parents.
    private func results(_ settings: AttentionSettings, isCausal: Bool = true, in workspace: Workspace) -> Results {
        var segments: [AttentionPlan.Segment] = [
            .init(start: 0, count: 70, parent: nil), .init(start: 70, count: 33, parent: 0),
            .init(start: 103, count: 1, parent: 1), .init(start: 104, count: 65, parent: 0),
            .init(start: 169, count: 131, parent: nil),
        ]
        if !isCausal { for index in segments.indices { segments[index].parent = nil } }
        let plan = AttentionPlan(segments: segments, isCausal: isCausal)
        var numbers = TestNumbers(seed: 8)
        let q = numbers.tensor(Shape(300, settings.heads * settings.headDim), in: workspace)
        let k = numbers.tensor(Shape(300, settings.keyValueHeads * settings.headDim), in: workspace)
        let v = numbers.tensor(Shape(300, settings.keyValueHeads * settings.headDim), in: workspace)
        var results = Results()
        let tape = Tape(workspace, recording: true)
        let y = attention(
            tape.watched(q) { results.dq = $0.elements }, tape.watched(k) { results.dk = $0.elements },
            tape.watched(v) { results.dv = $0.elements }, plan: plan, settings)
        results.y = y.value.elements
        tape.backward(from: weightedSum(y))
        return results
    }

    @Test(arguments: [
        AttentionSettings(heads: 4, keyValueHeads: 2, headDim: 20, scale: 0.3),
        AttentionSettings(heads: 3, keyValueHeads: 3, headDim: 64, scale: 0.125, window: 37),
        AttentionSettings(heads: 2, keyValueHeads: 1, headDim: 7, scale: 0.5, softcap: 3),
        AttentionSettings(heads: 2, keyValueHeads: 2, headDim: 33, scale: 0.2, positionSlopes: [0.01, 0.003]),
        AttentionSettings(heads: 2, keyValueHeads: 1, headDim: 128, scale: 0.09),
    ])
    func isNearF32(_ settings: AttentionSettings) {
        for isCausal in [true, false] {
            let exact = results(settings, isCausal: isCausal, in: Workspace(threadCount: 2))
            let half = results(settings, isCausal: isCausal, in: Workspace(threadCount: 2, precision: .bf16))
            expectClose(half.y, exact.y, relative: Self.bound, "y")
            expectClose(half.dq, exact.dq, relative: Self.bound, "dq")
            expectClose(half.dk, exact.dk, relative: Self.bound, "dk")
            expectClose(half.dv, exact.dv, relative: Self.bound, "dv")
            #expect(half.y != exact.y)
        }
    }

    @Test func sameBitsOnAnyNumberOfThreads() {
        let settings = AttentionSettings(heads: 4, keyValueHeads: 2, headDim: 36, scale: 0.3)
        let alone = results(settings, in: Workspace(threadCount: 1, precision: .bf16))
        for threads in [2, 3, 7] {
            #expect(results(settings, in: Workspace(threadCount: threads, precision: .bf16)) == alone)
        }
    }
}
