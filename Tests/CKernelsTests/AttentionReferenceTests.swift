import Autograd
import Foundation
import TestSupport
import Testing

/// Attention of every instruction set against the formula in double, for segments longer than one block, a window, a
/// forest, and decoding from a cache.
@Suite struct AttentionReferenceTests {
    static let sets = InstructionSet.allCases.filter(\.isAvailable)

    /// softmax(scale · q·kᵀ)·v with a mask given row by row.
    func reference(
        q: [Float], k: [Float], v: [Float], settings: AttentionSettings, rows: Int, visible: (Int, Int) -> Bool
    ) -> [Double] {
        let (heads, kv, dim) = (settings.heads, settings.keyValueHeads, settings.headDim)
        let keys = k.count / (kv * dim)
        var y = [Double](repeating: 0, count: rows * heads * dim)
        for i in 0..<rows {
            for h in 0..<heads {
                let g = h / (heads / kv)
                var scores: [(Int, Double)] = []
                for j in 0..<keys where visible(i, j) {
                    var s = 0.0
                    for d in 0..<dim { s += Double(q[(i * heads + h) * dim + d]) * Double(k[(j * kv + g) * dim + d]) }
                    s *= Double(settings.scale)
                    if let cap = settings.softcap { s = Double(cap) * tanh(s / Double(cap)) }
                    scores.append((j, s))
                }
                let top = scores.map(\.1).max()!
                let total = scores.reduce(0) { $0 + exp($1.1 - top) }
                for (j, s) in scores {
                    for d in 0..<dim {
                        y[(i * heads + h) * dim + d] += exp(s - top) / total * Double(v[(j * kv + g) * dim + d])
                    }
                }
            }
        }
        return y
    }

    @Test(
        arguments: sets,
        [
            AttentionSettings(heads: 4, keyValueHeads: 2, headDim: 20, scale: 0.3),
            AttentionSettings(heads: 3, keyValueHeads: 3, headDim: 64, scale: 0.2, window: 37),
            AttentionSettings(heads: 2, keyValueHeads: 1, headDim: 7, scale: 0.5, softcap: 3),
        ])
    func forest(_ set: InstructionSet, _ settings: AttentionSettings) {
        let workspace = Workspace(threadCount: 2, instructionSet: set)
        let segments: [AttentionPlan.Segment] = [
            .init(start: 0, count: 70, parent: nil), .init(start: 70, count: 33, parent: 0),
            .init(start: 103, count: 1, parent: 1), .init(start: 104, count: 65, parent: 0),
            .init(start: 169, count: 130, parent: nil),
        ]
        let rows = 299
        var position = [Int](repeating: 0, count: rows), owner = [Int](repeating: 0, count: rows)
        var starts: [Int] = []
        for (index, segment) in segments.enumerated() {
            let base = segment.parent.map { starts[$0] + segments[$0].count } ?? 0
            starts.append(base)
            for row in 0..<segment.count {
                position[segment.start + row] = base + row
                owner[segment.start + row] = index
            }
        }
        let visible = { (i: Int, j: Int) -> Bool in
            var ancestor: Int? = owner[i]
            while let current = ancestor, current != owner[j] { ancestor = segments[current].parent }
            return ancestor != nil && position[j] <= position[i]
                && (settings.window.map { position[j] > position[i] - $0 } ?? true)
        }
        var numbers = TestNumbers(seed: 3)
        let q = numbers.tensor(Shape(rows, settings.heads * settings.headDim), in: workspace)
        let k = numbers.tensor(Shape(rows, settings.keyValueHeads * settings.headDim), in: workspace)
        let v = numbers.tensor(Shape(rows, settings.keyValueHeads * settings.headDim), in: workspace)
        let tape = Tape(workspace, recording: false)
        let y = attention(
            tape.constant(q), tape.constant(k), tape.constant(v),
            plan: AttentionPlan(segments: segments, isCausal: true), settings)
        let expected = reference(
            q: q.elements, k: k.elements, v: v.elements, settings: settings, rows: rows, visible: visible)
        expectClose(y.value.elements, expected, relative: 5e-6)
    }

    @Test(
        arguments: sets,
        [
            AttentionSettings(heads: 4, keyValueHeads: 2, headDim: 20, scale: 0.3),
            AttentionSettings(heads: 3, keyValueHeads: 3, headDim: 64, scale: 0.2, window: 37),
            AttentionSettings(heads: 2, keyValueHeads: 1, headDim: 7, scale: 0.5, window: 1),
            AttentionSettings(heads: 1, keyValueHeads: 1, headDim: 16, scale: 0.5, window: 200),
        ])
    func bothSidesOfSeparateSegments(_ set: InstructionSet, _ settings: AttentionSettings) {
        let workspace = Workspace(threadCount: 2, instructionSet: set)
        let counts = [70, 1, 64, 130, 33]
        var (segments, owner): ([AttentionPlan.Segment], [Int]) = ([], [])
        for (index, count) in counts.enumerated() {
            segments.append(.init(start: owner.count, count: count, parent: nil))
            owner += Array(repeating: index, count: count)
        }
        let visible = { (i: Int, j: Int) -> Bool in
            owner[i] == owner[j] && (settings.window.map { abs(i - j) < $0 } ?? true)
        }
        var numbers = TestNumbers(seed: 6)
        let q = numbers.tensor(Shape(owner.count, settings.heads * settings.headDim), in: workspace)
        let k = numbers.tensor(Shape(owner.count, settings.keyValueHeads * settings.headDim), in: workspace)
        let v = numbers.tensor(Shape(owner.count, settings.keyValueHeads * settings.headDim), in: workspace)
        let tape = Tape(workspace, recording: false)
        let y = attention(
            tape.constant(q), tape.constant(k), tape.constant(v),
            plan: AttentionPlan(segments: segments, isCausal: false), settings)
        let expected = reference(
            q: q.elements, k: k.elements, v: v.elements, settings: settings, rows: owner.count, visible: visible)
        expectClose(y.value.elements, expected, relative: 5e-6)
    }

    @Test(arguments: sets) func newRowsOverACache(_ set: InstructionSet) {
        let workspace = Workspace(threadCount: 2, instructionSet: set)
        let settings = AttentionSettings(heads: 4, keyValueHeads: 2, headDim: 12, scale: 0.4, window: 50)
        var numbers = TestNumbers(seed: 4)
        let k = numbers.tensor(Shape(150, 24), in: workspace)
        let v = numbers.tensor(Shape(150, 24), in: workspace)
        for new in [1, 3, 70, 90] {
            let q = numbers.tensor(Shape(new, 48), in: workspace)
            let y = attention(
                q, keys: k.pointer, values: v.pointer,
                plan: AttentionPlan(decoding: [.init(runs: [0..<60, 60..<150], newCount: new)]), settings, in: workspace
            )
            let past = 150 - new
            let expected = reference(
                q: q.elements, k: k.elements, v: v.elements, settings: settings, rows: new,
                visible: { i, j in j <= past + i && j > past + i - 50 })
            expectClose(y.elements, expected, relative: 5e-6)
        }
    }
}
