import ArgumentParser
import Autograd
import Datasets
import Diagnostics
import Formats
import Models
import Recipes
import StrictJSON
import Tokenization

struct GenerateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "generate", abstract: "Write the model's answer to a prompt.",
        discussion: """
            Example:
              espalier generate --base models/smollm2-135m-instruct/model.gguf --adapter runs/first/adapter \\
                --prompt "My card has not arrived yet."

            stdout is the generated text and a newline, nothing else.
            """)

    @Option(help: "The base: a model folder or a GGUF file.")
    var base: String

    @OptionGroup var adapter: AdapterOptions

    @Option(help: "What the user says; a base with a chat template gets it as one user message.")
    var prompt: String?

    @Option(help: "A JSON file with an array of {role, content}.")
    var messages: String?

    @Flag(help: "Continue --prompt as plain text, without the chat template.")
    var raw = false

    @Option(help: "The most tokens to generate.")
    var maxTokens = 256

    @Option(help: "0 takes the likeliest token; higher values draw more freely.")
    var temperature: Float = 0

    @Option(help: "Draw only from the likeliest tokens that together have this probability.")
    var topP: Float = 1

    @Option(help: "The seed of the drawing.")
    var seed: UInt64 = 0

    @OptionGroup var threads: ThreadOptions

    func validate() throws {
        if (prompt == nil) == (messages == nil) { throw ValidationError("give either --prompt or --messages") }
        if raw, messages != nil { throw ValidationError("--raw goes with --prompt") }
        if !(1...1_000_000).contains(maxTokens) { throw ValidationError("--max-tokens takes 1 to 1000000") }
        if !(temperature >= 0 && temperature.isFinite) { throw ValidationError("--temperature takes 0 or more") }
        if !(topP > 0 && topP <= 1) { throw ValidationError("--top-p takes more than 0, at most 1") }
    }

    func run() throws {
        let workspace = threads.workspace()
        let model = try BaseModel(base, encoding: adapter.encoding(), in: workspace)
        if let path = adapter.adapter {
            let saved = try adapter.open(path, for: model.files)
            _ = try model.decoder.attach(saved, trainable: false, in: workspace)
        }
        let ids = try promptTokens(model)
        guard !ids.isEmpty else {
            throw Diagnostic(ModelsCode.prompt, found: "a prompt without tokens", expected: "some text")
        }
        try model.decoder.spec.checkPrompt(ids)
        let generator = Generator(model.decoder, in: workspace)
        let tokens = generator.generate(
            [ids], maximumTokens: maxTokens, stopTokens: model.stopTokens,
            sampling: Sampling(temperature: temperature, topP: topP, seed: seed))[0]
        try Console.write(model.tokenizer.decode(tokens, skippingSpecialTokens: true))
    }

    private func promptTokens(_ model: BaseModel) throws(Diagnostic) -> [Int32] {
        if raw, let prompt {
            return model.tokenizer.encode(prompt, addingSpecialTokens: true, recognizingSpecialTokens: false)
        }
        let encoder = ExampleEncoder(
            tokenizer: model.tokenizer, renderer: model.renderer, stopTokens: model.stopTokens,
            maximumLength: Int.max)
        if let prompt {
            return try encoder.promptTokens(Conversation(messages: [Message(role: "user", content: prompt)]))
        }
        return try encoder.promptTokens(Conversation(messages: try readMessages(messages ?? "")))
    }

    private func readMessages(_ path: String) throws(Diagnostic) -> [Message] {
        let value = try readJSON(path)
        var messages: [Message] = []
        for (index, entry) in (value.array ?? []).enumerated() {
            guard let role = entry["role"]?.string, let content = entry["content"]?.string else {
                throw Diagnostic(
                    ModelsCode.prompt, file: path, at: "message \(index + 1)", found: "no role and content",
                    expected: "{\"role\": ..., \"content\": ...} with strings")
            }
            messages.append(Message(role: role, content: content))
        }
        guard !messages.isEmpty else {
            throw Diagnostic(
                ModelsCode.prompt, file: path, found: "no messages", expected: "a JSON array of {role, content}")
        }
        return messages
    }
}
