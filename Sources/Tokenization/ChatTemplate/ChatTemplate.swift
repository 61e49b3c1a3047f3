package import Diagnostics
package import StrictJSON

/// A chat template: Jinja in a sandbox, with the semantics of transformers' `apply_chat_template`.
///
/// A template may take 100 000 steps, write 1 MiB and nest calls 64 deep; more ends in an error. It sees no clock but
/// the one it is given, no files and no other templates.
package struct ChatTemplate: Sendable {
    /// A template may have this many bytes.
    package static let maximumBytes = 1 << 20

    package let source: String
    let program: JinjaProgram

    /// Parses a template, once for all renderings.
    ///
    /// - Throws: `ChatTemplateCode.syntax` or `.limit`, with line and column.
    package init(source: String) throws(Diagnostic) {
        guard source.utf8.count <= Self.maximumBytes else {
            throw Diagnostic(
                ChatTemplateCode.limit, found: "a template of \(source.utf8.count) bytes",
                expected: "at most \(Self.maximumBytes)")
        }
        self.source = source
        do {
            program = try JinjaCompiler.compile(source)
        } catch {
            throw Self.diagnostic(error, in: source)
        }
    }

    /// Whether the template marks what the assistant writes with `{% generation %}`.
    package var hasGenerationTags: Bool { program.hasGenerationTags }

    /// The text of a conversation.
    package struct Rendering: Sendable {
        package var text: String
        /// What generation tags marked, in UTF-8 bytes, as transformers reports it.
        package var assistantSpans: [Range<Int>]
    }

    /// Renders a conversation.
    ///
    /// - Parameters:
    ///   - messages: a list of objects with `role` and `content`.
    ///   - tools: JSON schemas of the functions the model may call; the template sees `none` without them.
    ///   - documents: as `tools`.
    ///   - variables: what else the template may use: special tokens such as `bos_token`, and switches.
    ///   - addGenerationPrompt: whether the template opens the assistant's turn at the end.
    /// - Throws: a diagnostic whose `found` is the message of Jinja or of the template's `raise_exception`, exactly.
    package func render(
        messages: JSONValue, tools: JSONValue? = nil, documents: JSONValue? = nil, variables: JSONObject = [:],
        addGenerationPrompt: Bool = false, now: ChatClock
    ) throws(Diagnostic) -> Rendering {
        do {
            try Self.checkDepth(of: [messages, tools ?? .null, documents ?? .null, .object(variables)])
        } catch {
            throw Self.diagnostic(error, in: source)
        }
        var values = Self.values(variables)
        values["messages"] = JinjaValue(messages)
        values["tools"] = tools.map { JinjaValue($0) } ?? values["tools"] ?? JinjaValue.null
        values["documents"] = documents.map { JinjaValue($0) } ?? values["documents"] ?? JinjaValue.null
        values["add_generation_prompt"] = .bool(addGenerationPrompt)
        do {
            let interpreter = JinjaInterpreter(program: program, variables: values, clock: now)
            try interpreter.run()
            return Rendering(text: interpreter.buffers[0].string, assistantSpans: interpreter.generations.reported)
        } catch {
            throw Self.diagnostic(error, in: source)
        }
    }

    static func values(_ variables: JSONObject) -> [String: JinjaValue] {
        Dictionary(variables.members.map { ($0.key, JinjaValue($0.value)) }) { $1 }
    }

    /// Refuses documents that are nested deeper than a template's values may be.
    static func checkDepth(of documents: [JSONValue]) throws(JinjaError) {
        var level = documents
        for _ in 0..<JinjaBudget.maximumDepth {
            var next: [JSONValue] = []
            for document in level {
                switch document {
                case .array(let values): next += values
                case .object(let object): next += object.values
                default: break
                }
            }
            if next.isEmpty { return }
            level = next
        }
        throw .budget("values nested deeper than \(JinjaBudget.maximumDepth)")
    }

    /// The error as a diagnostic, with its line, and its column if it is an error of syntax.
    static func diagnostic(_ error: JinjaError, in source: String) -> Diagnostic {
        let code: ChatTemplateCode =
            switch error.kind {
            case .syntax: .syntax
            case .raised: .raised
            case .undefined, .type: .runtime
            case .security: .security
            case .budget: .limit
            }
        var place = error.line.map { "line \($0)" }
        if let line = error.line, let offset = error.offset {
            let before = JinjaLexer.normalized(source).prefix(offset)
            let start = before.lastIndex(of: 0x0A).map { $0 + 1 } ?? 0
            let column = before[start...].count { $0 & 0xC0 != 0x80 } + 1
            place = "line \(line), column \(column)"
        }
        return Diagnostic(code, at: place, found: error.message)
    }
}
