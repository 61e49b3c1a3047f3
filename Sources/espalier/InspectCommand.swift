import ArgumentParser
import Autograd
import Diagnostics
import Formats
import Models
import NN
import StrictJSON
import Tokenization

struct InspectCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "inspect", abstract: "Say what a file or folder is and holds, after checking all of it.",
        discussion: """
            Example:
              espalier inspect models/smollm2-135m-instruct/model.gguf

            Knows model folders, safetensors, GGUF and adapter folders. Exits with 65 for what is damaged or of an
            architecture that is not supported. Up to 4 GiB of weights are also read, for values that are not finite
            and for their digest; of more only with --contents. Code that a config names is never run.
            """)

    @Argument(help: "A model folder, a .safetensors file, a GGUF file or an adapter folder.")
    var path: String

    @Flag(help: "List every tensor.")
    var tensors = false

    @Flag(inversion: .prefixedNo, help: "Read all weights, or none; if not given, up to 4 GiB.")
    var contents: Bool?

    @OptionGroup var output: JSONOption

    private static let readUnasked = 4 << 30

    private func reads(_ source: WeightSource) -> Bool { contents ?? (source.byteCount <= Self.readUnasked) }

    func run() throws {
        var facts = JSONObject()
        let source: WeightSource
        let kind = try PathKind(ofPath: path)
        facts["path"] = .string(path)
        facts["kind"] = .string(kind.rawValue)
        switch kind {
        case .modelFolder, .gguf:
            let files = try BaseFiles(path)
            source = files.weights
            // Building the model checks that every tensor is there, has its shape, and has a place.
            let model = try files.makeModel(in: Workspace(threadCount: 1))
            try describe(files, model, into: &facts)
        case .adapterFolder:
            let adapter = try PEFTAdapter(path)
            source = adapter.tensors
            facts["rank"] = .integer(adapter.config.r)
            facts["alpha"] = .number(adapter.config.alpha)
            facts["modules"] = .integer(adapter.modules.count)
            facts["trained_in_full"] = .array(
                adapter.fullTensors.filter { !$0.isCopyOfBase }.map { .string($0.name) })
            facts["base"] = adapter.config.baseModel.map(JSONValue.string) ?? .null
        default: source = try WeightSource.open(path)
        }
        try describe(source, into: &facts)
        if output.json {
            try Console.write(.object(facts))
        } else {
            for (key, value) in facts.members where key != "tensors" {
                let shown = value.string ?? value.serialized()
                let name = key.replacing("_", with: " ")
                try Console.write(name + String(repeating: " ", count: max(1, 22 - name.count)) + escaped(shown))
            }
            guard tensors else { return }
            for tensor in source.tensors {
                try Console.write("\(escaped(tensor.name))  \(tensor.type.rawValue)  \(tensor.shape)")
            }
        }
    }

    private func describe(
        _ files: BaseFiles, _ model: any LanguageModel, into facts: inout JSONObject
    ) throws(Diagnostic) {
        let spec = files.spec
        facts["architecture"] = .string(spec.architecture)
        facts["attention"] = .string(spec.isCausal ? "causal" : "bidirectional")
        facts["task"] = .string(spec.task?.kind.rawValue ?? "next token")
        if let labels = spec.task?.labels, !labels.isEmpty { facts["labels"] = .array(labels.map { .string($0) }) }
        facts["layers"] = .integer(spec.layers.count)
        facts["hidden"] = .integer(spec.hidden)
        facts["heads"] = .integer(spec.heads)
        facts["key_value_heads"] = .integer(spec.keyValueHeads)
        facts["head_dim"] = .integer(spec.headDim)
        facts["feed_forward"] = .integer(spec.feedForward)
        facts["vocabulary"] = .integer(spec.vocabulary)
        facts["context"] = .integer(spec.maximumPositions)
        facts["tied_head"] = .bool(spec.isTied)
        facts["parameters"] = .integer(model.parameterCount)
        facts["license"] = try files.license().map(JSONValue.string) ?? .null
        let tokenizer = try files.optionalTokenizer()
        facts["tokenizer"] = tokenizer.map { .integer($0.vocabularyCount) } ?? .null
        if let template = try files.chatTemplate() {
            facts["chat_template"] = .string("\(template.template.source.utf8.count) bytes")
        } else {
            facts["chat_template"] = .null
        }
        let code = try files.remoteCode()
        if !code.isEmpty { facts["code_not_run"] = .array(code.map { .string($0) }) }
        if tokenizer != nil, reads(files.weights) {
            let digests = try BaseDigests(files)
            facts["weights_sha256"] = .string(digests.weights)
            facts["tokenizer_sha256"] = .string(digests.tokenizer)
            facts["chat_template_sha256"] = digests.template.map(JSONValue.string) ?? .null
        }
    }

    private func describe(_ source: WeightSource, into facts: inout JSONObject) throws(Diagnostic) {
        var types: [String: Int] = [:]
        for tensor in source.tensors { types[tensor.type.rawValue, default: 0] += 1 }
        facts["tensor_count"] = .integer(source.tensors.count)
        facts["bytes"] = .integer(source.byteCount)
        facts["types"] = .object(JSONObject(types.sorted { $0.key < $1.key }.map { ($0.key, .integer($0.value)) }))
        facts["contents_read"] = .bool(reads(source))
        facts["tensors"] = .array(
            source.tensors.map {
                .object([
                    "name": .string($0.name), "type": .string($0.type.rawValue),
                    "shape": .array($0.shape.map { .integer($0) }), "bytes": .integer($0.bytes.count),
                ])
            })
        guard reads(source) else { return }
        var bad: [(String, Int)] = []
        for tensor in source.tensors where tensor.type.isConvertible {
            let count = try tensor.nonfiniteCount()
            if count > 0 { bad.append((tensor.name, count)) }
        }
        facts["not_finite"] = .integer(bad.reduce(0) { $0 + $1.1 })
        if let (name, count) = bad.first {
            throw Diagnostic(
                ModelsCode.tensor, file: path, at: "tensor \"\(name)\"",
                found: "\(count) values that are NaN or infinite",
                expected: "finite values", fix: "Download the file again")
        }
    }
}
