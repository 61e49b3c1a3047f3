import Formats
import Foundation
import StrictJSON
import TestSupport
import Testing

/// Kinds of error that other tests meet by their exit status alone: each cause gives its own code.
@Suite struct ErrorCauseTests {
    private let recipe: TinyRecipe
    private var folder: TemporaryFolder { recipe.folder }

    init() throws { recipe = try TinyRecipe() }

    private func expect(
        _ code: String, _ arguments: [String], input: String = "", sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let outcome = try CommandLine.run(arguments, input: input)
        #expect(
            outcome.exited && outcome.errors.contains("error[\(code)]"), "\(outcome.errors.suffix(400))",
            sourceLocation: sourceLocation)
    }

    private static let tokenizer = #"{"model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":[]},"added_tokens":[]}"#

    @Test(arguments: [
        ("E-TOKENIZER-STRUCTURE", #"{"type":"BPE""#, #"{"type":5"#), ("E-TOKENIZER-VOCABULARY", #""b":1"#, #""b":-1"#),
        ("E-TOKENIZER-MERGES", #""merges":[]"#, #""merges":["a c"]"#),
        (
            "E-TOKENIZER-ADDED-TOKEN", #""added_tokens":[]"#,
            #""added_tokens":[{"id":2,"content":"","special":true,"lstrip":false,"rstrip":false,"single_word":false,"normalized":false}]"#
        ),
        (
            "E-TOKENIZER-CHARACTER-MAP", #""added_tokens""#,
            #""normalizer":{"type":"Precompiled","precompiled_charsmap":"AQ=="},"added_tokens""#
        ),
    ])
    func tokenizers(code: String, what: String, change: String) throws {
        let whole = try folder.write(Self.tokenizer, to: "whole/tokenizer.json")
        #expect(try CommandLine.run(["tokenize", "--tokenizer", whole], input: "").status == 0)
        let text = Self.tokenizer.replacing(what, with: change)
        #expect(text != Self.tokenizer)
        try expect(code, ["tokenize", "--tokenizer", try folder.write(text, to: "changed/tokenizer.json")])
    }

    @Test func tokenizerFiles() throws {
        try expect(
            "E-TOKENIZER-SENTENCEPIECE",
            ["tokenize", "--tokenizer", try folder.write("\u{1}no protobuf", to: "tokenizer.model")])
        #expect(mkfifo(folder.path("tokenizer.json"), 0o600) == 0)
        try expect("E-TOKENIZER-READ", ["tokenize", "--tokenizer", folder.path("tokenizer.json")])
    }

    @Test func models() throws {
        try FileManager.default.copyItem(atPath: Fixture.path("models/llama_gqa"), toPath: folder.path("model"))
        let config = try String(contentsOfFile: folder.path("model/config.json"), encoding: .utf8)
        _ = try folder.write(
            config.replacing(/"num_hidden_layers": \d+/, with: "\"num_hidden_layers\": 0"), to: "model/config.json")
        try expect("E-MODEL-CONFIG", ["inspect", folder.path("model")])
        try expect("E-PROMPT", ["tokenize", "--tokenizer", Fixture.path("gguf/tiny_llama.gguf")], input: "{}\n")
        try FileManager.default.copyItem(atPath: Fixture.path("models/llama_gqa/lora"), toPath: folder.path("lora"))
        _ = try folder.write("{\"base_weights_sha256\": \"x\"}", to: "lora/espalier.json")
        try expect(
            "E-ADAPTER-ORIGIN",
            [
                "merge", "--base", Fixture.path("models/llama_gqa"), "--adapter", folder.path("lora"), "--out",
                folder.path("merged"),
            ])
    }

    @Test func recipes() throws {
        try expect("E-RECIPE-SET", ["train", recipe.path, "--set", "nonsense"])
        try expect("E-RECIPE-MEMORY", ["train", recipe.path, "--max-memory", "1MiB"])
        #expect(!FileManager.default.fileExists(atPath: folder.path("run")))
    }

    @Test func runs() throws {
        _ = try folder.write("{}", to: "old/run.json")
        try expect("E-RUN-CHECKPOINT", ["replay", folder.path("old")])
        try expect("E-RUN-MISSING", ["replay", folder.path("none")])
        // A weight that is no number: so is the first loss.
        let whole = try GGUFFile(Fixture.path("gguf/tiny_llama.gguf"))
        let norm = try #require(whole.tensors.first { $0.name == "output_norm.weight" && $0.type == .f32 })
        let start = try #require(whole.file.bytes.baseAddress)
        let offset = try #require(norm.bytes.baseAddress) - start
        var bytes = Data(whole.file.bytes)
        bytes.replaceSubrange(offset..<offset + 4, with: [0, 0, 0xC0, 0x7F])
        try bytes.write(to: folder.url.appending(path: "base.gguf"))
        try expect("E-TRAIN-DIVERGED", ["train", recipe.path, "--set", "base=base.gguf"])
        #expect(!FileManager.default.fileExists(atPath: folder.path("run/adapter")))
    }

    @Test func comparisons() throws {
        let model = Fixture.path("models/llama_gqa")
        try expect(
            "E-PARITY-INPUTS", ["parity", "--base", model, "--expected", model + "/model.safetensors"])
        try expect(
            "E-PARITY",
            ["parity", "--base", model, "--expected", model + "/expected.safetensors", "--tolerance", "0"])
    }
}
