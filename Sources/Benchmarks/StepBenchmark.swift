package import Autograd
import Batches
import Datasets
package import Diagnostics
import Formats
import Models
import NN
import Training

/// A training step on a model with random weights: forward, backward, clipping and AdamW through the trainer, LoRA on
/// all linear layers, random tokens, all of them targets.
package struct StepBenchmark: Sendable {
    package let settings: Settings
    package let threads: Int
    package let instructionSet: InstructionSet
    package let precision: Precision
    /// Weights of the linear layers inside the blocks, of the head, and of the adapter.
    package let layerParameters: Int
    package let headParameters: Int
    package let adapterParameters: Int
    /// Tokens of a step, and predictions.
    package let tokens: Int
    package let targets: Int
    /// Of every timed step, in order.
    package let stepSeconds: [Double]
    /// Loss of the last step, in nats.
    package let loss: Double
    /// The largest resident set of the process until the steps were done, random weights included.
    package let peakBytes: Int
    /// Of a forward and a backward pass by themselves; what a step takes beyond them is the update.
    package let forwardSeconds: Double
    package let backwardSeconds: Double
    /// Of the step's matrix products alone, adapter and packing included.
    package let productSeconds: Double
    package let limits: MachineLimits

    package struct Settings: Sendable {
        package var model: ModelShape
        package var rows = 8
        package var tokensPerRow = 256
        package var rank = 16
        /// Timed steps, at least, and the seconds they should fill.
        package var steps = 3
        package var seconds = 5.0

        package init(model: ModelShape) { self.model = model }
    }

    /// The median.
    package var seconds: Double { stepSeconds.sorted()[stepSeconds.count / 2] }
    package var tokensPerSecond: Double { Double(tokens) / seconds }

    /// The arithmetic that a step cannot do without: forward and backward through the frozen weights, where the
    /// gradient goes to the activations only, and the adapter's with its own gradients.
    package var usefulOperations: Double {
        4 * Double(layerParameters) * Double(tokens) + 4 * Double(headParameters) * Double(targets)
            + 6 * Double(adapterParameters) * Double(tokens)
    }

    /// What was reached of the machine's limit in this precision.
    package var usefulShare: Double { usefulOperations / seconds / limits.operations(precision) }

    /// - Throws: `diverged` if the random model's loss is no number.
    package init(_ settings: Settings, in workspace: Workspace) throws(Diagnostic) {
        self.settings = settings
        threads = workspace.threads.count
        instructionSet = workspace.instructionSet
        precision = workspace.precision
        let work = try StepWork(settings, in: workspace)
        layerParameters = work.layers.reduce(0) { $0 + $1.weight.shape.count }
        headParameters = work.decoder.head.weight.shape.count
        adapterParameters = work.adapter.parameterCount
        (tokens, targets) = (work.tokens, work.batches.reduce(0) { $0 + $1.predictionCount })

        var trainer = Trainer(
            work.decoder, adapter: work.adapter, optimizer: AdamW(),
            schedule: LearningRateSchedule(peak: 1e-4, shape: .constant, warmupSteps: 0, totalSteps: 1), seed: 1,
            in: workspace)
        _ = try trainer.step(work.batches)
        var (times, loss) = ([Double](), 0.0)
        while times.count < max(1, settings.steps) || times.reduce(0, +) < settings.seconds {
            let begin = ContinuousClock.now
            loss = try trainer.step(work.batches).loss
            times.append((ContinuousClock.now - begin) / .seconds(1))
        }
        (stepSeconds, self.loss) = (times, loss)
        peakBytes = ProcessMemory.peakResidentBytes
        (forwardSeconds, backwardSeconds) = work.passSeconds(in: workspace)
        productSeconds = work.productSeconds(in: workspace)
        limits = MachineLimits(threads: threads, instructionSet: workspace.instructionSet)
    }
}

/// A model, its adapter and a step of random tokens.
private struct StepWork {
    let decoder: Decoder
    let adapter: AttachedAdapter
    /// Of at most as many tokens as training computes at once.
    let batches: [PackedBatch]
    /// The adapted layers, in the order of the model.
    let layers: [Linear]

    init(_ settings: StepBenchmark.Settings, in workspace: Workspace) throws(Diagnostic) {
        let spec = try settings.model.spec()
        decoder = try Decoder.withRandomWeights(spec, seed: 1, in: workspace)
        var config = PEFTConfig()
        config.r = settings.rank
        config.alpha = 2 * Double(settings.rank)
        config.targetModules = .allLinear
        adapter = try decoder.attachNewAdapter(config, seed: 1, in: workspace)
        layers = decoder.descendants(ofType: Linear.self).map(\.module).filter { $0.adapter != nil }
        let random = CounterRandom(seed: 2, .benchmark)
        let weights = [0] + [Float](repeating: 1, count: settings.tokensPerRow - 1)
        let rows = (0..<settings.rows).map { row in
            let tokens = (0..<settings.tokensPerRow).map { column in
                let bits = random.bits(at: UInt64(row * settings.tokensPerRow + column))
                return Int32(bits % UInt64(spec.vocabulary))
            }
            return Example(tokens: tokens, weights: weights)
        }
        let parts = StepPacking.parts(
            of: Array(rows.indices), lengths: rows.map(\.tokens.count), tokens: StepPacking.defaultMicroTokens)
        batches = parts.map { part in PackedBatch(part.map { rows[$0] }, sharingPrefixes: false) }
    }

    var tokens: Int { batches.reduce(0) { $0 + $1.tokens.count } }

    /// The fastest forward and the fastest backward pass of some.
    func passSeconds(in workspace: Workspace) -> (forward: Double, backward: Double) {
        var (forward, backward, spent) = (Double.infinity, Double.infinity, 0.0)
        while forward == .infinity || spent < measuringSeconds {
            var (ahead, back) = (0.0, 0.0)
            for batch in batches {
                let tape = Tape(workspace, recording: true)
                let begin = ContinuousClock.now
                let sum = decoder.loss(batch, on: tape).sum
                let middle = ContinuousClock.now
                tape.backward(from: sum)
                ahead += (middle - begin) / .seconds(1)
                back += (ContinuousClock.now - middle) / .seconds(1)
            }
            (forward, backward) = (min(forward, ahead), min(backward, back))
            spent += ahead + back
            for parameter in adapter.parameters { parameter.clearGradient() }
        }
        return (forward, backward)
    }

    /// The fastest of some runs of every linear layer and the head, with nothing between them.
    func productSeconds(in workspace: Workspace) -> Double {
        let rows = batches.map(\.tokens.count).max() ?? 1
        let (outputs, inputs) = (layers.map(\.weight.shape[0]).max() ?? 1, layers.map(\.weight.shape[1]).max() ?? 1)
        let x = Tensor.benchmarkValues(Shape(rows, max(inputs, decoder.spec.hidden)), in: workspace)
        let dy = Tensor.benchmarkValues(Shape(rows, outputs), in: workspace)
        var (best, spent) = (Double.infinity, 0.0)
        while best == .infinity || spent < measuringSeconds {
            let time = bestTime(samples: 1) {
                for batch in batches {
                    for (index, layer) in layers.enumerated() {
                        // What enters the first block's query, key and value is the embedding, which is not trained.
                        runLayer(
                            layer, batch.tokens.count, x: x, dy: dy, needsInputGradient: index > 2, in: workspace)
                    }
                    runHead(x, predictions: batch.predictionCount, in: workspace)
                }
            }
            (best, spent) = (min(best, time), spent + time)
            for parameter in adapter.parameters { parameter.clearGradient() }
        }
        return best
    }

    private func runLayer(
        _ layer: Linear, _ rows: Int, x: Tensor, dy: Tensor, needsInputGradient: Bool, in workspace: Workspace
    ) {
        let tape = Tape(workspace, recording: true)
        let x = x.prefix(Shape(rows, layer.weight.shape[1]))
        let dy = dy.prefix(Shape(rows, layer.weight.shape[0]))
        let y = layer(needsInputGradient ? tape.watched(x) { _ in } : tape.constant(x), dropoutKey: nil)
        let slot = y.slot
        let end = tape.record(Tensor(Shape(1), [0], in: workspace), from: y) { _, adjoints in
            adjoints.give(dy, to: slot)
        }
        tape.backward(from: end)
    }

    /// The logits of some hundred rows at a time, as the loss has them, and their way back.
    private func runHead(_ x: Tensor, predictions: Int, in workspace: Workspace) {
        let (width, head, piece) = (decoder.spec.hidden, decoder.head.weight, 512)
        for start in stride(from: 0, to: predictions, by: piece) {
            let rows = min(piece, predictions - start)
            let logits = Tensor(Shape(rows, head.shape[0]), in: workspace) {
                workspace.multiply(
                    x.pointer + start * width, rows: rows, byTransposeOf: head, into: $0, accumulating: false)
            }
            _ = Tensor(Shape(rows, width), in: workspace) {
                workspace.multiply(logits.pointer, rows: rows, by: head, into: $0, accumulating: false)
            }
        }
    }
}

/// What a part is measured for, if one run does not take longer.
private let measuringSeconds = 2.0

extension Tensor {
    /// The first elements, as a tensor of `shape`.
    fileprivate func prefix(_ shape: Shape) -> Tensor { Tensor(shape, borrowing: pointer, owner: Block(self)) }

    private final class Block {
        let tensor: Tensor
        init(_ tensor: Tensor) { self.tensor = tensor }
    }
}
