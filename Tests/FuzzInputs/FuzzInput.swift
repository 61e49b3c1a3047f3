import Autograd
import Batches
import Checkpoints
import Datasets
package import Diagnostics
import Formats
import Foundation
import Models
import Recipes
import StrictJSON
package import TestSupport
import Tokenization

/// A kind of file that comes from elsewhere: a good one, and what the program does with it. The random tests and the
/// fuzzer share these.
package struct FuzzInput: Sendable, CustomStringConvertible {
    package let name: String
    /// A file under Tests/Fixtures, or the bytes themselves.
    private let seed: Seed
    /// How far into the file changes go: what is behind are numbers.
    package let head: Int
    /// Its name in the folder that is then read.
    private let file: String
    /// What stands beside it, by name.
    private let beside: [String: String]
    private let read: @Sendable (_ folder: String, _ file: String) throws(Diagnostic) -> Void

    private enum Seed {
        case fixture(String)
        case text(String)
    }

    package var description: String { name }

    private init(
        _ name: String, _ seed: Seed, as file: String, head: Int = .max, beside: [String: String] = [:],
        _ read: @escaping @Sendable (_ folder: String, _ file: String) throws(Diagnostic) -> Void
    ) {
        (self.name, self.seed, self.file, self.head, self.beside, self.read) = (name, seed, file, head, beside, read)
    }

    package func seedBytes() throws -> [UInt8] {
        switch seed {
        case .fixture(let name): [UInt8](try Fixture.data(name))
        case .text(let text): Array(text.utf8)
        }
    }

    /// Puts what belongs to the file into `folder`; once is enough.
    package func prepare(_ folder: TemporaryFolder) throws {
        for (name, fixture) in beside {
            try FileManager.default.copyItem(atPath: Fixture.path(fixture), toPath: folder.path(name))
        }
    }

    /// Reads `bytes` in the file's place, all that they offer.
    package func run(_ bytes: [UInt8], in folder: TemporaryFolder) throws(Diagnostic) {
        let path = folder.path(file)
        try makeFolders(parentFolder(of: path))
        _ = FileManager.default.createFile(atPath: path, contents: Data(bytes))
        try read(folder.url.path, path)
    }

    // MARK: - The kinds

    package static let all = [
        FuzzInput("safetensors", .fixture("models/llama_gqa/lora/adapter_model.safetensors"), as: "a", head: 4300) {
            (_, file) throws(Diagnostic) in try readAll(SafetensorsFile(file).source)
        },
        FuzzInput("gguf-tensors", .fixture("gguf/tensor_types.gguf"), as: "a", head: 3000) {
            (_, file) throws(Diagnostic) in
            let file = try GGUFFile(file)
            for key in file.keys {
                guard case .array(let array)? = file[key] else { continue }
                _ = (array.strings?.count, array.integers?.count, array.floats?.count)
            }
            try readAll(file.source)
        },
        FuzzInput("gguf-model", .fixture("gguf/tiny_llama.gguf"), as: "a.gguf", head: 12_000) {
            (_, file) throws(Diagnostic) in try readModel(file)
        },
        FuzzInput("pytorch", .fixture("pytorch/protocol4.bin"), as: "a.bin") {
            (_, file) throws(Diagnostic) in try readAll(PyTorchCheckpoint(file).source)
        },
        model("llama_gqa"), model("deepseek_v3"), model("gemma3_text"), model("modernbert_seqcls"),
        FuzzInput(
            "model-safetensors", .fixture("models/llama_gqa/model.safetensors"), as: "model.safetensors", head: 3000,
            beside: ["config.json": "models/llama_gqa/config.json"]
        ) { (folder, _) throws(Diagnostic) in try readModel(folder) },
        FuzzInput(
            "shard-index", .fixture("models/qwen2_sharded/model.safetensors.index.json"),
            as: "model.safetensors.index.json", beside: shards
        ) { (folder, _) throws(Diagnostic) in try readModel(folder) },
        FuzzInput("tokenizer-bpe", .fixture("tokenizers/bytelevel_llama3/tokenizer.json"), as: "tokenizer.json") {
            (_, file) throws(Diagnostic) in use(try BaseFiles.tokenizer(at: file))
        },
        FuzzInput("tokenizer-unigram", .fixture("tokenizers/unigram_xlmr/tokenizer.json"), as: "tokenizer.json") {
            (_, file) throws(Diagnostic) in use(try BaseFiles.tokenizer(at: file))
        },
        FuzzInput("sentencepiece", .fixture("tokenizers/sentencepiece_unigram/tokenizer.model"), as: "tokenizer.model")
        {
            (_, file) throws(Diagnostic) in use(try BaseFiles.tokenizer(at: file))
        },
        FuzzInput("chat-template", .fixture("chat_templates/llama3_tools.jinja"), as: "chat_template.jinja") {
            (folder, _) throws(Diagnostic) in
            guard let template = try ChatTemplate.load(folder: folder) else { return }
            _ = try template.template.render(
                messages: .array([.object(["role": .string("user"), "content": .string("Straße \u{0} 東京")])]),
                variables: template.variables, addGenerationPrompt: true, now: try ChatClock("2025-03-14"))
        },
        FuzzInput(
            "adapter-config", .fixture("variants/patterns/adapter/adapter_config.json"), as: "adapter_config.json",
            beside: ["adapter_model.safetensors": "variants/patterns/adapter/adapter_model.safetensors"]
        ) { (folder, _) throws(Diagnostic) in
            let workspace = Workspace(threadCount: 1)
            let adapter = try PEFTAdapter(folder)
            let model = try BaseFiles(Fixture.path("models/llama_gqa")).makeModel(in: workspace)
            _ = try model.attach(adapter, trainable: false, in: workspace)
        },
        FuzzInput("recipe", .text(recipe), as: "recipe.yaml") {
            (_, file) throws(Diagnostic) in _ = try Recipe(path: file)
        },
        FuzzInput("csv", .text("id,text,label\n1,\"a, \"\"b\"\"\nc\",x\n2,d,y\n3,Straße,x\n"), as: "a.csv") {
            (_, file) throws(Diagnostic) in try readRecords(file)
        },
        FuzzInput(
            "jsonl", .text("{\"text\": \"a\\u00e9\", \"label\": 1}\n{\"text\": \"b\", \"label\": true}\n"),
            as: "a.jsonl"
        ) { (_, file) throws(Diagnostic) in try readRecords(file) },
        FuzzInput("checkpoint-manifest", .text(manifest), as: "checkpoints/step-000002/manifest.json") {
            (folder, _) throws(Diagnostic) in
            _ = FileManager.default.createFile(
                atPath: folder + "/checkpoints/step-000002/state.json", contents: Data("{}\n".utf8))
            defer { removeTree(folder + "/checkpoints") }
            _ = try CheckpointStore(inRun: folder, keeping: 2).newest { _, _ in }
        },
    ]

    private static func model(_ name: String) -> FuzzInput {
        FuzzInput(
            "config-\(name)", .fixture("models/\(name)/config.json"), as: "config.json",
            beside: ["model.safetensors": "models/\(name)/model.safetensors"]
        ) { (folder, _) throws(Diagnostic) in try readModel(folder) }
    }

    private static let shards = Dictionary(
        uniqueKeysWithValues: (1...5).map { number in
            let name = "model-0000\(number)-of-00005.safetensors"
            return (name, "models/qwen2_sharded/" + name)
        } + [("config.json", "models/qwen2_sharded/config.json")])

    private static let manifest = """
        {
          "format": 1,
          "step": 2,
          "files": {
            "state.json": {
              "bytes": 3,
              "sha256": "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"
            }
          }
        }

        """

    private static let recipe = """
        base: model.gguf
        base_name: example/tiny
        data:
          train: [a.csv, b.jsonl]
          where: { label: [x, y] }
          system: "Answer."
          prompt: "{text}"
          completion: "{label}"
        adapter: { rank: 4, alpha: 8, targets: [q_proj, v_proj], dropout: 0.1, peft: { use_dora: true } }
        train: { epochs: 2, learning_rate: 1e-2, batch_tokens: 512, max_length: 256, seed: 3, clip: none }
        evaluate: { data: a.csv, metric: exact-match, max_new_tokens: 4 }
        out: run

        """

    // MARK: - What is done with them

    private static func readAll(_ source: WeightSource) throws(Diagnostic) {
        for tensor in source.tensors where tensor.type.isConvertible { _ = try tensor.floats() }
    }

    private static func readModel(_ path: String) throws(Diagnostic) {
        let workspace = Workspace(threadCount: 1)
        let files = try BaseFiles(path)
        let model = try files.makeModel(in: workspace)
        if let tokenizer = try files.optionalTokenizer() { use(tokenizer) }
        _ = try files.chatTemplate()
        _ = try files.remoteCode()
        for tensor in files.weights.tensors where tensor.type.isConvertible { _ = try tensor.nonfiniteCount() }
        let batch = PackedBatch([Example(tokens: [0, 1, 2], weights: [0, 1, 1])], sharingPrefixes: false)
        _ = (model as? Decoder)?.trace(batch, paddedLength: nil, in: workspace)
    }

    private static func readRecords(_ path: String) throws(Diagnostic) {
        let mapping = RecordMapping(
            form: .texts(
                system: nil, prompt: try TextTemplate(parsing: "{text}"),
                completion: try TextTemplate(parsing: "{label}")))
        _ = try ConversationSet(
            files: [try RecordFile(path: path)], mapping: mapping, filter: RecordFilter(), requiringEveryValue: true)
    }

    private static func use(_ tokenizer: any TextTokenizer) {
        let text = "Straße 東京 <s>it's ﬁ\u{0} ①</s>"
        for trusts in [true, false] {
            let ids = tokenizer.encode(text, addingSpecialTokens: true, recognizingSpecialTokens: trusts)
            _ = tokenizer.decode(ids + [0, 1, -1, .max], skippingSpecialTokens: trusts)
        }
    }
}
