package import Diagnostics
import StrictJSON

/// How a record becomes a conversation, and which of its turns are learned.
package struct RecordMapping: Sendable, Equatable {
    package enum Form: Sendable, Equatable {
        /// Texts with slots; without a prompt the completion is a plain text that is learned as a whole.
        case texts(system: TextTemplate?, prompt: TextTemplate?, completion: TextTemplate)
        /// A field that holds `[{"role": ..., "content": ...}, ...]`.
        case messages(field: String)
    }

    package var form: Form
    /// The roles whose turns are learned.
    package var learnedRoles: [String]

    /// The roles that a message may have.
    package static let roles = ["system", "developer", "user", "assistant", "tool"]

    package init(form: Form, learnedRoles: [String] = ["assistant"]) {
        self.form = form
        self.learnedRoles = learnedRoles
    }

    /// The record as a conversation that ends with the turn to be learned.
    ///
    /// - Throws: `DataCode.field`, `.value`, `.emptyText` or `.messages`, with the record's line and the key.
    package func conversation(for record: Record) throws(Diagnostic) -> Conversation {
        switch form {
        case .texts(let system, let prompt, let completion):
            var messages = try promptMessages(system, prompt, record)
            let answer = try completion.text(for: record)
            if isBlank(answer) { throw empty("completion", record) }
            messages.append(message("assistant", answer))
            return Conversation(messages: messages, line: record.line)
        case .messages(let field):
            let conversation = try self.messages(of: record, in: field)
            if conversation.reference == nil {
                throw wrong(record, field, "a conversation that ends with the user", expected: "the assistant last")
            }
            return conversation
        }
    }

    /// The turns before the answer, for a record that need not hold one.
    ///
    /// - Throws: as `conversation(for:)`.
    package func prompt(for record: Record) throws(Diagnostic) -> Conversation {
        switch form {
        case .texts(let system, let prompt, _):
            return Conversation(messages: try promptMessages(system, prompt, record), line: record.line)
        case .messages(let field): return try messages(of: record, in: field).prompt
        }
    }

    private func promptMessages(
        _ system: TextTemplate?, _ prompt: TextTemplate?, _ record: Record
    ) throws(Diagnostic) -> [Message] {
        guard let prompt else { return [] }
        var result: [Message] = []
        if let system {
            let text = try system.text(for: record)
            if !isBlank(text) { result.append(message("system", text)) }
        }
        let text = try prompt.text(for: record)
        if isBlank(text) { throw empty("prompt", record) }
        result.append(message("user", text))
        return result
    }

    private func message(_ role: String, _ content: String) -> Message {
        Message(role: role, content: content, isSupervised: learnedRoles.contains(role))
    }

    // MARK: Messages in a record

    private func messages(of record: Record, in field: String) throws(Diagnostic) -> Conversation {
        guard let value = record[field] else { throw record.missing(field) }
        guard let items = value.array else {
            throw Diagnostic(
                DataCode.value, at: record.place(field), found: "a value that is no array",
                expected: "an array of messages", fix: "Write [{\"role\": \"user\", \"content\": \"...\"}, ...]")
        }
        var result: [Message] = []
        for (index, item) in items.enumerated() {
            let key = "\(field)[\(index)]"
            let message = try self.message(item, key, record)
            try check(message.role, after: result.last?.role, key, record)
            result.append(message)
        }
        if !result.contains(where: { $0.role == "user" }) {
            throw wrong(record, field, "no message of the user", expected: "at least one")
        }
        return Conversation(
            messages: result, tools: record["tools"].flatMap { $0.isNull ? nil : $0 }, line: record.line)
    }

    private func message(_ item: JSONValue, _ key: String, _ record: Record) throws(Diagnostic) -> Message {
        guard let object = item.object else {
            throw wrong(record, key, "a value that is no object", expected: "an object with role and content")
        }
        guard let role = object["role"]?.string else {
            throw wrong(record, key + ".role", "no role, or one that is no text", expected: known)
        }
        guard Self.roles.contains(role) else {
            throw wrong(record, key + ".role", "an unknown role", expected: known)
        }
        let calls = object["tool_calls"]?.array?.isEmpty == false
        let content = try self.content(object["content"], mayBeAbsent: calls, key + ".content", record)
        let learned = learnedRoles.contains(role)
        if isBlank(content), !calls, learned || role == "user" { throw empty(key + ".content", record) }
        var isSupervised = learned
        if let weight = object["weight"], !weight.isNull {
            guard let value = weight.integer, value == 0 || value == 1 else {
                throw wrong(record, key + ".weight", "another value", expected: "0 or 1")
            }
            isSupervised = learned && value == 1
        }
        let extras = JSONObject(
            object.members.filter { !["role", "content", "weight"].contains($0.key) }.map { ($0.key, $0.value) })
        return Message(role: role, content: content, isSupervised: isSupervised, extras: extras)
    }

    /// The text of a message, which may be given in parts: `[{"type": "text", "text": "..."}]`.
    private func content(
        _ value: JSONValue?, mayBeAbsent: Bool, _ key: String, _ record: Record
    ) throws(Diagnostic) -> String {
        switch value {
        case .string(let text)?: return text
        case .array(let parts)?:
            var result = ""
            for part in parts {
                guard part["type"]?.string == "text", let text = part["text"]?.string else {
                    throw wrong(record, key, "a part that is no text", expected: "parts of type text")
                }
                result += text
            }
            return result
        case .null?, nil:
            if mayBeAbsent { return "" }
            throw wrong(record, key, "no content", expected: "a text")
        default: throw wrong(record, key, "a value that is no text", expected: "a text")
        }
    }

    /// Whether a turn of `role` may follow one of `previous`.
    private func check(_ role: String, after previous: String?, _ key: String, _ record: Record) throws(Diagnostic) {
        let allowed: [String] =
            switch previous {
            case nil: ["system", "developer", "user"]
            case "system", "developer": ["user"]
            case "user": ["assistant"]
            case "assistant": ["user", "tool"]
            default: ["tool", "assistant"]
            }
        guard allowed.contains(role) else {
            throw wrong(
                record, key + ".role",
                "a turn of the \(role) " + (previous.map { "after one of the \($0)" } ?? "first"),
                expected: allowed.joined(separator: " or "))
        }
    }

    private var known: String { "one of " + Self.roles.joined(separator: ", ") }

    private func isBlank(_ text: String) -> Bool { text.unicodeScalars.allSatisfy(\.properties.isWhitespace) }

    private func empty(_ key: String, _ record: Record) -> Diagnostic {
        Diagnostic(
            DataCode.emptyText, at: record.place(key), found: "an empty text", expected: "text",
            fix: "Fill the field, or leave the record out")
    }

    private func wrong(_ record: Record, _ key: String, _ found: String, expected: String) -> Diagnostic {
        Diagnostic(
            DataCode.messages, at: record.place(key), found: found, expected: expected,
            fix: "Correct the messages of this record")
    }
}
