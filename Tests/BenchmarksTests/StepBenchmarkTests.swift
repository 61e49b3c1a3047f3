import Autograd
import Benchmarks
import Diagnostics
import Models
import NN
import Testing

/// What a measured step must be, whatever the machine does meanwhile.
@Suite struct StepBenchmarkTests {
    static let tiny = ModelShape.llama(
        "tiny", layers: 2, hidden: 32, feedForward: 48, heads: 4, keyValueHeads: 2, vocabulary: 96, isTied: false,
        theta: 10_000)

    @Test func countsTheWorkOfAStep() throws {
        var settings = StepBenchmark.Settings(model: Self.tiny)
        (settings.rows, settings.tokensPerRow, settings.rank) = (3, 5, 4)
        (settings.steps, settings.seconds) = (3, 0)
        let result = try StepBenchmark(settings, in: Workspace(threadCount: 2, precision: .bf16))
        let attention = 2 * 32 * 32 + 2 * 16 * 32
        #expect(result.layerParameters == 2 * (attention + 3 * 48 * 32))
        #expect(result.headParameters == 96 * 32)
        #expect(result.adapterParameters == 2 * 4 * (2 * (32 + 32) + 2 * (32 + 16) + 3 * (32 + 48)))
        #expect(result.tokens == 15 && result.targets == 12)
        let (frozen, adapter) = (4 * result.layerParameters * 15, 6 * result.adapterParameters * 15)
        #expect(result.usefulOperations == Double(frozen + adapter + 4 * result.headParameters * 12))
        #expect(result.stepSeconds.count == 3 && result.seconds == result.stepSeconds.sorted()[1])
        #expect(result.forwardSeconds > 0 && result.backwardSeconds > 0 && result.productSeconds > 0)
        #expect(result.peakBytes > 0 && result.usefulShare > 0)
    }

    @Test func theNamedShapesHaveTheirParameters() throws {
        let counts = try ModelShape.all.map { shape in
            let spec = try shape.spec()
            let attention = 2 * spec.hidden * spec.headDim * (spec.heads + spec.keyValueHeads)
            let layer = attention + 3 * spec.hidden * spec.feedForward + 2 * spec.hidden
            return spec.layers.count * layer + spec.hidden + (spec.isTied ? 1 : 2) * spec.vocabulary * spec.hidden
        }
        #expect(ModelShape.all.map(\.name) == ["smollm2-135m", "llama-1.1b"])
        #expect(counts == [134_515_008, 1_100_048_384])
    }

    @Test func randomWeightsAreOneBF16CopyAndTheSameForASeed() throws {
        let spec = try Self.tiny.spec()
        func values(_ seed: UInt64, threads: Int) throws -> [[Float]] {
            let decoder = try Decoder.withRandomWeights(spec, seed: seed, in: Workspace(threadCount: threads))
            return decoder.allParameters().map { _, parameter in
                guard parameter.shape.rank == 2 else { return parameter.floats?.elements ?? [] }
                #expect(parameter.isBF16)
                return [Float](unsafeUninitializedCapacity: parameter.shape.count) { out, count in
                    parameter.decode(rows: 0..<parameter.shape[0], to: out.baseAddress!)
                    count = parameter.shape.count
                }
            }
        }
        let first = try values(1, threads: 1)
        #expect(try values(1, threads: 3) == first)
        #expect(try values(2, threads: 1) != first)
        let embedding = first[0].map(Double.init)
        let deviation = (embedding.map { $0 * $0 }.reduce(0, +) / Double(embedding.count)).squareRoot()
        // 3,072 uniform values: the deviation of their deviation is 0.8 %; bf16 that is cut off takes 0.3 % away.
        #expect(abs(deviation / 0.02 - 1) < 0.05, "\(deviation)")
    }
}
