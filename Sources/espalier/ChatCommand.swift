import ArgumentParser
import Autograd
import Datasets
import Diagnostics
import Formats
import Glibc
import Models
import Recipes
import Tokenization

struct ChatCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "chat", abstract: "Talk with a base, with its adapter or without.",
        discussion: """
            Example:
              espalier chat --base models/smollm2-135m-instruct/model.gguf --adapter runs/first/adapter \\
                --system "Answer briefly."

            A line is a message; the answer comes on stdout as it is written, its speed on stderr. Ctrl-C ends an answer,
            Ctrl-D the conversation. Lines that begin with a slash are commands:
              /adapter off, /adapter on   the base alone, to compare, and the adapter again
              /system TEXT                another system prompt, and a new conversation
              /clear                      a new conversation
              /again                      the last message once more, as with another /adapter
              /help, /exit
            """)

    @Option(help: "The base: a model folder or a GGUF file, with a chat template.")
    var base: String

    @OptionGroup var adapter: AdapterOptions

    @Option(help: "What the model is told before the conversation.")
    var system: String?

    @Option(help: "The most tokens of an answer.")
    var maxTokens = 512

    @Option(help: "0 takes the likeliest token; higher values draw more freely.")
    var temperature: Float = 0

    @Option(help: "Draw only from the likeliest tokens that together have this probability.")
    var topP: Float = 1

    @Option(help: "The seed of the drawing.")
    var seed: UInt64 = 0

    @OptionGroup var threads: ThreadOptions

    func validate() throws {
        if !(1...1_000_000).contains(maxTokens) { throw ValidationError("--max-tokens takes 1 to 1000000") }
        if !(temperature >= 0 && temperature.isFinite) { throw ValidationError("--temperature takes 0 or more") }
        if !(topP > 0 && topP <= 1) { throw ValidationError("--top-p takes more than 0, at most 1") }
    }

    func run() throws {
        let workspace = threads.workspace()
        let model = try BaseModel(base, encoding: adapter.encoding(), in: workspace)
        guard model.template != nil else {
            throw Diagnostic(
                ModelsCode.prompt, file: base, found: "a base without a chat template",
                expected: "one that was made to talk",
                fix: "Use generate --raw to continue a text")
        }
        if let path = adapter.adapter {
            let saved = try adapter.open(path, for: model.files)
            _ = try model.decoder.attach(saved, trainable: false, in: workspace)
        }
        var chat = Conversing(
            model: model, workspace: workspace, system: system, hasAdapter: adapter.adapter != nil,
            maximumTokens: maxTokens, sampling: Sampling(temperature: temperature, topP: topP, seed: seed))
        if isatty(STDIN_FILENO) == 1 { Console.note("/help lists what else there is.") }
        while let line = Conversing.nextLine() {
            guard try chat.take(line) else { break }
        }
    }
}

/// A conversation as it goes on.
private struct Conversing {
    let model: BaseModel
    let workspace: Workspace
    var system: String?
    let hasAdapter: Bool
    let maximumTokens: Int
    let sampling: Sampling
    private var history: [Message] = []
    private var usesAdapter = true

    init(
        model: BaseModel, workspace: Workspace, system: String?, hasAdapter: Bool, maximumTokens: Int,
        sampling: Sampling
    ) {
        (self.model, self.workspace, self.system, self.hasAdapter) = (model, workspace, system, hasAdapter)
        (self.maximumTokens, self.sampling) = (maximumTokens, sampling)
    }

    /// A line of stdin; nil at its end.
    static func nextLine() -> String? {
        // Between answers Ctrl-C does what it does everywhere.
        signal(SIGINT, SIG_DFL)
        if isatty(STDIN_FILENO) == 1 { Console.note("> ", terminator: "") }
        return readLine()
    }

    /// - Returns: false if the conversation is over.
    mutating func take(_ line: String) throws(Diagnostic) -> Bool {
        guard !line.allSatisfy(\.isWhitespace) else { return true }
        guard line.hasPrefix("/") else {
            history.append(Message(role: "user", content: line))
            try answer()
            return true
        }
        let words = line.split(separator: " ", maxSplits: 1).map(String.init)
        switch (words[0], words.count > 1 ? words[1] : nil) {
        case ("/exit", nil), ("/quit", nil): return false
        case ("/clear", nil): history = []
        case ("/system", let text):
            (system, history) = (text, [])
        case ("/adapter", "on"?), ("/adapter", "off"?):
            guard hasAdapter else {
                Console.note("There is no adapter; start with --adapter.")
                break
            }
            usesAdapter = words[1] == "on"
            Console.note(usesAdapter ? "With the adapter." : "The base alone.")
        case ("/again", nil):
            if history.last?.role == "assistant" { history.removeLast() }
            if history.last?.role == "user" { try answer() } else { Console.note("Nothing was said yet.") }
        default:
            Console.note("/adapter on, /adapter off, /system TEXT, /clear, /again, /exit")
        }
        return true
    }

    private mutating func answer() throws(Diagnostic) {
        let turns = (system.map { [Message(role: "system", content: $0)] } ?? []) + history
        let encoder = ExampleEncoder(
            tokenizer: model.tokenizer, renderer: model.renderer, stopTokens: model.stopTokens, maximumLength: .max)
        let prompt = try encoder.promptTokens(Conversation(messages: turns))
        do throws(Diagnostic) {
            try model.decoder.spec.checkPrompt(prompt)
        } catch {
            history.removeLast()
            return Console.note("The conversation is too long for this model; /clear begins another.")
        }
        Interruption.install()
        var text = StreamedText(tokenizer: model.tokenizer)
        let clock = ContinuousClock()
        let start = clock.now
        var firstToken: ContinuousClock.Instant?
        var failure: Diagnostic?
        let (model, workspace, maximumTokens, sampling) = (model, workspace, maximumTokens, sampling)
        let generate = { () throws(Diagnostic) -> Void in
            _ = Generator(model.decoder, in: workspace).generate(
                [prompt], maximumTokens: maximumTokens, stopTokens: model.stopTokens, sampling: sampling
            ) { _, token in
                if firstToken == nil { firstToken = clock.now }
                do throws(Diagnostic) {
                    try Console.write(text.append(token), terminator: "")
                } catch { failure = error }
                return failure == nil && Interruption.signal == nil
            }
        }
        if usesAdapter { try generate() } else { try model.decoder.withoutAdapter(generate) }
        if let failure { throw failure }
        try Console.write(text.rest)
        history.append(Message(role: "assistant", content: text.all))
        note(text.count, prompt: prompt.count, start, firstToken ?? clock.now, clock.now)
    }

    /// The speed of an answer.
    private func note(
        _ count: Int, prompt: Int, _ start: ContinuousClock.Instant, _ first: ContinuousClock.Instant,
        _ end: ContinuousClock.Instant
    ) {
        let rate =
            count > 1 ? ", \(decimal(Double(count - 1) / max((end - first).inSeconds, 1e-9), 1)) a second" : ""
        Console.note(
            "(\(prompt) tokens read in \(decimal((first - start).inSeconds, 2)) s, \(count) written\(rate))")
    }
}

/// A text that grows token by token, of which whole characters are shown.
struct StreamedText {
    private let tokenizer: any TextTokenizer
    private var tokens: [Int32] = []
    private var shown = ""
    private(set) var all = ""

    init(tokenizer: any TextTokenizer) { self.tokenizer = tokenizer }

    var count: Int { tokens.count }

    /// What can be shown once `token` has come: nothing while a character is not complete.
    mutating func append(_ token: Int32) -> String {
        tokens.append(token)
        all = tokenizer.decode(tokens, skippingSpecialTokens: true)
        guard !all.unicodeScalars.suffix(1).contains("\u{FFFD}"), all.utf8.starts(with: shown.utf8) else { return "" }
        defer { shown = all }
        return String(all.utf8.dropFirst(shown.utf8.count)) ?? ""
    }

    /// What has not been shown, at the end.
    var rest: String {
        all.utf8.starts(with: shown.utf8) ? String(all.utf8.dropFirst(shown.utf8.count)) ?? "" : ""
    }
}
