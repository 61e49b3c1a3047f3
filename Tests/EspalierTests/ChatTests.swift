import Foundation
import TestSupport
import Testing

/// A conversation from a pipe: what is answered, what commands do.
@Suite struct ChatTests {
    private static let base = Fixture.path("gguf/tiny_llama.gguf")

    private func chat(_ lines: [String], _ extra: [String] = []) throws -> CommandLine.Outcome {
        try CommandLine.run(
            ["chat", "--base", Self.base, "--max-tokens", "8"] + extra, input: lines.map { $0 + "\n" }.joined())
    }

    private func generated(_ prompt: String, _ extra: [String] = []) throws -> String {
        try CommandLine.run(
            ["generate", "--base", Self.base, "--max-tokens", "8", "--prompt", prompt] + extra
        ).output
    }

    @Test func anAnswerIsThatOfGenerate() throws {
        let outcome = try chat(["Where is my card", "", "/clear", "Hello", "/again", "/exit", "never read"])
        #expect(outcome.status == 0)
        let (card, hello) = (try generated("Where is my card"), try generated("Hello"))
        #expect(outcome.output == card + hello + hello)
        #expect(outcome.errors.split(separator: "\n").count { $0.contains("tokens read in") } == 3)
        #expect(!outcome.output.contains("\u{1B}") && !outcome.errors.contains("\u{1B}"))
    }

    @Test func historyAndSystemPromptCount() throws {
        let alone = try chat(["Hello"]).output
        let after = try chat(["Where is my card", "Hello"]).output
        #expect(!after.hasSuffix("\n" + alone) || after == alone)
        let told = try chat(["Hello"], ["--system", "Answer with the intent, please, and nothing else."])
        #expect(told.errors != (try chat(["Hello"]).errors) && told.status == 0)
    }

    @Test func theAdapterGoesOffAndOn() throws {
        let recipe = try TinyRecipe()
        #expect(try CommandLine.run(["train", recipe.path, "--set", "train.epochs=30"]).status == 0)
        let adapter = ["--adapter", recipe.folder.path("run/adapter")]
        let outcome = try chat(["Where is my card", "/adapter off", "/again", "/adapter on", "/again"], adapter)
        let (with, without) = (try generated("Where is my card", adapter), try generated("Where is my card"))
        #expect(with != without && outcome.output == with + without + with, "\(outcome.errors)")
        #expect(try chat(["/adapter off"]).errors.contains("no adapter"))
        #expect(try chat(["/nonsense", "/system"]).status == 0)
    }

    /// One byte of a weight: the adapter is refused, on every verb, unless told otherwise.
    @Test func anotherBaseIsRefused() throws {
        let recipe = try TinyRecipe()
        #expect(try CommandLine.run(["train", recipe.path]).status == 0)
        let adapter = recipe.folder.path("run/adapter")
        var bytes = try Fixture.data("gguf/tiny_llama.gguf")
        bytes[bytes.count - 100] ^= 1
        let base = recipe.folder.url.appending(path: "other.gguf")
        try bytes.write(to: base)
        for arguments in [
            ["generate", "--base", base.path, "--adapter", adapter, "--prompt", "x"],
            ["chat", "--base", base.path, "--adapter", adapter],
            ["merge", "--base", base.path, "--adapter", adapter, "--out", recipe.folder.path("merged.gguf")],
            ["evaluate", recipe.path, "--set", "base=\(base.path)", "--adapter", adapter],
        ] {
            let refused = try CommandLine.run(arguments)
            #expect(refused.status == 77 && refused.errors.contains("error[E-ADAPTER-BASE]"), "\(refused.errors)")
            #expect(refused.errors.contains("other weights") && refused.output.isEmpty)
            let allowed = try CommandLine.run(arguments + ["--allow-other-base"])
            #expect(allowed.status == 0 && allowed.errors.contains("warning: a base with other weights"))
        }
    }
}
