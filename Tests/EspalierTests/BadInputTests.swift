import Foundation
import StrictJSON
import TestSupport
import Testing

/// What a user can get wrong: each ends in the error form and the exit status of the command line's contract, before
/// anything is written.
@Suite struct BadInputTests {
    func expectRefused(
        _ arguments: [String], status: Int32, _ parts: [String], recipe: TinyRecipe? = nil,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let outcome = try CommandLine.run(arguments)
        #expect(outcome.exited && outcome.status == status, "\(outcome.errors)", sourceLocation: sourceLocation)
        #expect(outcome.errors.hasPrefix("error[E-"), "\(outcome.errors)", sourceLocation: sourceLocation)
        #expect(outcome.errors.split(separator: "\n").count == 1, "\(outcome.errors)", sourceLocation: sourceLocation)
        for part in parts {
            #expect(outcome.errors.contains(part), "\(outcome.errors)", sourceLocation: sourceLocation)
        }
        if let recipe {
            #expect(!FileManager.default.fileExists(atPath: recipe.folder.path("run")), sourceLocation: sourceLocation)
        }
    }

    @Test func aModelThatIsMissing() throws {
        let recipe = try TinyRecipe()
        try expectRefused(
            ["train", recipe.path, "--set", "base=nowhere.gguf"], status: 66, ["nowhere.gguf"], recipe: recipe)
    }

    @Test func aModelThatIsTruncated() throws {
        let recipe = try TinyRecipe()
        let whole = try Fixture.data("gguf/tiny_llama.gguf")
        for count in [10, 3000, whole.count - 1] {
            try whole.prefix(count).write(to: recipe.folder.url.appending(path: "cut.gguf"))
            try expectRefused(
                ["train", recipe.path, "--set", "base=cut.gguf"], status: 65, ["cut.gguf"], recipe: recipe)
        }
    }

    @Test func aTensorThatEndsBehindItsFile() throws {
        let folder = try TemporaryFolder()
        let source = Fixture.path("models/llama_gqa")
        try FileManager.default.copyItem(atPath: source, toPath: folder.path("model"))
        let file = folder.url.appending(path: "model/model.safetensors")
        let bytes = try Data(contentsOf: file)
        try bytes.dropLast(4).write(to: file)
        try expectRefused(["inspect", folder.path("model")], status: 65, ["model.safetensors", "tensor"])
    }

    @Test func anUnknownArchitectureNamesWhatIsSupported() throws {
        let folder = try TemporaryFolder()
        try FileManager.default.copyItem(atPath: Fixture.path("models/llama_gqa"), toPath: folder.path("model"))
        let config = try String(contentsOfFile: folder.path("model/config.json"), encoding: .utf8)
        _ = try folder.write(config.replacing("\"llama\"", with: "\"mamba\""), to: "model/config.json")
        try expectRefused(
            ["inspect", folder.path("model")], status: 65, ["config.json", "mamba", "llama, mistral"])
    }

    @Test func anUnknownKeyNamesLineColumnAndTheNearestKey() throws {
        let recipe = try TinyRecipe(extra: "trian: { epochs: 1 }")
        try expectRefused(
            ["plan", recipe.path], status: 78, ["recipe.yaml", "line 13, column 1", "train"], recipe: recipe)
        let other = try TinyRecipe()
        try expectRefused(
            ["train", other.path, "--set", "train.lerning_rate=1"], status: 78, ["learning_rate"], recipe: other)
    }

    @Test func raggedRows() throws {
        let recipe = try TinyRecipe(records: "text,category\na,b\na,b,c")
        try expectRefused(["train", recipe.path], status: 65, ["train.csv", "line 3"], recipe: recipe)
    }

    @Test func anEmptyCompletion() throws {
        let recipe = try TinyRecipe(records: "text,category\nhello there,x\nhello,")
        try expectRefused(["train", recipe.path], status: 65, ["train.csv", "line 3"], recipe: recipe)
    }

    @Test func aRowThatIsTooLong() throws {
        let secret = "confidential words of a customer "
        let recipe = try TinyRecipe(
            records: "text,category\nhello,x\n" + String(repeating: secret, count: 60) + ",y")
        let outcome = try CommandLine.run(["train", recipe.path])
        #expect(outcome.status == 65 && outcome.errors.contains("line 3") && outcome.errors.contains("256"))
        #expect(!outcome.errors.contains("confidential"))
    }

    @Test func targetsThatMatchNothing() throws {
        let recipe = try TinyRecipe()
        try expectRefused(
            ["plan", recipe.path, "--set", "adapter.targets=[q_porj]"], status: 78, ["q_porj", "q_proj"],
            recipe: recipe)
        let outcome = try CommandLine.run(["train", recipe.path, "--set", "adapter.targets=[q_porj]"])
        #expect(outcome.status == 78)
        #expect(!FileManager.default.fileExists(atPath: recipe.folder.path("run")))
    }

    @Test func anAdapterOfAnotherBase() throws {
        try expectRefused(
            [
                "generate", "--base", Fixture.path("gguf/tiny_llama.gguf"), "--raw", "--prompt", "x", "--adapter",
                Fixture.path("models/llama_tied_mqa/lora"),
            ], status: 65, ["module", "base model"])
    }

    @Test func jsonHasTheSameFacts() throws {
        let outcome = try CommandLine.run(["inspect", "/nonexistent/model.gguf", "--json"])
        #expect(outcome.status == 66)
        #expect(outcome.json?["error"]?["code"]?.string?.hasPrefix("E-") == true)
        #expect(outcome.json?["error"]?["exit"]?.integer == 66)
    }

    @Test func usageIs64() throws {
        for arguments in [["train"], ["generate", "--base", "x"], ["frobnicate"], ["train", "x", "--threads", "0"]] {
            #expect(try CommandLine.run(arguments).status == 64, "\(arguments)")
        }
    }

    @Test func everyVerbHasHelpWithAnExample() throws {
        for verb in [
            "doctor", "inspect", "plan", "preview", "train", "evaluate", "generate", "tokenize", "render", "parity",
        ] {
            let outcome = try CommandLine.run([verb, "--help"])
            #expect(outcome.status == 0 && outcome.output.contains("espalier \(verb)"), "\(verb)")
        }
    }
}
