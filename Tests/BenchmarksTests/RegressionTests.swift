import Autograd
import Batches
import Benchmarks
import Diagnostics
import Formats
import Models
import NN
import Testing
import Training

/// Bounds on speed and memory that hold on any machine: counts, and ratios of what is measured in turn in one process.
/// They lie well below what is reached, since the machine may be busy; what breaks them is a lost kernel or a lost
/// reuse of memory, not a few percent.
@Suite(.serialized) struct RegressionTests {
    static let small = ModelShape.llama(
        "small", layers: 4, hidden: 256, feedForward: 768, heads: 4, keyValueHeads: 2, vocabulary: 2048, isTied: true,
        theta: 10_000)

    /// Multiply-adds one after the other: each waits for the one before.
    static func naiveSeconds(_ shape: ProductShape) -> Double {
        let x = [Float](repeating: 0.5, count: shape.rows * shape.inputs)
        let w = [Float](repeating: 0.25, count: shape.outputs * shape.inputs)
        var y = [Float](repeating: 0, count: shape.rows * shape.outputs)
        let seconds = ContinuousClock().measure {
            x.withUnsafeBufferPointer { x in
                w.withUnsafeBufferPointer { w in
                    for row in 0..<shape.rows {
                        for column in 0..<shape.outputs {
                            var sum: Float = 0
                            for index in 0..<shape.inputs {
                                sum += x[row * shape.inputs + index] * w[column * shape.inputs + index]
                            }
                            y[row * shape.outputs + column] = sum
                        }
                    }
                }
            }
        }
        #expect(y.allSatisfy { $0 == 0.125 * Float(shape.inputs) })
        return seconds / .seconds(1)
    }

    /// How many times faster the product of a workspace is than the naive loop, by the fastest of some turns.
    static func gain(in workspace: Workspace) -> Double {
        let shape = ProductShape(rows: 256, outputs: 256, inputs: 512)
        var (own, naive) = (Double.infinity, Double.infinity)
        for _ in 0..<5 {
            own = min(own, secondsOfProduct(shape, for: 0.01, in: workspace))
            naive = min(naive, naiveSeconds(shape))
        }
        return naive / own
    }

    @Test func productsAreManyTimesFasterThanALoop() {
        // Reached with AVX-512: more than 50 and 100.
        let bounds: [(Precision, InstructionSet, Double)] = [
            (.bf16, .avx512BF16, 50), (.f32, .avx512BF16, 25), (.f32, .avx512, 25), (.f32, .avx2, 8),
        ]
        for (precision, set, bound) in bounds where set.isAvailable {
            let gain = Self.gain(in: Workspace(threadCount: 1, instructionSet: set, precision: precision))
            #expect(gain > bound, "\(set), \(precision): \(gain) times")
        }
    }

    @Test func aStepTakesLittleMoreThanItsProducts() throws {
        var settings = StepBenchmark.Settings(model: Self.small)
        (settings.rows, settings.tokensPerRow, settings.steps, settings.seconds) = (4, 128, 5, 0)
        let result = try StepBenchmark(settings, in: Workspace(threadCount: 1, precision: .bf16))
        let ratio = (result.stepSeconds.min() ?? .infinity) / result.productSeconds
        #expect(ratio < 5, "a step takes \(ratio) times its products")
    }

    @Test func stepsAllocateNothingAndKeepNoMoreThanTheFormula() throws {
        let workspace = Workspace(threadCount: 1)
        let spec = try Self.small.spec()
        let decoder = try Decoder.withRandomWeights(spec, seed: 1, in: workspace)
        var config = PEFTConfig()
        config.targetModules = .allLinear
        let adapter = try decoder.attachNewAdapter(config, seed: 1, in: workspace)
        var trainer = Trainer(
            decoder, adapter: adapter, optimizer: AdamW(),
            schedule: LearningRateSchedule(peak: 1e-4, shape: .constant, warmupSteps: 0, totalSteps: 1), seed: 1,
            in: workspace)
        let count = 512
        let tokens = (0..<count).map { Int32($0 * 37 % spec.vocabulary) }
        let batch = PackedBatch(
            [Example(tokens: tokens, weights: [0] + Array(repeating: 1, count: count - 1))], sharingPrefixes: false)
        for _ in 0..<4 { _ = try trainer.step([batch]) }  // while the pool finds its sizes
        let before = workspace.buffers.statistics
        for _ in 0..<3 { _ = try trainer.step([batch]) }
        let after = workspace.buffers.statistics
        #expect(after.allocations == before.allocations && after.bytesHeld == before.bytesHeld)

        // Per token and layer, in floats: both residual sums and norms, q, k and v, rotated ones, the attention's
        // output, gate, up and their product; at the top the logits with their gradient; the adapter four times.
        let attention = 2 * (spec.heads + spec.keyValueHeads) * spec.headDim
        let layer = 4 * spec.hidden + 2 * attention + 4 * spec.feedForward
        let floats = count * (layer * spec.layers.count + spec.vocabulary) + 4 * adapter.parameterCount
        #expect(after.peakBytesInUse < 4 * floats * 3 / 2, "\(after.peakBytesInUse) bytes, formula \(4 * floats)")
        // A bound that could not fail would say nothing.
        #expect(after.peakBytesInUse > floats / 4)
    }
}
