import Autograd
import TestSupport
import Testing

/// Gradients of weights: against central differences, and none where a weight is frozen.
@Suite struct ParameterGradientTests {
    let workspace = Workspace(threadCount: 2)

    func parameter(_ shape: Shape, seed: UInt64, trainable: Bool) -> Parameter {
        var numbers = TestNumbers(seed: seed)
        return Parameter(numbers.tensor(shape, in: workspace), isTrainable: trainable)
    }

    /// The worst relative difference between each trainable parameter's gradient and central differences.
    func worst(_ parameters: [Parameter], _ loss: (Tape) -> Variable) -> Float {
        let tape = Tape(workspace, recording: true)
        tape.backward(from: loss(tape))
        var worst: Float = 0
        for parameter in parameters where parameter.isTrainable {
            let analytic = parameter.gradient?.elements ?? Array(repeating: .infinity, count: parameter.shape.count)
            let value = parameter.floats!
            let numeric = value.elements.indices.map { index in
                let sides = [Float(1e-2), -1e-2].map { delta -> Float in
                    var elements = value.elements
                    elements[index] += delta
                    parameter.replace(Tensor(value.shape, elements, in: workspace))
                    return loss(Tape(workspace, recording: false)).value[0]
                }
                return (sides[0] - sides[1]) / 2e-2
            }
            parameter.replace(value)
            parameter.clearGradient()
            let largest = max(numeric.map(abs).max() ?? 0, 1e-3)
            for (a, n) in zip(analytic, numeric) { worst = max(worst, abs(a - n) / largest) }
        }
        return worst
    }

    @Test(arguments: 0..<16) func linearWithAdapter(trainableBits: Int) {
        let trainable = (0..<4).map { trainableBits >> $0 & 1 == 1 }
        let weight = parameter(Shape(6, 7), seed: 1, trainable: trainable[0])
        let bias = parameter(Shape(6), seed: 2, trainable: trainable[1])
        let a = parameter(Shape(3, 7), seed: 3, trainable: trainable[2])
        let b = parameter(Shape(6, 3), seed: 4, trainable: trainable[3])
        var numbers = TestNumbers(seed: 5)
        let x = numbers.tensor(Shape(5, 7), in: workspace)
        for dropout in [nil, Dropout(rate: 0.3, key: 5)] {
            let term = LowRankTerm(a: a, b: b, scale: 1.5, dropout: dropout)
            let error = worst([weight, bias, a, b]) { tape in
                // A second use of the same weights: gradients must add up.
                let first = linear(tape.constant(x), weight: weight, bias: bias, lowRank: term)
                let second = linear(tape.constant(x), weight: weight, bias: bias, lowRank: term)
                return weightedSum(add(first, second, scale: 0.5))
            }
            #expect(error < 2e-3)
        }
    }

    /// A column that is scaled by a trained magnitude over a constant length, and a bias of its own.
    @Test(arguments: 0..<8) func scaledColumnsAndBias(trainableBits: Int) {
        let trainable = (0..<3).map { trainableBits >> $0 & 1 == 1 }
        let magnitude = parameter(Shape(6), seed: 1, trainable: trainable[0])
        let bias = parameter(Shape(6), seed: 2, trainable: trainable[1])
        let extra = parameter(Shape(6), seed: 3, trainable: trainable[2])
        var numbers = TestNumbers(seed: 4)
        let lengths = numbers.tensor(Shape(6), 0.5...2, in: workspace)
        let check = GradientCheck(workspace, inputs: ["x": numbers.tensor(Shape(5, 6), in: workspace)])
        func function(_ x: Variable) -> Variable {
            weightedSum(
                addBias(scaleColumns(x, by: magnitude, over: lengths, bias: bias), extra, scale: 0.5))
        }
        let (difference, _) = check.worst { inputs, _ in function(inputs["x"]!) }
        #expect(difference!.relative < 2e-3, "\(difference!)")
        for parameter in [magnitude, bias, extra] { parameter.clearGradient() }
        let x = numbers.tensor(Shape(5, 6), in: workspace)
        let all = [magnitude, bias, extra]
        #expect(worst(all) { function($0.constant(x)) } < 2e-3)
        // The control: a loss that leaves the bias out has another gradient.
        guard trainable[1] else { return }
        let tape = Tape(workspace, recording: true)
        tape.backward(from: function(tape.constant(x)))
        let right = bias.gradient!.elements
        bias.clearGradient()
        let other = Tape(workspace, recording: true)
        other.backward(from: weightedSum(addBias(other.constant(x), bias, scale: 0.5)))
        #expect(bias.gradient!.elements != right)
    }

    @Test func rowLengthsOfAnAdaptedWeight() {
        let weight = parameter(Shape(6, 7), seed: 1, trainable: false)
        let (a, b) = (
            parameter(Shape(3, 7), seed: 3, trainable: false), parameter(Shape(6, 3), seed: 4, trainable: false)
        )
        let lengths = rowLengths(of: weight, plus: [LowRankTerm(a: a, b: b, scale: 1.5)], in: workspace).elements
        let (w, fa, fb) = (weight.floats!.elements, a.floats!.elements, b.floats!.elements)
        for row in 0..<6 {
            var sum: Float = 0
            for column in 0..<7 {
                var value = w[row * 7 + column]
                for k in 0..<3 { value += 1.5 * fb[row * 3 + k] * fa[k * 7 + column] }
                sum += value * value
            }
            #expect(abs(lengths[row] - sum.squareRoot()) < 1e-5)
        }
    }

    @Test(arguments: 0..<8) func adaptedEmbedding(trainableBits: Int) {
        let trainable = (0..<3).map { trainableBits >> $0 & 1 == 1 }
        let table = parameter(Shape(5, 4), seed: 1, trainable: false)
        let a = parameter(Shape(2, 5), seed: 2, trainable: trainable[0])
        let b = parameter(Shape(4, 2), seed: 3, trainable: trainable[1])
        let rows = parameter(Shape(2, 4), seed: 4, trainable: trainable[2])
        let tokens: [Int32] = [3, 1, 3, 0, 4]
        let error = worst([a, b, rows]) { tape in
            let h = replaceRows(
                of: embedding(tokens, table: table, scale: 2, on: tape), at: [(1, 0), (3, 1), (4, 0)], by: rows,
                scale: 2)
            return weightedSum(add(h, linear(embeddingColumns(tokens, table: a, scale: 1.5, on: tape), weight: b)))
        }
        #expect(error < 2e-3)
    }

    /// The head with a low-rank term, and with columns of its own for two tokens.
    @Test(arguments: 0..<8) func adaptedHead(trainableBits: Int) {
        let trainable = (0..<3).map { trainableBits >> $0 & 1 == 1 }
        let w = parameter(Shape(7, 4), seed: 1, trainable: false)
        let a = parameter(Shape(2, 4), seed: 2, trainable: trainable[0])
        let b = parameter(Shape(7, 2), seed: 3, trainable: trainable[1])
        let rows = parameter(Shape(2, 4), seed: 4, trainable: trainable[2])
        var numbers = TestNumbers(seed: 5)
        let h = numbers.tensor(Shape(4, 4), in: workspace)
        let predictions = Predictions(rows: [0, 1, 2, 3], targets: [3, 0, 6, 2], weights: [1, 0.5, 1, 2])
        // The third token has a row of its own, and so has one that is no target.
        let replaced = ReplacedColumns(columns: [6, 1], table: rows)
        func loss(_ h: Variable, replaced: ReplacedColumns?) -> Variable {
            crossEntropy(
                h, head: w, lowRank: LowRankTerm(a: a, b: b, scale: 1.5), replaced: replaced,
                predictions: predictions, logitBytes: 1
            ).sum
        }
        for replaced in [nil, replaced] {
            let parameters = replaced == nil ? [a, b] : [a, b, rows]
            #expect(worst(parameters) { loss($0.constant(h), replaced: replaced) } < 2e-3)
            let (difference, _) = GradientCheck(workspace, inputs: ["h": h]).worst { inputs, _ in
                loss(inputs["h"]!, replaced: replaced)
            }
            #expect(difference!.relative < 2e-3, "\(difference!)")
            for parameter in [a, b, rows] { parameter.clearGradient() }
        }
        // The control: the columns' own rows change the loss.
        let tape = Tape(workspace, recording: false)
        #expect(loss(tape.constant(h), replaced: nil).value[0] != loss(tape.constant(h), replaced: replaced).value[0])
    }

    @Test func adapterPassesItsGradientToTheInput() {
        let weight = parameter(Shape(6, 7), seed: 1, trainable: false)
        let a = parameter(Shape(3, 7), seed: 3, trainable: true)
        let b = parameter(Shape(6, 3), seed: 4, trainable: true)
        var numbers = TestNumbers(seed: 5)
        for dropout in [nil, Dropout(rate: 0.3, key: 5)] {
            let check = GradientCheck(workspace, inputs: ["x": numbers.tensor(Shape(5, 7), in: workspace)])
            let (difference, _) = check.worst { inputs, _ in
                weightedSum(
                    linear(
                        inputs["x"]!, weight: weight, lowRank: LowRankTerm(a: a, b: b, scale: 2, dropout: dropout)))
            }
            #expect(difference!.relative < 2e-3, "\(difference!)")
        }
    }

    @Test func embeddingNormAndHead() {
        let table = parameter(Shape(9, 4), seed: 1, trainable: true)
        let gain = parameter(Shape(4), seed: 2, trainable: true)
        let head = parameter(Shape(9, 4), seed: 3, trainable: true)
        let predictions = Predictions(rows: [0, 2, 2, 3], targets: [1, 0, 8, 4], weights: [1, 0.5, 1, 2])
        let error = worst([table, gain, head]) { tape in
            let hidden = rmsNorm(
                embedding([3, 3, 0, 8], table: table, scale: 1.5, on: tape), gain: gain, epsilon: 1e-5)
            return crossEntropy(
                gatherRows(hidden, predictions.distinctRows), head: head, predictions: predictions
            ).sum
        }
        #expect(error < 2e-3)
    }

    @Test(arguments: 0..<4) func headWithABias(trainableBits: Int) {
        let head = parameter(Shape(9, 4), seed: 3, trainable: trainableBits & 1 == 1)
        let bias = parameter(Shape(9), seed: 4, trainable: trainableBits & 2 == 2)
        var numbers = TestNumbers(seed: 5)
        let hidden = numbers.tensor(Shape(20, 4), in: workspace)
        // More rows than are scored at once.
        let predictions = Predictions(
            rows: (0..<20).map { Int32($0) }, targets: (0..<20).map { Int32($0 * 5 % 9) },
            weights: (0..<20).map { Float($0 % 3) + 0.5 })
        let error = worst([head, bias]) { tape in
            crossEntropy(tape.constant(hidden), head: head, bias: bias, predictions: predictions, logitBytes: 16).sum
        }
        #expect(error < 2e-3)
        for parameter in [head, bias] where !parameter.isTrainable { #expect(parameter.gradient == nil) }
    }

    @Test func valuesThatStandInForABaseLeaveItUnchanged() {
        let weight = parameter(Shape(2, 3), seed: 1, trainable: false)
        let own = weight.floats!.elements
        let other = Tensor(Shape(2, 3), [1, 2, 3, 4, 5, 6], in: workspace)
        weight.substitute(other, isTrainable: true)
        weight.substitute(other, isTrainable: true)
        #expect(weight.floats?.elements == other.elements && weight.substitute?.elements == other.elements)
        let tape = Tape(workspace, recording: true)
        tape.backward(from: weightedSum(linear(tape.constant(other), weight: weight)))
        #expect(weight.gradient != nil)
        weight.restore()
        #expect(weight.floats?.elements == own && weight.substitute == nil)
        #expect(weight.gradient == nil && !weight.isTrainable)
    }

    @Test(arguments: 0..<16) func layerNormAndXIELU(trainableBits: Int) {
        let shapes = [Shape(6), Shape(6), Shape(1), Shape(1)]
        let parameters = shapes.enumerated().map { index, shape in
            parameter(shape, seed: UInt64(index + 1), trainable: trainableBits >> index & 1 == 1)
        }
        var numbers = TestNumbers(seed: 5)
        let x = numbers.tensor(Shape(5, 6), -3...3, in: workspace)
        let error = worst(parameters) { tape in
            let normed = layerNorm(tape.constant(x), gain: parameters[0], bias: parameters[1], epsilon: 1e-5)
            return weightedSum(
                add(xielu(tape.constant(x), XIELU(positive: parameters[2], negative: parameters[3])), normed))
        }
        #expect(error < 2e-3)
        for parameter in parameters where !parameter.isTrainable { #expect(parameter.gradient == nil) }
    }

    @Test(arguments: 0..<8) func expertsWithLowRank(trainableBits: Int) {
        let rows = ExpertRows(experts: [2, 0, 0, 2, 1, 0], perToken: 2, count: 4)  // expert 3 has no rows
        let trainable = (0..<3).map { trainableBits >> $0 & 1 == 1 }
        let weights = (0..<4).map { parameter(Shape(4, 6), seed: 10 + UInt64($0), trainable: trainable[0]) }
        let a = parameter(Shape(8, 6), seed: 3, trainable: trainable[1])
        let b = parameter(Shape(8, 8), seed: 4, trainable: trainable[2])
        var numbers = TestNumbers(seed: 5)
        let x = numbers.tensor(Shape(6, 6), in: workspace)
        let error = worst(weights.dropLast() + [a, b]) { tape in
            // Two products share the factors: the rows of B of each are its own.
            let both = [0, 4].map { first in
                expertLinear(
                    tape.constant(x), rows, weights: weights,
                    lowRank: ExpertLowRank(a: a, b: b, scale: 1.5, experts: 4, firstRow: first))
            }
            return weightedSum(add(both[0], both[1], scale: 0.5))
        }
        #expect(error < 2e-3)
    }

    @Test func findsAGradientThatIsMissingAFactor() {
        let a = parameter(Shape(3, 7), seed: 3, trainable: true)
        let b = parameter(Shape(6, 3), seed: 4, trainable: false)
        let weight = parameter(Shape(6, 7), seed: 1, trainable: false)
        var numbers = TestNumbers(seed: 5)
        let x = numbers.tensor(Shape(5, 7), in: workspace)
        let error = worst([a]) { tape in
            let scale: Float = tape.isRecording ? 1 : 2
            return weightedSum(
                linear(tape.constant(x), weight: weight, lowRank: LowRankTerm(a: a, b: b, scale: scale)))
        }
        #expect(error > 0.1)
    }

    @Test func frozenWeightGetsNoGradientAndKeepsNoInput() {
        let weight = parameter(Shape(6, 6), seed: 1, trainable: false)
        let a = parameter(Shape(2, 6), seed: 2, trainable: false)
        let b = parameter(Shape(6, 2), seed: 3, trainable: true)
        let tape = Tape(workspace, recording: true)
        let held: (Parameter) -> Int = { [workspace] b in
            let before = workspace.buffers.statistics.bytesInUse
            var x: Tensor? = Tensor(zeros: Shape(512, 6), in: workspace)
            let y = linear(
                tape.watched(x!, receive: { _ in }), weight: weight, lowRank: LowRankTerm(a: a, b: b, scale: 1))
            x = nil
            let after = workspace.buffers.statistics.bytesInUse
            withExtendedLifetime(y) {}
            return after - before
        }
        _ = held(b)  // the first product reserves the threads' scratch, which stays
        // y (512 x 6 floats, a 12,288-byte class) and x·Aᵀ (512 x 2 floats, 4,096 bytes) stay; x does not.
        #expect(held(b) == 12_288 + 4_096)
        #expect(weight.gradient == nil && a.gradient == nil)
    }

    @Test func nothingIsRecordedBelowTheLowestTrainableLayer() {
        let frozen = (0..<3).map { parameter(Shape(6, 6), seed: UInt64($0), trainable: false) }
        let a = parameter(Shape(2, 6), seed: 7, trainable: true)
        let b = parameter(Shape(6, 2), seed: 8, trainable: true)
        let tape = Tape(workspace, recording: true)
        var x = tape.constant(Tensor(zeros: Shape(4, 6), in: workspace))
        for weight in frozen { x = linear(x, weight: weight) }
        #expect(tape.nodeCount == 0 && x.node == nil)
        x = linear(x, weight: frozen[0], lowRank: LowRankTerm(a: a, b: b, scale: 1))
        x = linear(x, weight: frozen[1])
        #expect(tape.nodeCount == 2)
    }
}
