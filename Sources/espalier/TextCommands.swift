import ArgumentParser
import Diagnostics
import Formats
import Glibc
import Models
import StrictJSON
import Tokenization

struct TokenizeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tokenize", abstract: "Turn text into token ids and back, line by line.",
        discussion: """
            Example:
              echo '{"text": "Hello"}' | espalier tokenize --tokenizer models/smollm2-135m-instruct/model.gguf

            Reads JSON Lines {"text"}; writes {"ids", "ids_plain", "decoded", "decoded_skip_special"}.
            """)

    @Option(help: "A model folder, a tokenizer.json, a SentencePiece .model or a GGUF file.")
    var tokenizer: String

    func run() throws {
        let tokenizer = try BaseFiles.tokenizer(at: tokenizer)
        try Console.forEachLine { (line, number) throws(Diagnostic) in
            guard !line.isEmpty else { return }
            guard let text = try parseLine(line, number)["text"]?.string else {
                throw Diagnostic(
                    ModelsCode.prompt, file: "standard input", at: "line \(number)", found: "no string \"text\"",
                    expected: "{\"text\": \"...\"}")
            }
            let ids = tokenizer.encode(text, addingSpecialTokens: true, recognizingSpecialTokens: true)
            let plain = tokenizer.encode(text, addingSpecialTokens: false, recognizingSpecialTokens: true)
            let answer: JSONObject = [
                "ids": .array(ids.map { .integer(Int($0)) }), "ids_plain": .array(plain.map { .integer(Int($0)) }),
                "decoded": .string(tokenizer.decode(ids, skippingSpecialTokens: false)),
                "decoded_skip_special": .string(tokenizer.decode(ids, skippingSpecialTokens: true)),
            ]
            try Console.write(JSONValue.object(answer).serialized())
        }
    }
}

struct RenderCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "render", abstract: "Put conversations through a chat template, line by line.",
        discussion: """
            Example:
              echo '{"messages": [{"role": "user", "content": "Hi"}], "add_generation_prompt": true}' \\
                | espalier render --template chat_template.jinja

            Reads JSON Lines {"messages", "tools", "variables", "add_generation_prompt"}; writes {"rendered",
            "assistant_spans_utf8"} or {"error"}.
            """)

    @Option(help: "A Jinja file.")
    var template: String

    @Option(help: "The time that the template sees, such as 2025-03-14T09:26:53; the clock's if not given.")
    var now: String?

    func run() throws {
        guard let source = String(validating: try readBytes(template), as: UTF8.self) else {
            throw Diagnostic(ModelsCode.config, file: template, found: "bytes that are not UTF-8", expected: "UTF-8")
        }
        let template: ChatTemplate
        do throws(Diagnostic) {
            template = try ChatTemplate(source: source)
        } catch { throw error.inFile(self.template) }
        let clock = try ChatClock(now ?? currentTime())
        try Console.forEachLine { (line, number) throws(Diagnostic) in
            guard !line.isEmpty else { return }
            try Console.write(template.answer(try parseLine(line, number), now: clock).serialized())
        }
    }

    /// The local time in ISO 8601 without a zone.
    private func currentTime() -> String {
        var seconds = time(nil)
        var parts = tm()
        localtime_r(&seconds, &parts)
        var buffer = [CChar](repeating: 0, count: 32)
        strftime(&buffer, buffer.count, "%Y-%m-%dT%H:%M:%S", &parts)
        return String(decoding: buffer.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}

/// One line of standard input as JSON.
private func parseLine(_ line: [UInt8], _ number: Int) throws(Diagnostic) -> JSONValue {
    do {
        return try JSONValue(parsing: line)
    } catch {
        var placed = error.inFile("standard input")
        placed.place = "line \(number)"
        throw placed
    }
}
