import Autograd
import Batches
import Formats
import Models
import NN
import TestSupport
import Testing

/// What adapters attach to, and that their gradients have the same bits on any number of threads.
@Suite struct AdaptedDecoderTests {
    @Test(arguments: ["gpt2", "apertus", "bloom", "phi3", "mixtral", "deepseek_v3"])
    func sameBitsOnAnyNumberOfThreads(_ name: String) throws {
        let tokens = (0..<50).map { Int32($0 * 7 % 90) }
        let examples = [tokens, Array(tokens.prefix(20)) + [3, 4, 5], Array(tokens.suffix(17))].map { tokens in
            Example(tokens: tokens, weights: tokens.indices.map { $0 == 0 ? 0 : 1 })
        }
        let results = try [1, 3].map { threads -> [[UInt32]] in
            let workspace = Workspace(threadCount: threads)
            let decoder = try BaseFiles(Fixture.path("models/\(name)")).makeDecoder(in: workspace)
            let adapter = try decoder.attach(
                PEFTAdapter(Fixture.path("models/\(name)/lora")), trainable: true, in: workspace)
            let tape = Tape(workspace, recording: true)
            let loss = decoder.loss(decoder.spec.pack(examples, sharingPrefixes: true), on: tape)
            tape.backward(from: loss.sum)
            return adapter.parameters.map { ($0.gradient?.elements ?? []).map(\.bitPattern) }
                + [loss.perPrediction.map(\.bitPattern)]
        }
        #expect(results[0] == results[1])
        #expect(results[0].allSatisfy { !$0.isEmpty })
    }

    @Test func trainedExpertsHaveTheSameBitsToo() throws {
        let gradients = try [1, 2].map { threads -> [[UInt32]] in
            let workspace = Workspace(threadCount: threads)
            let decoder = try BaseFiles(Fixture.path("models/mixtral")).makeDecoder(in: workspace)
            var config = PEFTConfig()
            config.r = 2
            config.targetModules = .names([])
            config.targetParameters = ["experts.gate_up_proj", "down_proj", "gate.weight"]
            let adapter = try decoder.attachNewAdapter(config, seed: 3, in: workspace)
            #expect(
                adapter.modules.prefix(3).map(\.path) == [
                    "model.layers.0.mlp.gate", "model.layers.0.mlp.experts.base_layer", "model.layers.0.mlp.experts",
                ])
            let tokens = (0..<40).map { Int32($0 * 7 % 90) }
            let example = Example(tokens: tokens, weights: tokens.indices.map { $0 == 0 ? 0 : 1 })
            let tape = Tape(workspace, recording: true)
            tape.backward(from: decoder.loss(decoder.spec.pack([example], sharingPrefixes: false), on: tape).sum)
            return adapter.parameters.map { ($0.gradient?.elements ?? []).map(\.bitPattern) }
        }
        #expect(gradients[0] == gradients[1])
        // B is 0 at first, so its gradient is not.
        #expect(gradients[0].enumerated().allSatisfy { index, values in index % 2 == 0 || values.contains { $0 != 0 } })
    }

    /// Parameters named without their module, and a rank of their own, as PEFT writes what it converted.
    @Test func adaptedExpertsAreReadAsTheyWereWritten() throws {
        let workspace = Workspace(threadCount: 1)
        let decoder = try BaseFiles(Fixture.path("models/mixtral")).makeDecoder(in: workspace)
        var config = PEFTConfig()
        config.r = 2
        config.targetModules = .names(["q_proj"])
        config.targetParameters = ["gate_up_proj", "down_proj"]
        config.rankPattern = [(#".*\.gate_up_proj"#, 4)]
        config.alphaPattern = [(#".*\.gate_up_proj"#, 16)]
        let made = try decoder.attachNewAdapter(config, seed: 3, in: workspace)
        #expect(made.modules.map(\.adapter.scale) == [4, 4, 4, 4, 4, 4])
        #expect(made.modules.map(\.adapter.rank) == [2, 2, 16, 8, 16, 8])
        let folder = try TemporaryFolder()
        try PEFTAdapter.write(config: made.config, tensors: made.tensors(), to: folder.path("adapter"))
        let read = try decoder.attach(PEFTAdapter(folder.path("adapter")), trainable: true, in: workspace)
        #expect(read.modules.map(\.path).sorted() == made.modules.map(\.path).sorted())
        for module in made.modules {
            let (path, adapter) = (module.path, module.adapter)
            let other = try #require(read.modules.first { $0.path == path }).adapter
            #expect(other.a.floats?.elements == adapter.a.floats?.elements && other.scale == adapter.scale)
        }
    }

    @Test func allLinearOfAMixtureIsWrittenOutAsItsAttention() throws {
        let workspace = Workspace(threadCount: 1)
        let decoder = try BaseFiles(Fixture.path("models/deepseek_v3")).makeDecoder(in: workspace)
        var config = PEFTConfig()
        config.targetModules = .allLinear
        let adapter = try decoder.attachNewAdapter(config, seed: 1, in: workspace)
        let names = ["kv_a_proj_with_mqa", "kv_b_proj", "o_proj", "q_a_proj", "q_b_proj"]
        #expect(adapter.config.targetModules == .names(names) && adapter.modules.count == 3 * names.count)
        // By name the shared expert and the dense layer can have one as well.
        config.targetModules = .names(["shared_experts.up_proj", "layers.0.mlp.down_proj"])
        #expect(try decoder.attachNewAdapter(config, seed: 1, in: workspace).modules.count == 3)
    }
}
