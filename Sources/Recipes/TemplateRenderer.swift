package import Datasets
package import Diagnostics
package import Models
import StrictJSON
import Tokenization

/// Binds a base's chat template to the data pipeline: which bytes of a rendered conversation came from the messages,
/// and which are to be learned.
///
/// Both are proved for the conversation at hand or refused. What is learned of a message is what stands between the
/// text that would have prompted it and the text that ends it, if both begin the whole text. What came from a message
/// is found by rendering marks in the messages' place: if the contents, put where the marks stand, give the very text,
/// that is where they stand.
package struct TemplateRenderer: ConversationRenderer {
    private let template: ChatTemplate
    private let file: String
    private let variables: JSONObject

    package init(_ source: ChatTemplateSource) throws(Diagnostic) {
        file = source.file
        do throws(Diagnostic) {
            template = try ChatTemplate(source: source.text)
        } catch { throw error.inFile(source.file) }
        variables = JSONObject(source.specialTokens.map { ($0.name, .string($0.text)) })
    }

    package func render(
        _ conversation: Conversation, addingGenerationPrompt: Bool
    ) throws(Diagnostic) -> RenderedText {
        let messages = conversation.messages
        let full = try text(messages, conversation, addingGenerationPrompt)
        var spans: [Range<Int>] = []
        for (index, message) in messages.enumerated() where message.isSupervised {
            let before = try text(Array(messages[..<index]), conversation, true)
            let after = try text(Array(messages[...index]), conversation, false)
            guard full.utf8.starts(with: before.utf8), full.utf8.starts(with: after.utf8),
                before.utf8.count < after.utf8.count
            else {
                throw Diagnostic(
                    DataCode.noTemplate, file: file, at: "message \(index + 1) of line \(conversation.line)",
                    found: "a template that writes a turn differently when others follow",
                    expected: "turns whose borders can be proved",
                    fix: "Train on the last answer of each conversation, or use a template with generation tags")
            }
            spans.append(before.utf8.count..<after.utf8.count)
        }
        return RenderedText(
            text: full, contentSpans: try contentSpans(messages, conversation, addingGenerationPrompt, of: full),
            supervisedSpans: spans)
    }

    /// Where the messages' contents stand in `full`.
    private func contentSpans(
        _ messages: [Message], _ conversation: Conversation, _ prompt: Bool, of full: String
    ) throws(Diagnostic) -> [Range<Int>] {
        let marks = messages.indices.map { "\u{E0F1}m\($0)\u{E0F2}" }
        var marked = messages
        for index in marked.indices { marked[index].content = marks[index] }
        let skeleton = try text(marked, conversation, prompt)
        var spans: [Range<Int>] = []
        var (built, rest) = ("", skeleton[...])
        while let mark = rest.firstIndex(of: "\u{E0F1}") {
            built += rest[..<mark]
            guard let end = rest[mark...].firstIndex(of: "\u{E0F2}"),
                let index = Int(rest[mark..<end].dropFirst(2)), messages.indices.contains(index)
            else { break }
            rest = rest[rest.index(after: end)...]
            // Templates put a content in as it is or with the white space around it removed.
            let start = built.utf8.count
            let content = messages[index].content
            let trimmed = trimmingWhitespace(content)
            let expected = Array(full.utf8.dropFirst(start))
            let isWhole = expected.starts(with: content.utf8)
            built += isWhole ? content : trimmed
            spans.append(start..<built.utf8.count)
        }
        built += rest
        if built.utf8.elementsEqual(full.utf8) { return spans.filter { !$0.isEmpty } }
        // Without the places, a content that spells a special token could become one.
        guard !messages.contains(where: { $0.content.contains("<") || $0.content.contains("[") }) else {
            throw Diagnostic(
                DataCode.noTemplate, file: file, at: "line \(conversation.line)",
                found: "a template that changes the messages, and a message that could spell a special token",
                expected: "contents that the template takes over as they are")
        }
        return []
    }

    private func text(
        _ messages: [Message], _ conversation: Conversation, _ prompt: Bool
    ) throws(Diagnostic) -> String {
        let values = messages.map { message in
            var object = message.extras
            object["role"] = .string(message.role)
            object["content"] = .string(message.content)
            return JSONValue.object(object)
        }
        do throws(Diagnostic) {
            // A fixed date: what is trained must not depend on the day.
            return try template.render(
                messages: .array(values), tools: conversation.tools, variables: variables, addGenerationPrompt: prompt,
                now: try ChatClock("2025-01-01T00:00:00")
            ).text
        } catch { throw error.inFile(file) }
    }
}

/// `text` without the white space at both ends, as Jinja's trim has it.
private func trimmingWhitespace(_ text: String) -> String {
    let scalars = text.unicodeScalars
    guard let first = scalars.firstIndex(where: { !$0.properties.isWhitespace }),
        let last = scalars.lastIndex(where: { !$0.properties.isWhitespace })
    else { return "" }
    return String(scalars[first...last])
}

extension BaseModel {
    /// The renderer of the base's template; nil for a base without one.
    package func renderer() throws(Diagnostic) -> TemplateRenderer? {
        guard let template else { return nil }
        return try TemplateRenderer(template)
    }
}
