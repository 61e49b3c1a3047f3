import Autograd
import Diagnostics
import Formats
import Foundation
import Models
import StrictJSON
import TestSupport
import Testing

/// Model folders and GGUF files whose settings are wrong or contradict the weights: each ends in an error with status 65
/// that names the file and the place, none in a trap, and none allocates what it asks for.
@Suite struct HostileBaseTests {
    let workspace = Workspace(threadCount: 1)

    /// Loads all that `espalier inspect` loads.
    private func load(_ path: String) throws(Diagnostic) {
        let files = try BaseFiles(path)
        _ = try files.makeModel(in: workspace)
        _ = try files.optionalTokenizer()
        _ = try files.chatTemplate()
        _ = try files.remoteCode()
        _ = try files.license()
    }

    private func expectRefused(
        _ folder: TemporaryFolder, _ rule: String, sourceLocation: SourceLocation = #_sourceLocation
    ) {
        let error = #expect(throws: Diagnostic.self, "\(rule)", sourceLocation: sourceLocation) {
            try load(folder.url.path)
        }
        guard let error else { return }
        #expect(error.code.exit == .badData && error.file != nil, "\(rule): \(error)", sourceLocation: sourceLocation)
    }

    // MARK: config.json

    /// A folder of llama_gqa with another config; nil as a value removes the key.
    private func folder(_ change: (inout String) -> Void) throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        let source = Fixture.path("models/llama_gqa")
        try FileManager.default.createSymbolicLink(
            atPath: folder.path("model.safetensors"), withDestinationPath: source + "/model.safetensors")
        var text = try String(contentsOfFile: source + "/config.json", encoding: .utf8)
        change(&text)
        _ = try folder.write(text, to: "config.json")
        return folder
    }

    private func folder(_ key: String, _ value: String?) throws -> TemporaryFolder {
        try folder { text in
            var object = (try? JSONValue(parsing: text))?.object ?? JSONObject()
            object[key] = nil
            let rest = JSONValue.object(object).serialized()
            text = value.map { #"{"\#(key)": \#($0), "# + rest.dropFirst() } ?? rest
        }
    }

    static let extents = [
        "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size",
        "vocab_size", "max_position_embeddings",
    ]
    static let noExtents = [
        "0", "-1", "0.5", "1e30", "1e999", "9223372036854775807", "9223372036854775808", "\"64\"", "[64]", "{}", "true",
    ]

    @Test(arguments: extents) func refusesExtentsThatAreNone(_ key: String) throws {
        for value in Self.noExtents where !(key == "max_position_embeddings" && value == "9223372036854775807") {
            expectRefused(try folder(key, value), "\(key) \(value)")
        }
        // Other weights than these belong to it.
        guard key != "max_position_embeddings" else { return }
        for value in ["1", "7", "63", "129", "65536", "2147483647"] {
            expectRefused(try folder(key, value), "\(key) \(value)")
        }
    }

    static let configs: [(key: String, value: String?)] = [
        ("hidden_size", nil), ("num_hidden_layers", nil), ("num_attention_heads", nil), ("intermediate_size", nil),
        ("vocab_size", nil), ("model_type", nil), ("model_type", "\"no_such_model\""), ("model_type", "7"),
        ("model_type", "\"bert\""), ("num_hidden_layers", "2"), ("num_hidden_layers", "4"),
        ("num_key_value_heads", "3"), ("num_key_value_heads", "8"), ("head_dim", "15"), ("head_dim", "8"),
        ("head_dim", "-2"), ("head_dim", "1e18"), ("rope_theta", "0"), ("rope_theta", "-1"), ("rope_theta", "1e999"),
        ("rope_theta", "\"1e4\""), ("rope_theta", "NaN"), ("rope_scaling", "{\"type\": \"odd\", \"factor\": 2}"),
        ("rope_scaling", "{\"type\": \"linear\"}"), ("rope_scaling", "{\"type\": \"linear\", \"factor\": 0}"),
        ("rope_scaling", "{\"type\": \"linear\", \"factor\": -4}"), ("rope_scaling", "\"linear\""),
        ("rope_scaling", "[1]"), ("rope_scaling", "{\"rope_type\": 3, \"factor\": 2}"),
        ("rope_scaling", "{\"rope_type\": \"llama3\", \"factor\": 2, \"low_freq_factor\": 4}"),
        (
            "rope_scaling",
            "{\"rope_type\": \"longrope\", \"short_factor\": [1], \"long_factor\": [1], \"factor\": 2}"
        ),
        ("rope_scaling", "{\"rope_type\": \"yarn\", \"factor\": 1e999}"), ("rms_norm_eps", "-1"),
        ("rms_norm_eps", "\"x\""), ("rms_norm_eps", "1e999"), ("hidden_act", "\"odd\""), ("hidden_act", "3"),
        ("attention_bias", "true"), ("attention_bias", "1"), ("mlp_bias", "true"), ("tie_word_embeddings", "\"yes\""),
        ("quantization_config", "{\"quant_method\": \"gptq\", \"bits\": 4}"),
        ("quantization_config", "{\"quant_method\": \"unheard-of\"}"),
    ]

    @Test(arguments: configs.indices) func refusesConfigs(_ index: Int) throws {
        let (key, value) = Self.configs[index]
        expectRefused(try folder(key, value), "\(key) \(value ?? "missing")")
    }

    static let documents: [(rule: String, change: @Sendable (inout String) -> Void)] = [
        ("empty", { $0 = "" }), ("no object", { $0 = "[]" }), ("byte-order mark", { $0 = "\u{FEFF}" + $0 }),
        ("cut short", { $0 = String($0.dropLast(3)) }), ("trailing comma", { $0 = $0.dropLast(2) + ",}" }),
        ("a key twice", { $0 = "{\"hidden_size\": 64, " + $0.dropFirst() }), ("garbage behind", { $0 += "x" }),
        ("NaN", { $0 = "{\"x\": NaN, " + $0.dropFirst() }),
        ("deep", { $0 = "{\"x\": " + String(repeating: "[", count: 100_000) + $0.dropFirst() }),
        ("17 megabytes", { $0 = "{\"x\": \"" + String(repeating: "y", count: 17 << 20) + "\", " + $0.dropFirst() }),
    ]

    @Test(arguments: documents.indices) func refusesDocuments(_ index: Int) throws {
        expectRefused(try folder(Self.documents[index].change), Self.documents[index].rule)
    }

    @Test func takesWhatDoesNotMatter() throws {
        let stops = "[" + (0..<1_000_000).map { "\($0 % 320)" }.joined(separator: ",") + "]"
        for (key, value) in [
            ("torch_dtype", "\"float99\""), ("eos_token_id", stops), ("unknown_key", "{\"a\": []}"),
            ("auto_map", "{\"AutoModel\": \"modeling_x.Model\", \"AutoConfig\": [\"a.B\", null]}"),
            ("quantization_config", "null"), ("rope_scaling", "null"),
        ] {
            let folder = try folder(key, value)
            #expect(throws: Never.self, "\(key)") { try load(folder.url.path) }
        }
    }

    @Test func namesCodeThatIsNotRun() throws {
        let folder = try folder("auto_map", "{\"AutoModel\": \"modeling_x.Model\", \"AutoConfig\": [\"a.B\", null]}")
        _ = try folder.write("{\"auto_map\": {\"AutoTokenizer\": [\"tok.T\", null]}}", to: "tokenizer_config.json")
        #expect(try BaseFiles(folder.url.path).remoteCode() == ["a.B", "modeling_x.Model", "tok.T"])
        #expect(try BaseFiles(Fixture.path("models/llama_gqa")).remoteCode().isEmpty)
    }

    @Test func refusesAHeadThatIsNotThere() throws {
        let folder = try TemporaryFolder()
        let source = Fixture.path("models/llama_tied_mqa")
        try FileManager.default.createSymbolicLink(
            atPath: folder.path("model.safetensors"), withDestinationPath: source + "/model.safetensors")
        let text = try String(contentsOfFile: source + "/config.json", encoding: .utf8)
        let untied = text.replacing("\"tie_word_embeddings\": true", with: "\"tie_word_embeddings\": false")
        #expect(untied != text)
        _ = try folder.write(untied, to: "config.json")
        expectRefused(folder, "untied without a head")
    }

    /// Ids beyond the embedding would be read from behind it.
    @Test func refusesATokenizerWithMoreTokensThanTheEmbedding() throws {
        for name in ["bytelevel_qwen2/tokenizer.json", "sentencepiece_bpe/tokenizer.model"] {
            let folder = try folder { _ in }
            let file = String(name.split(separator: "/")[1])
            try FileManager.default.copyItem(
                atPath: Fixture.path("tokenizers/" + name), toPath: folder.path(file))
            expectRefused(folder, name)
        }
    }

    @Test func refusesIdsBeyondTheEmbeddingThatOnlyAPostProcessorHas() throws {
        for (id, isGood) in [(319, true), (320, false), (4_000_000, false)] {
            let folder = try folder { _ in }
            _ = try folder.write(
                """
                {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "post_processor": {
                 "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                 {"Sequence": {"id": "A", "type_id": 0}}], "special_tokens": {"<s>": {"id": "<s>", "ids": [\(id)]}}}}
                """, to: "tokenizer.json")
            if isGood {
                #expect(throws: Never.self) { try load(folder.url.path) }
            } else {
                expectRefused(folder, "id \(id)")
            }
        }
    }

    @Test func refusesADamagedTokenizerOrTemplate() throws {
        for (name, text) in [
            ("tokenizer.json", "{"), ("tokenizer.model", "x"), ("chat_template.jinja", "{% for %}"),
            ("tokenizer_config.json", "{\"chat_template\": \"{{ x |\"}"), ("tokenizer_config.json", "[]"),
        ] {
            let folder = try folder { _ in }
            _ = try folder.write(text, to: name)
            expectRefused(folder, "\(name) \(text)")
        }
    }
}
