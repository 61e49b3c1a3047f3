import Autograd
import Batches
import Diagnostics
import Formats
import Models
import NN
import TestSupport
import Testing

/// Modules that an adapter trains in full.
@Suite struct SavedModulesTests {
    let workspace = Workspace(threadCount: 1)

    func model(_ name: String) throws -> any LanguageModel {
        try BaseFiles(Fixture.path("models/\(name)")).makeModel(in: workspace)
    }

    func logits(_ model: any LanguageModel) throws -> [Float] {
        let batch = PackedBatch(labelled: [LabelledExample(tokens: [5, 9, 17, 90, 3])])
        return try #require(model.trace(batch, paddedLength: nil, in: workspace).logits).elements
    }

    func config(_ targets: [String], saving: [String]? = nil) -> PEFTConfig {
        var config = PEFTConfig()
        config.r = 2
        config.targetModules = .names(targets)
        config.modulesToSave = saving
        return config
    }

    @Test func aNewAdapterTrainsTheClassifierAsPEFTDoes() throws {
        let model = try model("xlm_roberta_seqcls")
        let adapter = try model.attachNewAdapter(config(["query", "dense"]), seed: 1, in: workspace)
        #expect(
            adapter.saved.map(\.path) == [
                "classifier.dense.weight", "classifier.dense.bias", "classifier.out_proj.weight",
                "classifier.out_proj.bias",
            ])
        #expect(adapter.config.taskType == "SEQ_CLS" && adapter.config.modulesToSave == ["classifier", "score"])
        // The classifier's dense layer is trained in full, so it gets no factors.
        #expect(!adapter.modules.contains { $0.path.hasPrefix("classifier") })
        #expect(adapter.modules.count == 3 * 4)
        #expect(adapter.parameters.count == 2 * 12 + 4)
        #expect(try self.model("modernbert_mlm").attachNewAdapter(config(["Wi"]), seed: 1, in: workspace).saved.isEmpty)
    }

    @Test(arguments: ["bert_seqcls", "bert_tokcls", "eurobert_mean", "gpt2_seqcls", "modernbert_cls"])
    func whatIsWrittenIsReadAgain(_ name: String) throws {
        let model = try model(name)
        let base = try logits(model)
        var config = PEFTConfig()
        config.r = 2
        config.targetModules = .allLinear
        let made = try model.attachNewAdapter(config, seed: 1, in: workspace)
        expectClose(try logits(model), base, relative: 1e-6)  // B is 0
        for parameter in made.parameters {
            let values = (parameter.floats?.elements ?? []).enumerated().map { $1 + Float($0 % 5) * 0.01 }
            parameter.replace(Tensor(parameter.shape, values, in: workspace))
        }
        let trained = try logits(model)
        #expect(trained != base)
        let folder = try TemporaryFolder()
        try PEFTAdapter.write(config: made.config, tensors: made.tensors(), to: folder.path("adapter"))
        #expect(try model.withoutAdapter { () throws(Diagnostic) in (try? logits(model)) ?? [] } == base)
        #expect(try logits(model) == trained)
        model.detachAdapter()
        #expect(try logits(model) == base)
        let other = try self.model(name)
        let read = try other.attach(PEFTAdapter(folder.path("adapter")), trainable: false, in: workspace)
        #expect(try logits(other) == trained)
        #expect(read.saved.allSatisfy { !$0.parameter.isTrainable })
    }

    /// A base that guessed masked tokens, or labelled otherwise, is to label texts.
    @Test(arguments: [
        ("eurobert_mlm", ["dense", "classifier"]), ("modernbert_mlm", ["classifier"]),
        ("bert_mlm_tanh", ["bert.pooler.dense", "classifier"]), ("bert_seqcls", ["classifier"]),
        ("xlm_roberta_states", ["classifier.dense", "classifier.out_proj"]), ("llama_gqa", ["score"]),
        ("gpt2", ["score"]),
    ])
    func aNewHeadIsDrawnAndKept(_ name: String, _ drawn: [String]) throws {
        let task = NewTask(.sequence, labels: ["a", "b", "c", "d", "e"], seed: 7)
        let files = try BaseFiles(Fixture.path("models/\(name)"), for: task)
        let model = try #require(try files.makeModel(in: workspace) as? Encoder)
        #expect(model.head.drawn == drawn && model.spec.task?.labels == task.labels)
        let base = try logits(model)
        #expect(base.count == 5 && base.contains { $0 != 0 })
        #expect(try logits(files.makeModel(in: workspace)) == base)
        let other = try BaseFiles(files.path, for: NewTask(.sequence, labels: task.labels, seed: 8))
        #expect(try logits(other.makeModel(in: workspace)) != base)

        var config = PEFTConfig()
        config.r = 2
        config.targetModules = .allLinear
        let made = try model.attachNewAdapter(config, seed: 1, in: workspace)
        let folder = try TemporaryFolder()
        try PEFTAdapter.write(config: made.config, tensors: made.tensors(), to: folder.path("adapter"))
        // Whatever another seed draws, the adapter brings the head that it was trained with.
        let again = try other.makeModel(in: workspace)
        _ = try again.attach(PEFTAdapter(folder.path("adapter")), trainable: false, in: workspace)
        expectClose(try logits(again), base, relative: 1e-6)
    }

    @Test func aGGUFFileGetsNoNewHead() throws {
        let task = NewTask(.token, labels: ["a", "b"], seed: 7)
        #expect(throws: Diagnostic.self) { try BaseFiles(Fixture.path("gguf/tiny_llama.gguf"), for: task) }
    }

    /// The copy of the base in bf16 is the same for all of them.
    @Test(.enabled(if: InstructionSet.avx512BF16.isAvailable)) func drawnHeadsAreNotKeptWithTheBase() throws {
        let folder = try TemporaryFolder()
        let cache = DigestCache(path: folder.path("cache/digests.json"))
        let heads = try [UInt64(7), 8].map { seed -> [Float] in
            let task = NewTask(.sequence, labels: ["a", "b"], seed: seed)
            let model = try BaseFiles(Fixture.path("models/eurobert_mlm"), for: task).makeModel(
                in: Workspace(threadCount: 1, precision: .bf16), cache: cache)
            return try #require((model as? Encoder)?.head.output?.weight.floats).elements
        }
        #expect(heads[0] != heads[1])
    }

    @Test func aHeadThatFitsIsTaken() throws {
        let task = NewTask(.sequence, labels: ["a", "b", "c"], seed: 7)
        let model = try BaseFiles(Fixture.path("models/bert_seqcls"), for: task).makeModel(in: workspace)
        #expect((model as? Encoder)?.head.drawn == [])
        #expect(try logits(model) == logits(self.model("bert_seqcls")))
    }

    static let refused: [(model: String, saving: [String], code: ModelsCode)] = [
        ("llama_tied_mqa", ["embed_tokens"], .unsupported), ("gpt2", ["ln_1", "c_fc"], .unsupported),
        ("mixtral", ["experts"], .unsupported), ("llama_gqa", ["no_such_module"], .targets),
    ]

    @Test(arguments: refused)
    func whatPEFTStoresOtherwiseIsRefused(_ name: String, _ saving: [String], _ code: ModelsCode) throws {
        let model = try model(name)
        do {
            let targets = name == "gpt2" ? ["c_attn"] : ["q_proj"]
            _ = try model.attachNewAdapter(config(targets, saving: saving), seed: 1, in: workspace)
            Issue.record("\(saving) were taken")
        } catch let error as Diagnostic { #expect(error.code as? ModelsCode == code, "\(error)") }
        #expect(model.allParameters().allSatisfy { $0.parameter.substitute == nil })
    }

    @Test func valuesThatDoNotFitAreRefused() throws {
        let model = try model("bert_seqcls")
        let adapter = try PEFTAdapter(Fixture.path("models/bert_seqcls/lora"))
        func tensors(_ change: (String) -> (name: String, shape: [Int])?) throws -> [OutgoingTensor] {
            try adapter.tensors.tensors.compactMap { tensor in
                let (name, shape) = change(tensor.name) ?? (tensor.name, tensor.shape)
                guard !name.isEmpty else { return nil }
                let count = shape.reduce(1, *)
                return OutgoingTensor(
                    name: name, shape: shape,
                    values: try Array(
                        (tensor.floats() + Array(repeating: 0, count: count))
                            .prefix(count)))
            }
        }
        let cases: [(rule: String, tensors: [OutgoingTensor])] = [
            ("another shape", try tensors { $0.hasSuffix("classifier.weight") ? ($0, [4, 64]) : nil }),
            ("no bias", try tensors { $0.hasSuffix("classifier.bias") ? ("", []) : nil }),
            (
                "a parameter that is not there",
                try tensors { $0.hasSuffix("classifier.bias") ? ("base_model.model.score.bias", [3]) : nil }
            ),
        ]
        for (rule, tensors) in cases {
            let folder = try TemporaryFolder()
            try PEFTAdapter.write(config: adapter.config, tensors: tensors, to: folder.path("adapter"))
            do {
                _ = try model.attach(try PEFTAdapter(folder.path("adapter")), trainable: false, in: workspace)
                Issue.record("\(rule) was taken")
            } catch let error as Diagnostic { #expect(error.code as? ModelsCode == .adapter, "\(rule): \(error)") }
            #expect(model.allParameters().allSatisfy { $0.parameter.substitute == nil })
        }
    }
}
