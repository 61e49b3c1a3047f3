package import Datasets
package import Diagnostics
package import Models
import StrictJSON
import Tokenization

/// Binds a base's chat template to the data pipeline.
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
        let full = try text(conversation.messages, conversation, addingGenerationPrompt)
        var spans: [Range<Int>] = []
        for (index, message) in conversation.messages.enumerated() where message.isSupervised {
            let before = try text(Array(conversation.messages[..<index]), conversation, true)
            let after = try text(Array(conversation.messages[...index]), conversation, false)
            guard full.utf8.starts(with: before.utf8), full.utf8.starts(with: after.utf8) else {
                throw Diagnostic(DataCode.noTemplate, file: file, found: "a template whose turns cannot be told apart")
            }
            spans.append(before.utf8.count..<after.utf8.count)
        }
        return RenderedText(text: full, contentSpans: [], supervisedSpans: spans)
    }

    private func text(_ messages: [Message], _ conversation: Conversation, _ prompt: Bool) throws(Diagnostic) -> String {
        do throws(Diagnostic) {
            let clock = try ChatClock("2025-01-01T00:00:00")
            return try template.render(
                messages: .array(messages.map { .object(["role": .string($0.role), "content": .string($0.content)]) }),
                tools: conversation.tools, variables: variables, addGenerationPrompt: prompt, now: clock
            ).text
        } catch { throw error.inFile(file) }
    }
}

extension BaseModel {
    /// The renderer of the base's template; nil for a base without one.
    package func renderer() throws(Diagnostic) -> TemplateRenderer? {
        guard let template else { return nil }
        return try TemplateRenderer(template)
    }
}
