import Autograd
import Formats
import Foundation
import Models
import StrictJSON
import TestSupport
import Testing
import Training

/// Adapters folded into weights: PEFT's merged weights, and the numbers that the merged model then computes.
@Suite struct MergedModelTests {
    let workspace = Workspace(threadCount: 2)

    func inFolder(_ body: (String) throws -> Void) throws {
        let folder = try TemporaryFolder()
        try withExtendedLifetime(folder) { try body(folder.url.path) }
    }

    func merge(
        _ base: String, _ adapters: [(String, Float)], encoding: BaseEncoding = .automatic, as type: ElementType? = nil,
        to path: String
    ) throws -> MergeReport {
        var loaded: [(adapter: PEFTAdapter, weight: Float)] = []
        for (adapter, weight) in adapters { loaded.append((try PEFTAdapter(Fixture.path(adapter)), weight)) }
        return try MergedModel(
            BaseFiles(Fixture.path(base)), adapters: loaded, encoding: encoding, in: workspace
        ).write(to: path, as: type)
    }

    @Test(arguments: [
        ("models_llama_gqa", "models/llama_gqa", "models/llama_gqa/lora"),
        ("models_gpt2", "models/gpt2", "models/gpt2/lora"),
        ("variants_dora", "models/llama_gqa", "variants/dora/adapter"),
    ])
    func weightsAndLogitsOfPEFT(_ name: String, _ base: String, _ adapter: String) throws {
        try inFolder { folder in
            let path = folder + "/merged"
            let report = try merge(base, [(adapter, 1)], to: path)
            #expect(report.roundingShare == 0)
            let expected = try SafetensorsFile(Fixture.path("merged/\(name).safetensors")).source
            let written = try WeightSource.open(path)
            #expect(written.names.sorted() == (try WeightSource.open(Fixture.path(base))).names.sorted())
            var compared = 0
            for tensor in expected.tensors where tensor.name.hasPrefix("merged.") {
                let name = String(tensor.name.dropFirst("merged.".count))
                let own = try #require(written[name])
                #expect(own.shape == tensor.shape && own.type == tensor.type)
                for (a, b) in zip(try own.floats(), try tensor.floats()) { #expect(abs(a - b) <= 1e-6 + 1e-5 * abs(b)) }
                compared += 1
            }
            #expect(compared >= 8)
            let numbers = WeightSource(expected.tensors.filter { !$0.name.hasPrefix("merged.") })
            let model = try BaseFiles(path).makeModel(in: workspace)
            let parity = try Parity(model, adapter: nil, tolerance: 1e-4, in: workspace)
                .compare(expected: numbers, inputs: nil)
            #expect(parity.isOK && parity.compared.count == 2, "\(parity.notCompared)")
            // The control: the base itself computes others.
            let untouched = try BaseFiles(Fixture.path(base)).makeModel(in: workspace)
            let other = try Parity(untouched, adapter: nil, tolerance: 1e-4, in: workspace)
                .compare(expected: numbers, inputs: nil)
            #expect(!other.isOK)
        }
    }

    /// Whatever an adapter is made of, the merged model computes what base and adapter do.
    @Test(arguments: [
        ("models/llama_gqa", "variants/rslora/adapter"), ("models/llama_gqa", "variants/patterns/adapter"),
        ("models/llama_gqa", "variants/embedding/adapter"), ("models/qwen2_sharded", "variants/bias_lora_only/adapter"),
        ("models/llama_gqa", "variants/pissa/adapter_converted"), ("models/gpt2", "variants/dora_gpt2_conv1d/adapter"),
        ("models/mixtral", "models/mixtral/lora"), ("models/deepseek_v3", "models/deepseek_v3/lora"),
        ("models/bloom", "models/bloom/lora"), ("models/phi3", "models/phi3/lora"),
        ("models/gemma3_text", "models/gemma3_text/lora"), ("models/llama_tied_mqa", "models/llama_tied_mqa/lora"),
        ("models/mixtral", "variants/mixtral_experts/adapter"),
        ("models/deepseek_v3", "variants/deepseek_v3_experts/adapter"),
        ("models/llama_gqa", "variants/modules_to_save/adapter"),
        ("models/bert_seqcls", "models/bert_seqcls/lora"), ("gguf/tiny_llama.gguf", "models/llama_gqa/lora"),
    ])
    func scoresOfBaseAndAdapter(_ base: String, _ adapter: String) throws {
        try inFolder { folder in
            let path = folder + (base.hasSuffix(".gguf") ? "/merged.gguf" : "/merged")
            let report = try merge(base, [(adapter, 1)], as: .f32, to: path)
            let logits = try #require(report.logits)
            #expect(logits.adapterLargest > 1e-3 && logits.agreeing == logits.count)
            #expect(logits.largest <= 1e-4 * max(1, logits.adapterLargest), "\(logits)")
            #expect(report.changed > 0)
        }
    }

    /// base + 0.25 · (first − base) + 0.5 · (second − base), of every element.
    @Test func weightedSumOfAdapters() throws {
        try inFolder { folder in
            let (base, first, second) = ("models/llama_gqa", "models/llama_gqa/lora", "variants/dora/adapter")
            _ = try merge(base, [(first, 1)], to: folder + "/first")
            _ = try merge(base, [(second, 1)], to: folder + "/second")
            let report = try merge(base, [(first, 0.25), (second, 0.5)], to: folder + "/both")
            #expect(report.logits == nil)
            let (a, b, both, untouched) = (
                try WeightSource.open(folder + "/first"), try WeightSource.open(folder + "/second"),
                try WeightSource.open(folder + "/both"), try WeightSource.open(Fixture.path(base))
            )
            var largest: Float = 0
            for tensor in untouched.tensors {
                let values = [try tensor.floats()] + (try [a, b, both].map { try #require($0[tensor.name]).floats() })
                for index in values[0].indices {
                    let base = values[0][index]
                    let expected = base + 0.25 * (values[1][index] - base) + 0.5 * (values[2][index] - base)
                    #expect(abs(values[3][index] - expected) <= 1e-6)
                    largest = max(largest, abs(values[3][index] - base))
                }
            }
            #expect(largest > 1e-3)
        }
    }

    /// What was trained against four bits is merged into the four bits' values, in the matrices without an adapter too.
    @Test func intoTheWeightsThatWereTrainedAgainst() throws {
        try inFolder { folder in
            let path = folder + "/merged"
            let report = try merge(
                "models/llama_gqa", [("models/llama_gqa/lora", 1)], encoding: .nf4, as: .f32, to: path)
            let logits = try #require(report.logits)
            #expect(logits.largest <= 1e-4 && logits.agreeing == logits.count)
            let expected = try SafetensorsFile(Fixture.path("quant/nf4_model_llama_gqa.safetensors")).source
            let lora = expected.tensors.compactMap { tensor in
                ["lora.logits", "lora.loss"].contains(tensor.name)
                    ? tensor.renamed(String(tensor.name.dropFirst("lora.".count)))
                    : tensor.name.hasPrefix("base.") || tensor.name.contains("grad") || tensor.name.hasPrefix("lora.")
                        ? nil : tensor
            }
            let parity = try Parity(
                BaseFiles(path).makeModel(in: workspace), adapter: nil, tolerance: 1e-4, in: workspace
            ).compare(expected: WeightSource(lora), inputs: nil)
            #expect(parity.isOK && parity.compared.count == 2, "\(parity.compared) \(parity.notCompared)")
        }
    }

    /// Rounding is measured: bf16 loses a share of the update, f32 none.
    @Test func lossOfRounding() throws {
        try inFolder { folder in
            let report = try merge(
                "models/llama_gqa", [("models/llama_gqa/lora", 1)], as: .bf16, to: folder + "/merged")
            let share = try #require(report.roundingShare)
            #expect(share > 1e-4 && share < 0.5)
            #expect(try #require(report.worst).share >= share)
            let config = try readJSON(folder + "/merged/config.json").object
            #expect(config?["dtype"]?.string == "bfloat16" || config?["torch_dtype"]?.string == "bfloat16")
            #expect(try WeightSource.open(folder + "/merged").tensors.allSatisfy { $0.type == .bf16 })
        }
    }

    /// Large models come in several files, which hold what one file would.
    @Test func inSeveralFiles() throws {
        try inFolder { folder in
            let source = try WeightSource.open(Fixture.path("models/llama_gqa"))
            try ModelFolder.writeWeights(source.tensors.map { OutgoingTensor($0) }, in: folder, shardBytes: 200_000)
            let files = try listFolder(folder).filter { $0.hasSuffix(".safetensors") }
            #expect(files.count >= 3 && files.contains("model-00001-of-0000\(files.count).safetensors"))
            let digests = try [source, WeightSource.open(folder)].map {
                try DigestCache(path: nil).weightsDigest(of: $0)
            }
            #expect(digests[0] == digests[1])
        }
    }

    @Test func refusals() throws {
        try inFolder { folder in
            do {
                _ = try merge("models/llama_gqa", [("variants/lora_bias/adapter", 1)], to: folder + "/merged")
                Issue.record("a bias for layers without one was merged")
            } catch { #expect("\(error)".contains("E-MERGE")) }
            do {
                _ = try merge("models/gpt2", [("models/llama_gqa/lora", 1)], to: folder + "/merged")
                Issue.record("an adapter of another base was merged")
            } catch { #expect("\(error)".contains("E-ADAPTER-MISMATCH")) }
            try makeFolders(folder + "/taken")
            do {
                _ = try merge("models/llama_gqa", [("models/llama_gqa/lora", 1)], to: folder + "/taken")
                Issue.record("a folder was overwritten")
            } catch { #expect("\(error)".contains("taken")) }
            #expect(try listFolder(folder) == ["taken"])
        }
    }
}
