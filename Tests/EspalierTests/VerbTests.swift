import Foundation
import StrictJSON
import TestSupport
import Testing

/// The verbs that print facts, as scripts call them.
@Suite struct VerbTests {
    @Test func parityOfAFixtureAndOfATraining() throws {
        let model = Fixture.path("models/llama_gqa")
        let outcome = try CommandLine.run([
            "parity", "--base", model, "--expected", model + "/expected.safetensors", "--json",
        ])
        #expect(outcome.status == 0 && outcome.json?["ok"]?.bool == true, "\(outcome.errors)")
        let training = try CommandLine.run([
            "parity", "--base", model, "--adapter", model + "/lora", "--training", Fixture.path("training/llama_gqa"),
            "--json",
        ])
        #expect(training.status == 0 && training.json?["ok"]?.bool == true, "\(training.errors)")
        let wrong = try CommandLine.run([
            "parity", "--base", model, "--expected", Fixture.path("models/llama_rope_linear/expected.safetensors"),
        ])
        #expect(wrong.status == 65)
    }

    @Test func anEncoderIsInspectedAndComparedButDoesNotGenerate() throws {
        let model = Fixture.path("models/bert_tokcls")
        let facts = try CommandLine.run(["inspect", model, "--json"])
        #expect(facts.status == 0 && facts.json?["task"]?.string == "token classification", "\(facts.errors)")
        #expect(facts.json?["attention"]?.string == "bidirectional" && facts.json?["labels"]?.array?.count == 5)
        let parity = try CommandLine.run([
            "parity", "--base", model, "--adapter", model + "/lora", "--expected", model + "/lora_expected.safetensors",
            "--inputs", model + "/expected.safetensors", "--json",
        ])
        #expect(parity.status == 0 && parity.json?["ok"]?.bool == true, "\(parity.errors)")
        let text = try CommandLine.run(["generate", "--base", model, "--prompt", "Hi"])
        let recipe = try TinyRecipe()
        let training = try CommandLine.run(["train", recipe.path, "--set", "base=\(model)"])
        for refused in [text, training] {
            #expect(refused.status == 65 && refused.errors.contains("bert, an encoder for token classification"))
            #expect(refused.errors.split(separator: "\n").count == 1, "\(refused.errors)")
        }
        #expect(!FileManager.default.fileExists(atPath: recipe.folder.path("run")))
    }

    @Test func labelsThatAModelDoesNotHaveAreRefused() throws {
        let model = Fixture.path("models/bert_tokcls")
        for (other, part) in [("roberta_mlm", "labels"), ("llama_seqcls", "labels"), ("bert_seqcls", "labels")] {
            let outcome = try CommandLine.run([
                "parity", "--base", model, "--expected", Fixture.path("models/\(other)/expected.safetensors"),
            ])
            #expect(outcome.exited && outcome.status == 65 && outcome.errors.contains(part), "\(outcome.errors)")
        }
    }

    @Test func benchOfAStepIsOneDocument() throws {
        let outcome = try CommandLine.run([
            "bench", "step", "--rows", "1", "--tokens-per-row", "2", "--steps", "1", "--seconds", "0", "--json",
        ])
        let step = try #require(outcome.json, "\(outcome.errors)")
        #expect(outcome.status == 0)
        #expect(step["name"]?.string == "step" && step["model"]?.string == "smollm2-135m")
        #expect(step["rows"]?.integer == 1 && step["tokens_per_row"]?.integer == 2)
        #expect((step["tokens_per_second"]?.number ?? 0) > 0 && (step["peak_bytes"]?.integer ?? 0) > 0)
        for wrong in [["--model", "gpt-5"], ["--rows", "0"], ["--tokens-per-row", "1"], ["nothing"]] {
            #expect(try CommandLine.run(["bench", "step"] + wrong).status == 64, "\(wrong)")
        }
    }

    @Test func benchOfATokenizerIsOneDocument() throws {
        let folder = try TemporaryFolder()
        let text = try folder.write("Hello world\n\nGröße 2024\n", to: "text.txt")
        let base = Fixture.path("tokenizers/sentencepiece_bpe/tokenizer.model")
        let outcome = try CommandLine.run(["bench", "tokenizer", "--base", base, "--text", text, "--json"])
        let result = try #require(outcome.json, "\(outcome.errors)")
        #expect(outcome.status == 0 && result["name"]?.string == "tokenizer")
        #expect(result["text_bytes"]?.integer == 23 && result["vocabulary"]?.integer == 900)
        #expect((result["encode_bytes_per_second"]?.number ?? 0) > 0 && (result["load_seconds"]?.number ?? 0) > 0)
        #expect(try CommandLine.run(["bench", "tokenizer"]).status == 64)
        #expect(try CommandLine.run(["bench", "tokenizer", "--base", "/nonexistent"]).status == 66)
    }

    @Test func inspectReadsContentsUnlessToldNotTo() throws {
        let folder = try TemporaryFolder()
        let source = Fixture.path("models/llama_gqa")
        try FileManager.default.copyItem(
            atPath: source + "/model.safetensors", toPath: folder.path("model.safetensors"))
        let config = try String(contentsOfFile: source + "/config.json", encoding: .utf8)
        _ = try folder.write("{\"auto_map\": {\"AutoModel\": \"code.Model\"}, " + config.dropFirst(), to: "config.json")
        let read = try CommandLine.run(["inspect", folder.url.path, "--json"])
        #expect(read.status == 0 && read.json?["contents_read"]?.bool == true, "\(read.errors)")
        #expect(read.json?["not_finite"]?.integer == 0)
        #expect(read.json?["code_not_run"] == .array([.string("code.Model")]))
        // A value that is not finite is found where the contents are read, and only there.
        let file = folder.url.appending(path: "model.safetensors")
        var bytes = try Data(contentsOf: file)
        bytes.replaceSubrange(bytes.count - 4..<bytes.count, with: [0, 0, 0xC0, 0x7F])
        try bytes.write(to: file)
        let bad = try CommandLine.run(["inspect", folder.url.path, "--contents", "--json"])
        #expect(bad.status == 65)
        let unread = try CommandLine.run(["inspect", folder.url.path, "--no-contents", "--json"])
        #expect(unread.status == 0 && unread.json?["contents_read"]?.bool == false)
    }

    @Test func everyInstructionSetAgrees() throws {
        let model = Fixture.path("models/llama_gqa")
        for name in ["generic", "avx2", "avx512", "avx512-bf16"] {
            let outcome = try CommandLine.run(
                [
                    "parity", "--base", model, "--adapter", model + "/lora", "--tolerance", "1e-3", "--expected",
                    model + "/lora_expected.safetensors", "--inputs", model + "/expected.safetensors",
                ],
                environment: ["ESPALIER_ISA": name])
            #expect(outcome.status == 0, "\(name): \(outcome.output)")
        }
    }

    @Test func tokenizeAGGUFAndATokenizerFile() throws {
        let vectors = try JSONValue(parsing: Array(Fixture.data("gguf/tiny_llama_tokens.json")))
        let entries = try #require(vectors["vectors"]?.array)
        let lines = entries.map { JSONValue.object(["text": $0["text"]!]).serialized() }
        let outcome = try CommandLine.run(
            ["tokenize", "--tokenizer", Fixture.path("gguf/tiny_llama.gguf")],
            input: lines.joined(separator: "\n") + "\n")
        #expect(outcome.status == 0, "\(outcome.errors)")
        let answers = outcome.output.split(separator: "\n", omittingEmptySubsequences: true)
        #expect(answers.count == entries.count)
        for (entry, answer) in zip(entries, answers) {
            let answer = try JSONValue(parsing: String(answer))
            #expect(answer["ids_plain"] == entry["ids"])
        }
    }

    @Test func renderAConversation() throws {
        let document = try JSONValue(parsing: Array(Fixture.data("chat_templates/chatml.json")))
        let entry = document["cases"]?.array?.first ?? document["conversations"]?.array?.first ?? document.array?.first
        #expect(entry != nil)
        let outcome = try CommandLine.run(
            ["render", "--template", Fixture.path("chat_templates/chatml.jinja"), "--now", "2025-03-14T09:26:53"],
            input: #"{"messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": true}"# + "\n")
        #expect(outcome.status == 0, "\(outcome.errors)")
        #expect(try JSONValue(parsing: outcome.output)["rendered"]?.string?.contains("Hi<|im_end|>") == true)
    }

    @Test func planPreviewAndDoctor() throws {
        let recipe = try TinyRecipe()
        let plan = try CommandLine.run(["plan", recipe.path, "--json"])
        #expect(plan.status == 0, "\(plan.errors)")
        #expect(plan.json?["rows"]?.integer == 6 && plan.json?["trainable_parameters"]?.integer ?? 0 > 0)
        #expect(plan.json?["predicted_peak_bytes"]?.integer ?? 0 > 0)
        let preview = try CommandLine.run(["preview", recipe.path, "--rows", "2"])
        #expect(preview.status == 0 && preview.output.contains("[") && preview.output.contains("learned"))
        #expect(preview.output.contains("rows that learn to stop: 6 of 6"))
        let doctor = try CommandLine.run(["doctor", "--json"])
        #expect(doctor.json?["threads"]?.integer ?? 0 > 0)
        #expect(!FileManager.default.fileExists(atPath: recipe.folder.path("run")))
    }
}
