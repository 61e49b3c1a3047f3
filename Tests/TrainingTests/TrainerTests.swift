import Autograd
import Batches
import Diagnostics
import Formats
import Models
import NN
import TestSupport
import Testing
import Training

@Suite struct TrainerTests {
    let workspace = Workspace(threadCount: 2)

    func trainer(dropout: Double = 0, rate: Double = 1e-2) throws -> (Trainer, AttachedAdapter) {
        let decoder = try BaseFiles(Fixture.path("models/llama_gqa")).makeDecoder(in: workspace)
        var config = PEFTConfig()
        config.targetModules = .allLinear
        config.r = 4
        config.dropout = dropout
        let adapter = try decoder.attachNewAdapter(config, seed: 5, in: workspace)
        let schedule = LearningRateSchedule(peak: rate, shape: .constant, warmupSteps: 0, totalSteps: 100)
        return (
            Trainer(
                decoder, adapter: adapter, optimizer: AdamW(), schedule: schedule, seed: 5, in: workspace), adapter
        )
    }

    /// An encoder that guessed masked tokens learns to label texts: the label is in their second token.
    @Test(arguments: ["bert_mlm_tanh", "modernbert_mlm", "eurobert_mlm", "llama_gqa"])
    func aNewHeadLearnsLabels(_ base: String) throws {
        let task = NewTask(.sequence, labels: ["a", "b", "c"], seed: 3)
        let model = try BaseFiles(Fixture.path("models/\(base)"), for: task).makeModel(in: workspace)
        try model.spec.checkLoss()
        var config = PEFTConfig()
        config.targetModules = .allLinear
        config.r = 4
        let adapter = try model.attachNewAdapter(config, seed: 5, in: workspace)
        let schedule = LearningRateSchedule(peak: 1e-2, shape: .constant, warmupSteps: 0, totalSteps: 100)
        var trainer = Trainer(
            model, adapter: adapter, optimizer: AdamW(), schedule: schedule, seed: 5, in: workspace)
        let batch = PackedBatch(
            labelled: (0..<12).map { index in
                let tokens = (0..<5 + index % 4).map { Int32(($0 * 7 + index * 13) % 80 + 10) }
                return LabelledExample(
                    tokens: [1, Int32(index % 3 + 3)] + tokens, labels: .sequence(Int32(index % 3)))
            })
        let first = trainer.evaluate([batch])
        for _ in 0..<40 { _ = try trainer.step([batch]) }
        let last = trainer.evaluate([batch])
        #expect(first > 0.7 && last < 0.1, "\(first) to \(last)")
    }

    func example(_ seed: Int, count: Int, learned: Int) -> Example {
        Example(
            tokens: (0..<count).map { Int32(($0 * 7 + seed * 13) % 300) },
            weights: (0..<count).map { $0 >= count - learned ? 1 : 0 })
    }

    @Test func fromTheThirdStepOnNothingIsAllocated() throws {
        var (trainer, _) = try trainer(dropout: 0.1)
        let batch = PackedBatch((0..<4).map { example($0, count: 30, learned: 10) }, sharingPrefixes: true)
        for _ in 0..<2 { _ = try trainer.step([batch, batch]) }
        let before = workspace.buffers.statistics.allocations
        for _ in 0..<5 { _ = try trainer.step([batch, batch]) }
        #expect(workspace.buffers.statistics.allocations == before)
    }

    @Test func aMicroBatchWithFewTargetsWeighsLess() throws {
        let rows = [example(1, count: 20, learned: 15), example(2, count: 24, learned: 1)]
        var (together, _) = try trainer()
        var (apart, _) = try trainer()
        for _ in 0..<3 {
            let a = try together.step([PackedBatch(rows, sharingPrefixes: false)])
            let b = try apart.step(rows.map { PackedBatch([$0], sharingPrefixes: false) })
            #expect(abs(a.loss - b.loss) < 1e-5 && a.targets == 16 && b.targets == 16)
            #expect(abs(a.gradientNorm - b.gradientNorm) < 1e-4 * a.gradientNorm)
        }
    }

    @Test func sharedPrefixesTrainAsSeparateRows() throws {
        let prefix = example(0, count: 17, learned: 0)
        let rows = (1...4).map { seed -> Example in
            let own = example(seed, count: 6 + seed, learned: 4)
            return Example(tokens: prefix.tokens + own.tokens, weights: prefix.weights + own.weights)
        }
        let shared = PackedBatch(rows, sharingPrefixes: true)
        #expect(shared.savedTokenCount >= 51)
        var (a, first) = try trainer()
        var (b, second) = try trainer()
        for _ in 0..<3 {
            let x = try a.step([shared])
            let y = try b.step([PackedBatch(rows, sharingPrefixes: false)])
            #expect(abs(x.loss - y.loss) < 1e-5)
            #expect(x.computedTokens < y.computedTokens && x.rowTokens == y.rowTokens)
        }
        for (x, y) in zip(first.parameters, second.parameters) {
            expectClose(x.floats!.elements, y.floats!.elements, relative: 1e-4)
        }
    }

    @Test func recomputedLayersTrainWithTheSameBits() throws {
        let batch = PackedBatch((0..<4).map { example($0, count: 30, learned: 10) }, sharingPrefixes: true)
        for precision in Precision.allCases {
            let workspace = Workspace(threadCount: 2, precision: precision)
            var losses: [[Double]] = []
            var weights: [[[Float]]] = []
            var peaks: [Int] = []
            for recomputes in [false, true] {
                let decoder = try BaseFiles(Fixture.path("models/llama_gqa")).makeDecoder(
                    in: workspace, cache: DigestCache(path: nil))
                var config = PEFTConfig()
                config.targetModules = .allLinear
                config.dropout = 0.1
                let adapter = try decoder.attachNewAdapter(config, seed: 5, in: workspace)
                var trainer = Trainer(
                    decoder, adapter: adapter, optimizer: AdamW(),
                    schedule: LearningRateSchedule(peak: 1e-2, shape: .constant, warmupSteps: 0, totalSteps: 9),
                    seed: 5, economy: MemoryEconomy(recomputesLayers: recomputes), in: workspace)
                losses.append(try (0..<3).map { _ in try trainer.step([batch]).loss })
                weights.append(adapter.parameters.map { $0.floats!.elements })
                let stage = Workspace(rehearsing: workspace)
                let tape = Tape(stage, recording: true)
                tape.backward(
                    from: decoder.loss(
                        batch, on: tape, dropoutKey: 1, economy: MemoryEconomy(recomputesLayers: recomputes)
                    ).sum)
                peaks.append(stage.buffers.statistics.peakBytesInUse)
            }
            #expect(losses[0] == losses[1] && weights[0] == weights[1])
            #expect(peaks[1] < peaks[0])
        }
    }

    @Test func aRehearsalTakesTheBuffersOfTheStepAndChangesNothing() throws {
        let decoder = try BaseFiles(Fixture.path("models/llama_gqa")).makeDecoder(in: workspace)
        var config = PEFTConfig()
        config.targetModules = .allLinear
        let adapter = try decoder.attachNewAdapter(config, seed: 5, in: workspace)
        let batch = PackedBatch((0..<6).map { example($0, count: 60, learned: 10) }, sharingPrefixes: true)
        func walk(in workspace: Workspace) -> BufferPool.Statistics {
            let tape = Tape(workspace, recording: true)
            tape.backward(from: decoder.loss(batch, on: tape).sum)
            return workspace.buffers.statistics
        }
        let before = adapter.parameters.map { $0.floats!.elements }
        let rehearsed = walk(in: Workspace(rehearsing: workspace))
        for parameter in adapter.parameters { parameter.clearGradient() }
        #expect(adapter.parameters.map { $0.floats!.elements } == before)
        let played = walk(in: Workspace(threadCount: 2))
        #expect(rehearsed == played && rehearsed.peakBytesInUse > 1 << 20)
    }

    @Test func aLossThatIsNoNumberStopsTheRun() throws {
        var (trainer, adapter) = try trainer()
        adapter.parameters[0].replace(
            Tensor(
                adapter.parameters[0].shape, Array(repeating: .nan, count: adapter.parameters[0].shape.count),
                in: workspace))
        adapter.parameters[1].replace(
            Tensor(
                adapter.parameters[1].shape, Array(repeating: 1, count: adapter.parameters[1].shape.count),
                in: workspace))
        let batch = PackedBatch([example(1, count: 20, learned: 5)], sharingPrefixes: false)
        #expect(throws: Diagnostic.self) { try trainer.step([batch]) }
    }

    @Test func onlyTheLayersFromTheLowestAdaptedOnAreWalkedBack() throws {
        let decoder = try BaseFiles(Fixture.path("models/llama_gqa")).makeDecoder(in: workspace)
        let batch = PackedBatch([example(1, count: 20, learned: 5)], sharingPrefixes: false)
        func nodes(_ layers: [Int]?) throws -> Int {
            decoder.detachAdapter()
            var config = PEFTConfig()
            config.targetModules = .names(["q_proj"])
            config.layersToTransform = layers
            _ = try decoder.attachNewAdapter(config, seed: 1, in: workspace)
            let tape = Tape(workspace, recording: true)
            _ = decoder.loss(batch, on: tape)
            return tape.nodeCount
        }
        let (all, last) = (try nodes(nil), try nodes([2]))
        #expect(last < all / 2)
    }
}
