import Autograd
import Formats
import Models
import NN
import TestSupport
import Testing
import Training

/// PiSSA: adapters that start from the principal directions of the weights.
@Suite struct PrincipalStartTests {
    let workspace = Workspace(threadCount: 2)

    func model(_ path: String) throws -> any LanguageModel { try BaseFiles(path).makeModel(in: workspace) }

    func source(_ name: String) throws -> WeightSource { try SafetensorsFile(Fixture.path(name)).source }

    /// b·a, row after row.
    func product(b: Parameter, a: Parameter) -> [Float] {
        let (rows, rank, columns) = (b.shape[0], a.shape[0], a.shape[1])
        var result = [Float](repeating: 0, count: rows * columns)
        let (left, right) = (b.floats!.elements, a.floats!.elements)
        for row in 0..<rows {
            for k in 0..<rank {
                for column in 0..<columns {
                    result[row * columns + column] += left[row * rank + k] * right[k * columns + column]
                }
            }
        }
        return result
    }

    /// The largest difference, relative to the largest value of `reference`.
    func worst(_ found: [Float], _ reference: [Float]) -> Float {
        let largest = reference.map(abs).max() ?? 0
        return found.count == reference.count
            ? (zip(found, reference).map { abs($0 - $1) }.max() ?? 0) / largest : .infinity
    }

    /// Training goes on against what is left of the weights when their principal part is taken out; the published
    /// adapter is for the weights as they are.
    @Test func principalStart() throws {
        let expected = try source("variants/pissa/expected.safetensors")
        let model = try model(Fixture.path("models/llama_gqa"))
        let raw = try model.attach(
            PEFTAdapter(Fixture.path("variants/pissa/adapter_raw")), trainable: true, in: workspace)
        let report = try Parity(model, adapter: raw, tolerance: 1e-3, in: workspace)
            .compare(expected: expected, inputs: nil)
        for row in report.compared {
            #expect(row.relative <= (row.tensor.contains("grad") ? 1e-4 : 2e-5), "\(row)")
        }
        #expect(report.compared.filter { $0.tensor.hasPrefix("grad.") }.count == raw.parameters.count)
        for module in raw.modules {
            let start = try #require(module.adapter.start)
            let wanted = try #require(expected["init.delta." + module.path]).floats()
            let found = product(b: start.b, a: start.a).map { $0 * module.adapter.scale }
            #expect(worst(found, wanted) < 2e-5)
        }
        let converted = try PEFTAdapter(Fixture.path("variants/pissa/adapter_converted"))
        let (config, tensors) = raw.published
        #expect(config.r == converted.config.r && config.alpha == converted.config.alpha)
        #expect(config.initialization == .standard)
        #expect(
            Dictionary(uniqueKeysWithValues: tensors.map { ($0.name, $0.shape) })
                == Dictionary(uniqueKeysWithValues: converted.tensors.tensors.map { ($0.name, $0.shape) }))
        let folder = try TemporaryFolder()
        try PEFTAdapter.write(config: config, tensors: tensors, to: folder.path("adapter"))
        for path in [Fixture.path("variants/pissa/adapter_converted"), folder.path("adapter")] {
            let plain = try self.model(Fixture.path("models/llama_gqa"))
            let ordinary = try plain.attach(PEFTAdapter(path), trainable: false, in: workspace)
            let report = try Parity(plain, adapter: ordinary, tolerance: 1e-4, in: workspace)
                .compare(expected: expected, inputs: nil)
            let logits = try #require(report.compared.first { $0.tensor == "logits" })
            #expect(logits.relative <= 2e-5, "\(logits)")
        }
    }

    /// A start by subspace iteration comes near the exact one, and training begins at the base's own answers.
    @Test func principalStartByIteration() throws {
        let model = try model(Fixture.path("models/llama_gqa"))
        let expected = try source("models/llama_gqa/expected.safetensors")
        var config = PEFTConfig()
        config.r = 4
        config.targetModules = .allLinear
        var products: [[Float]] = []
        for name in ["pissa", "pissa_niter_16"] {
            config.initialization = .named(name)
            let adapter = try model.attachNewAdapter(config, seed: 7, in: workspace)
            let report = try Parity(model, adapter: adapter, tolerance: 1e-4, in: workspace)
                .compare(expected: expected, inputs: nil)
            #expect(try #require(report.compared.first { $0.tensor == "logits" }).relative < 2e-5)
            let first = try #require(adapter.modules.first).adapter
            products.append(product(b: first.b, a: first.a))
            model.detachAdapter()
        }
        #expect(worst(products[1], products[0]) < 1e-3)
    }
}
