import Autograd
import TestSupport
import Testing

/// Every operation's gradient against central differences, with each input frozen in turn.
///
/// The bound 2e-3 is the error of a central difference in f32 with step 1e-2 (rounding about 1e-7 / 1e-2, and the cubic
/// term); the negative controls show that a wrong gradient is far outside it.
@Suite struct OperationGradientTests {
    static let bound: Float = 2e-3
    let workspace = Workspace(threadCount: 2)

    func expectCorrect(
        _ inputs: [String: Tensor], _ function: @escaping GradientCheck.Function,
        sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let check = GradientCheck(workspace, inputs: inputs)
        for frozen in [Set<String>()] + inputs.keys.map({ [$0] }) {
            if frozen.count == inputs.count { continue }
            let (worst, receivers) = check.worst(frozen: frozen, function)
            #expect((worst?.relative ?? .infinity) < Self.bound, "\(worst!)", sourceLocation: sourceLocation)
            #expect(receivers == Set(inputs.keys).subtracting(frozen), sourceLocation: sourceLocation)
        }
    }

    func tensor(_ shape: Shape, seed: UInt64, _ range: ClosedRange<Float> = -1...1) -> Tensor {
        var numbers = TestNumbers(seed: seed)
        return numbers.tensor(shape, range, in: workspace)
    }

    @Test func add() {
        expectCorrect(["a": tensor(Shape(3, 5), seed: 1), "b": tensor(Shape(3, 5), seed: 2)]) { inputs, _ in
            weightedSum(Autograd.add(inputs["a"]!, inputs["b"]!, scale: 0.7))
        }
    }

    @Test func addOfAValueToItselfAddsBothGradients() {
        expectCorrect(["a": tensor(Shape(3, 5), seed: 1)]) { inputs, _ in
            let sum = Autograd.add(inputs["a"]!, inputs["a"]!)
            return weightedSum(Autograd.add(sum, inputs["a"]!, scale: 0.5))
        }
    }

    @Test(arguments: [Activation.silu, .gelu, .geluTanh, .reluSquared, .tanh, .quickGELU])
    func gatedActivation(_ activation: Activation) {
        let inputs = ["gate": tensor(Shape(4, 9), seed: 3, -3...3), "up": tensor(Shape(4, 9), seed: 4)]
        expectCorrect(inputs) { inputs, _ in
            weightedSum(Autograd.gatedActivation(inputs["gate"]!, inputs["up"]!, activation))
        }
        expectCorrect(["gate": tensor(Shape(4, 9), seed: 3, -3...3)]) { inputs, _ in
            weightedSum(Autograd.gatedActivation(inputs["gate"]!, nil, activation))
        }
    }

    @Test(arguments: [Float(0), 1]) func rmsNorm(offset: Float) {
        let gain = Parameter(tensor(Shape(7), seed: 5))
        expectCorrect(["x": tensor(Shape(4, 7), seed: 6)]) { inputs, _ in
            weightedSum(Autograd.rmsNorm(inputs["x"]!, gain: gain, offset: offset, epsilon: 1e-5))
        }
    }

    @Test(arguments: [false, true]) func layerNorm(isPlain: Bool) {
        let gain = Parameter(tensor(Shape(7), seed: 5))
        let bias = Parameter(tensor(Shape(7), seed: 55))
        expectCorrect(["x": tensor(Shape(4, 7), seed: 6)]) { inputs, _ in
            weightedSum(
                Autograd.layerNorm(
                    inputs["x"]!, gain: isPlain ? nil : gain, bias: isPlain ? nil : bias, epsilon: 1e-5))
        }
    }

    @Test func xielu() {
        // Away from 0, where the slope jumps.
        let x = tensor(Shape(4, 9), seed: 3, -3...3).elements.map { abs($0) < 0.02 ? $0 + 0.1 : $0 }
        let factors = XIELU(
            positive: Parameter(tensor(Shape(1), seed: 4)), negative: Parameter(tensor(Shape(1), seed: 5)))
        expectCorrect(["x": Tensor(Shape(4, 9), x, in: workspace)]) { inputs, _ in
            weightedSum(Autograd.xielu(inputs["x"]!, factors))
        }
    }

    @Test(arguments: [RotaryTable.Pairing.half, .interleaved]) func rotary(pairing: RotaryTable.Pairing) {
        let angles = tensor(Shape(5, 3), seed: 7, 0...6).elements
        let table = RotaryTable(
            cosines: Tensor(Shape(5, 3), angles.map { ($0 * 0.3).magnitude }, in: workspace),
            sines: Tensor(Shape(5, 3), angles, in: workspace), pairing: pairing)
        expectCorrect(["x": tensor(Shape(5, 16), seed: 8)]) { inputs, _ in
            weightedSum(Autograd.rotary(inputs["x"]!, table: table, headDim: 8))
        }
    }

    @Test func dropout() {
        expectCorrect(["x": tensor(Shape(6, 9), seed: 9)]) { inputs, _ in
            weightedSum(Autograd.dropout(inputs["x"]!, Dropout(rate: 0.4, key: 77)))
        }
    }

    @Test func gatherRowsThatRepeat() {
        expectCorrect(["x": tensor(Shape(5, 4), seed: 10)]) { inputs, _ in
            weightedSum(gatherRows(inputs["x"]!, [3, 0, 3, 4]))
        }
    }

    @Test(arguments: [
        RoutingSettings(perToken: 2, scores: .softmax, normalizes: true),
        RoutingSettings(perToken: 2, scores: .softmax, normalizes: false, scale: 1.5),
        RoutingSettings(
            perToken: 3, scores: .sigmoid, groups: .init(count: 3, chosen: 2, countsTopTwo: true), normalizes: true,
            scale: 2.5),
        RoutingSettings(
            perToken: 2, scores: .softmax, groups: .init(count: 2, chosen: 1, countsTopTwo: false), normalizes: false),
    ])
    func routing(_ settings: RoutingSettings) {
        // Far enough apart that no step of the check changes the choice.
        let logits = (0..<24).map { Float(($0 * 7) % 24) * 0.2 - 2 }
        expectCorrect(["logits": Tensor(Shape(4, 6), logits, in: workspace)]) { inputs, _ in
            weightedSum(route(inputs["logits"]!, settings).weights)
        }
    }

    @Test func expertsWithLowRank() {
        let rows = ExpertRows(experts: [2, 0, 0, 2, 2, 3, 0, 2], perToken: 2, count: 4)  // expert 1 has no rows
        let weights = (0..<4).map { Parameter(tensor(Shape(5, 6), seed: 30 + UInt64($0))) }
        let lowRank = ExpertLowRank(
            a: Parameter(tensor(Shape(8, 6), seed: 40)), b: Parameter(tensor(Shape(7, 8), seed: 41)), scale: 0.7,
            experts: 4, firstRow: 2)
        let inputs = ["x": tensor(Shape(4, 6), seed: 42), "weights": tensor(Shape(4, 2), seed: 43)]
        expectCorrect(inputs) { inputs, _ in
            let gathered = gatherRows(inputs["x"]!, rows.tokens)
            let y = expertLinear(gathered, rows, weights: weights, lowRank: lowRank)
            return weightedSum(combineExperts(y, weights: inputs["weights"]!, rows))
        }
    }

    @Test func columnsOfGroups() {
        let inputs = ["a": tensor(Shape(4, 12), seed: 10), "b": tensor(Shape(4, 5), seed: 11)]
        expectCorrect(inputs) { inputs, _ in
            let (a, b) = (inputs["a"]!, inputs["b"]!)
            // Swapped halves of three heads, with two columns of b for all of them; overlapping parts add up.
            let parts: [ColumnPart] = [
                .init(a, span: 4, from: 2, count: 2), .init(b, from: 3, count: 2), .init(a, span: 4, from: 0, count: 3),
            ]
            return weightedSum(columns(parts, groups: 3, padding: 2))
        }
    }

    @Test func columnsStandWhereTheyShould() {
        let tape = Tape(workspace, recording: false)
        let a = tape.constant(Tensor(Shape(2, 4), [0, 1, 2, 3, 4, 5, 6, 7], in: workspace))
        let b = tape.constant(Tensor(Shape(2, 2), [8, 9, 10, 11], in: workspace))
        let parts: [ColumnPart] = [.init(a, span: 2, from: 1, count: 1), .init(b, from: 0, count: 2)]
        let y = columns(parts, groups: 2, padding: 1).value
        #expect(y.shape == Shape(2, 8))
        #expect(y.elements == [1, 8, 9, 0, 3, 8, 9, 0, 5, 10, 11, 0, 7, 10, 11, 0])
    }

    /// A forest: two roots, the first with two children of which one has a child again.
    static let forest: [AttentionPlan.Segment] = [
        .init(start: 0, count: 3, parent: nil), .init(start: 3, count: 2, parent: 0),
        .init(start: 5, count: 3, parent: 0), .init(start: 8, count: 2, parent: 2),
        .init(start: 10, count: 4, parent: nil),
    ]

    @Test(arguments: [
        AttentionSettings(heads: 4, keyValueHeads: 2, headDim: 5, scale: 0.4),
        AttentionSettings(heads: 2, keyValueHeads: 2, headDim: 8, scale: 0.3, window: 3),
        AttentionSettings(heads: 3, keyValueHeads: 1, headDim: 4, scale: 0.5, softcap: 1.5),
        AttentionSettings(heads: 2, keyValueHeads: 2, headDim: 4, scale: 0.5, positionSlopes: [0.25, 0.4]),
    ])
    func attention(_ settings: AttentionSettings) {
        let plan = AttentionPlan(segments: Self.forest, isCausal: true)
        let (wide, narrow) = (settings.heads * settings.headDim, settings.keyValueHeads * settings.headDim)
        let inputs = [
            "q": tensor(Shape(14, wide), seed: 11), "k": tensor(Shape(14, narrow), seed: 12),
            "v": tensor(Shape(14, narrow), seed: 13),
        ]
        expectCorrect(inputs) { inputs, _ in
            weightedSum(Autograd.attention(inputs["q"]!, inputs["k"]!, inputs["v"]!, plan: plan, settings))
        }
    }

    @Test(arguments: [
        AttentionSettings(heads: 4, keyValueHeads: 2, headDim: 5, scale: 0.4),
        AttentionSettings(heads: 2, keyValueHeads: 2, headDim: 8, scale: 0.3, window: 3),
        AttentionSettings(heads: 2, keyValueHeads: 1, headDim: 4, scale: 0.5, window: 1),
    ])
    func attentionToBothSides(_ settings: AttentionSettings) {
        let segments: [AttentionPlan.Segment] = [
            .init(start: 0, count: 7, parent: nil), .init(start: 7, count: 1, parent: nil),
            .init(start: 8, count: 6, parent: nil),
        ]
        let plan = AttentionPlan(segments: segments, isCausal: false)
        let (wide, narrow) = (settings.heads * settings.headDim, settings.keyValueHeads * settings.headDim)
        var inputs = [
            "q": tensor(Shape(14, wide), seed: 11), "k": tensor(Shape(14, narrow), seed: 12),
            "v": tensor(Shape(14, narrow), seed: 13),
        ]
        if settings.window == 1 {
            // A token that sees only itself: q and k change nothing, and only v can be checked.
            let (q, k) = (inputs.removeValue(forKey: "q")!, inputs.removeValue(forKey: "k")!)
            return expectCorrect(inputs) { inputs, tape in
                weightedSum(
                    Autograd.attention(tape.constant(q), tape.constant(k), inputs["v"]!, plan: plan, settings))
            }
        }
        expectCorrect(inputs) { inputs, _ in
            weightedSum(Autograd.attention(inputs["q"]!, inputs["k"]!, inputs["v"]!, plan: plan, settings))
        }
    }

    @Test func meanOfRows() {
        expectCorrect(["x": tensor(Shape(7, 4), seed: 10)]) { inputs, _ in
            weightedSum(meanRows(inputs["x"]!, [4..<7, 0..<1, 2..<6]))
        }
    }

    @Test(arguments: [(Float(1), Float?.none), (0.5, 2)]) func crossEntropy(scale: Float, softcap: Float?) {
        let head = Parameter(tensor(Shape(19, 6), seed: 14))
        let bias = Parameter(tensor(Shape(19), seed: 16))
        let predictions = Predictions(
            rows: [0, 1, 1, 2, 4], targets: [3, 0, 18, 7, 7], weights: [1, 0.5, 2, 1, 0.25])
        expectCorrect(["h": tensor(Shape(5, 6), seed: 15)]) { inputs, _ in
            let hidden = gatherRows(inputs["h"]!, predictions.distinctRows)
            return Autograd.crossEntropy(
                hidden, head: head, bias: bias, predictions: predictions, logitScale: scale, softcap: softcap
            ).sum
        }
    }

    @Test func linear() {
        let weight = Parameter(tensor(Shape(6, 7), seed: 16))
        let bias = Parameter(tensor(Shape(6), seed: 17))
        expectCorrect(["x": tensor(Shape(5, 7), seed: 18)]) { inputs, _ in
            weightedSum(Autograd.linear(inputs["x"]!, weight: weight, bias: bias))
        }
    }

    // MARK: Negative controls: the check must find what is wrong.

    @Test func findsAScaleThatBackwardForgot() {
        let check = GradientCheck(workspace, inputs: ["x": tensor(Shape(3, 4), seed: 19)])
        let (worst, _) = check.worst { inputs, tape in
            let x = inputs["x"]!
            let slot = x.slot
            let doubled = Tensor(x.value.shape, x.value.elements.map { 2 * $0 }, in: tape.workspace)
            return weightedSum(tape.record(doubled, from: x) { dy, adjoints in adjoints.give(dy, to: slot) })
        }
        #expect(worst!.relative > 0.1)
    }

    @Test func findsALayerNormThatForgotItsMean() {
        let check = GradientCheck(workspace, inputs: ["x": tensor(Shape(3, 8), seed: 19, 0...2)])
        let gain = Parameter(tensor(Shape(8), seed: 5))
        let (worst, _) = check.worst { inputs, tape in
            let x = inputs["x"]!
            return weightedSum(
                tape.isRecording
                    ? Autograd.rmsNorm(x, gain: gain, epsilon: 1e-5)
                    : Autograd.layerNorm(x, gain: gain, bias: nil, epsilon: 1e-5))
        }
        #expect(worst!.relative > 0.05)
    }

    @Test func findsAWindowThatHasAnotherSizeBackwards() {
        let plan = AttentionPlan(segments: [.init(start: 0, count: 6, parent: nil)], isCausal: false)
        let inputs = ["q", "k", "v"].enumerated().map { ($1, tensor(Shape(6, 4), seed: 20 + UInt64($0))) }
        let check = GradientCheck(workspace, inputs: Dictionary(uniqueKeysWithValues: inputs))
        let (worst, _) = check.worst { inputs, tape in
            let settings = AttentionSettings(
                heads: 1, keyValueHeads: 1, headDim: 4, scale: 0.5, window: tape.isRecording ? 3 : 2)
            return weightedSum(
                Autograd.attention(inputs["q"]!, inputs["k"]!, inputs["v"]!, plan: plan, settings))
        }
        #expect(worst!.relative > 0.05)
    }

    @Test func findsAnAttentionThatIgnoresItsMaskBackwards() {
        let causal = AttentionPlan(segments: [.init(start: 0, count: 6, parent: nil)], isCausal: true)
        let full = AttentionPlan(segments: [.init(start: 0, count: 6, parent: nil)], isCausal: false)
        let settings = AttentionSettings(heads: 1, keyValueHeads: 1, headDim: 4, scale: 0.5)
        let inputs = ["q", "k", "v"].enumerated().map { ($1, tensor(Shape(6, 4), seed: 20 + UInt64($0))) }
        let check = GradientCheck(workspace, inputs: Dictionary(uniqueKeysWithValues: inputs))
        let (worst, _) = check.worst { inputs, tape in
            let (q, k, v) = (inputs["q"]!, inputs["k"]!, inputs["v"]!)
            let plan = tape.isRecording ? full : causal
            return weightedSum(Autograd.attention(q, k, v, plan: plan, settings))
        }
        #expect(worst!.relative > 0.05)
    }
}
