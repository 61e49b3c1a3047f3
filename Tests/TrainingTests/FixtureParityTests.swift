import Autograd
import Diagnostics
import Formats
import Models
import TestSupport
import Testing
import Training

/// Every number of the reference files, within the tolerances of Tests/Fixtures/README.md.
@Suite struct FixtureParityTests {
    let workspace = Workspace(threadCount: 2)

    static let models = [
        "llama_gqa", "llama_tied_mqa", "llama_rope_llama3", "llama_rope_linear", "llama_bf16", "mistral_sw",
        "qwen2_sharded", "qwen3", "gemma2", "gemma3_text", "olmo2", "granite", "smollm3",
        "llama_rope_yarn", "llama_rope_dynamic", "phi3", "phi3_longrope", "phi3_window", "apertus", "pharia", "gpt2",
        "gpt2_exact_gelu", "gpt_neox", "gpt_neox_sequential", "bloom", "bloom_postnorm_residual",
        "mixtral", "deepseek_v2", "deepseek_v2_greedy", "deepseek_v3", "deepseek_v3_halves",
        "llama_seqcls", "bert_seqcls", "xlm_roberta_seqcls", "modernbert_seqcls", "modernbert_mlm", "eurobert_seqcls",
        "eurobert_mlm", "bert_mlm_tanh", "bert_tokcls", "roberta_mlm", "modernbert_cls", "modernbert_tokcls",
        "modernbert_mlm_untied", "eurobert_mean", "eurobert_bos", "eurobert_mlm_tied", "eurobert_tokcls",
        "qwen3_seqcls", "gemma2_tokcls", "gpt2_seqcls", "gpt_neox_tokcls",
    ]

    /// Logits and hidden states "good" at 2e-5, loss at 1e-5, gradients at 1e-4 of the largest value.
    func expectWithin(_ report: ParityReport, sourceLocation: SourceLocation = #_sourceLocation) {
        #expect(!report.compared.isEmpty, sourceLocation: sourceLocation)
        for row in report.compared {
            let limit = row.tensor.contains("grad") ? 1e-4 : row.tensor.contains("loss") ? 1e-5 : 2e-5
            #expect(row.relative <= limit, "\(row)", sourceLocation: sourceLocation)
        }
        #expect(report.isOK, "\(report.notCompared)", sourceLocation: sourceLocation)
    }

    func model(_ path: String) throws -> any LanguageModel { try BaseFiles(path).makeModel(in: workspace) }

    func source(_ name: String) throws -> WeightSource { try SafetensorsFile(Fixture.path(name)).source }

    @Test(arguments: models) func baseModel(_ name: String) throws {
        let model = try model(Fixture.path("models/\(name)"))
        let report = try Parity(model, adapter: nil, tolerance: 1e-4, in: workspace)
            .compare(expected: source("models/\(name)/expected.safetensors"), inputs: nil)
        expectWithin(report)
        #expect(
            report.compared.contains { $0.tensor == "hidden.0" } && report.compared.contains { $0.tensor == "loss" })
    }

    @Test(arguments: models) func adapter(_ name: String) throws {
        let model = try model(Fixture.path("models/\(name)"))
        let adapter = try model.attach(
            PEFTAdapter(Fixture.path("models/\(name)/lora")), trainable: true, in: workspace)
        let report = try Parity(model, adapter: adapter, tolerance: 1e-3, in: workspace).compare(
            expected: source("models/\(name)/lora_expected.safetensors"),
            inputs: source("models/\(name)/expected.safetensors"))
        expectWithin(report)
        #expect(report.compared.filter { $0.tensor.hasPrefix("grad.") }.count == adapter.parameters.count)
    }

    @Test func embeddingsOfAModelWithoutAHead() throws {
        let model = try model(Fixture.path("models/xlm_roberta_states"))
        let expected = try source("models/xlm_roberta_states/expected.safetensors")
        let report = try Parity(model, adapter: nil, tolerance: 1e-4, in: workspace)
            .compare(expected: expected, inputs: nil)
        expectWithin(report)
        #expect(report.compared.filter { $0.tensor.hasPrefix("pooled.") }.count == 3)
        let adapter = try model.attach(
            PEFTAdapter(Fixture.path("models/xlm_roberta_states/lora")), trainable: true, in: workspace)
        let adapted = try Parity(model, adapter: adapter, tolerance: 1e-4, in: workspace).compare(
            expected: source("models/xlm_roberta_states/lora_expected.safetensors"), inputs: expected)
        expectWithin(adapted)
        #expect(adapted.compared.count == 4)
    }

    @Test(arguments: ["llama_gqa"]) func everyBaseGradient(_ name: String) throws {
        let model = try model(Fixture.path("models/\(name)"))
        let expected = try source("models/\(name)/full_grads.safetensors")
        let report = try Parity(model, adapter: nil, tolerance: 1e-3, in: workspace)
            .compare(expected: expected, inputs: source("models/\(name)/expected.safetensors"))
        expectWithin(report)
        #expect(report.compared.count == expected.tensors.count)
    }

    @Test(arguments: [
        "llama_gqa", "mistral_sw", "qwen3", "gemma3_text", "smollm3", "gpt2", "phi3", "apertus", "gpt_neox", "bloom",
        "pharia", "llama_rope_dynamic", "mixtral", "deepseek_v3", "bert_tokcls", "roberta_mlm", "modernbert_cls",
        "modernbert_tokcls", "eurobert_mean", "qwen3_seqcls",
    ])
    func packedRowsEqualSeparateOnes(_ name: String) throws {
        let model = try model(Fixture.path("models/\(name)"))
        let adapter = try model.attach(
            PEFTAdapter(Fixture.path("models/\(name)/lora")), trainable: true, in: workspace)
        let report = try Parity(model, adapter: adapter, tolerance: 1e-3, in: workspace)
            .compare(expected: source("packed/\(name).safetensors"), inputs: nil)
        expectWithin(report)
    }

    @Test(arguments: [
        ("mixtral_experts", "mixtral", 8), ("deepseek_v3_experts", "deepseek_v3", 8),
        ("deepseek_v2_all_linear", "deepseek_v2", 4),
    ])
    func adaptedExperts(_ variant: String, _ base: String, _ count: Int) throws {
        let model = try model(Fixture.path("models/\(base)"))
        let adapter = try model.attach(
            PEFTAdapter(Fixture.path("variants/\(variant)/adapter")), trainable: true, in: workspace)
        let report = try Parity(model, adapter: adapter, tolerance: 1e-3, in: workspace)
            .compare(expected: source("variants/\(variant)/expected.safetensors"), inputs: nil)
        expectWithin(report)
        #expect(report.compared.filter { $0.tensor.contains("experts") }.count == count)
        #expect(report.compared.filter { $0.tensor.hasPrefix("grad.") }.count == adapter.parameters.count)
    }

    @Test(arguments: [
        ("llama_gqa", "rslora"), ("llama_gqa", "layers_to_transform"), ("llama_gqa", "patterns"),
        ("llama_gqa", "patterns_rslora"), ("llama_gqa", "regex_and_exclude"), ("llama_gqa", "lora_bias"),
        ("qwen2_sharded", "bias_lora_only"), ("llama_gqa", "dora"), ("gpt2", "dora_gpt2_conv1d"),
        ("llama_gqa", "embedding"),
    ])
    func optionsOfPEFT(_ base: String, _ variant: String) throws {
        let model = try model(Fixture.path("models/\(base)"))
        let adapter = try model.attach(
            PEFTAdapter(Fixture.path("variants/\(variant)/adapter")), trainable: true, in: workspace)
        let report = try Parity(model, adapter: adapter, tolerance: 1e-3, in: workspace)
            .compare(expected: source("variants/\(variant)/expected.safetensors"), inputs: nil)
        expectWithin(report)
        #expect(report.compared.filter { $0.tensor.hasPrefix("grad.") }.count == adapter.parameters.count)
        // What is written is what was read.
        let read = try PEFTAdapter(Fixture.path("variants/\(variant)/adapter"))
        let written = Dictionary(uniqueKeysWithValues: adapter.tensors().map { ($0.name, $0.shape) })
        let trained = read.tensors.tensors.filter { !$0.name.hasSuffix("base_layer.weight") }
        #expect(written == Dictionary(uniqueKeysWithValues: trained.map { ($0.name, $0.shape) }))
    }

    @Test(arguments: [("llama_gqa", "modules_to_save"), ("llama_seqcls", "modules_to_save_score")])
    func modulesTrainedInFull(_ base: String, _ variant: String) throws {
        let model = try model(Fixture.path("models/\(base)"))
        let adapter = try model.attach(
            PEFTAdapter(Fixture.path("variants/\(variant)/adapter")), trainable: true, in: workspace)
        let report = try Parity(model, adapter: adapter, tolerance: 1e-3, in: workspace)
            .compare(expected: source("variants/\(variant)/expected.safetensors"), inputs: nil)
        expectWithin(report)
        #expect(!adapter.saved.isEmpty)
        #expect(report.compared.filter { $0.tensor.hasPrefix("grad.") }.count == adapter.parameters.count)
    }

    @Test func ggufModel() throws {
        let model = try model(Fixture.path("gguf/tiny_llama.gguf"))
        let report = try Parity(model, adapter: nil, tolerance: 1e-4, in: workspace)
            .compare(expected: source("gguf/tiny_llama_expected.safetensors"), inputs: nil)
        for row in report.compared { #expect(row.relative <= 2e-5, "\(row)") }
        #expect(report.compared.map(\.tensor).sorted() == ["logits", "loss"])
    }

    @Test(arguments: ["llama_gqa", "qwen3", "gemma3_text"]) func tenOptimiserSteps(_ name: String) throws {
        let model = try model(Fixture.path("models/\(name)"))
        let adapter = try model.attach(
            PEFTAdapter(Fixture.path("models/\(name)/lora")), trainable: true, in: workspace)
        let report = try TrainingParity(model, adapter: adapter, tolerance: 1e-3, in: workspace)
            .compare(folder: Fixture.path("training/\(name)"))
        for row in report.compared {
            // Weights to 1e-5 absolute, losses to 1e-5 relative, gradients and their norm to 1e-4.
            if row.tensor.hasPrefix("weights.") {
                #expect(row.maximumError <= 1e-5, "\(row)")
            } else {
                #expect(row.relative <= (row.tensor.contains("grad") ? 1e-4 : 1e-5), "\(row)")
            }
        }
        let last = report.compared.filter { $0.tensor.hasPrefix("weights.after_step_10.") }
        #expect(last.count == adapter.parameters.count)
        #expect(report.isOK && report.notCompared.isEmpty, "\(report.notCompared)")
    }

    @Test func findsAWeightThatWasChanged() throws {
        let model = try model(Fixture.path("models/llama_gqa"))
        let embedding = model.backbone.embedding
        model.makeTrainable(in: workspace)
        embedding.replace(Tensor(embedding.shape, embedding.floats!.elements.map { $0 * 1.001 }, in: workspace))
        let report = try Parity(model, adapter: nil, tolerance: 1e-4, in: workspace)
            .compare(expected: source("models/llama_gqa/expected.safetensors"), inputs: nil)
        #expect(!report.isOK)
    }
}
