package import Datasets
package import Diagnostics
package import Models
import StrictJSON
package import Tokenization

/// Binds a base's chat template and tokenizer to the data pipeline.
package struct TemplateRenderer: ConversationRenderer {
    private let template: ChatTemplate
    private let file: String
    private let variables: JSONObject
    private let tokenizer: any TextTokenizer

    package init(_ source: ModelChatTemplate, tokenizer: any TextTokenizer) {
        template = source.template
        variables = source.variables
        file = source.file
        self.tokenizer = tokenizer
    }

    package func render(
        _ conversation: Conversation, addingGenerationPrompt: Bool
    ) throws(Diagnostic) -> RenderedText {
        do throws(Diagnostic) {
            // A fixed date: what is trained must not depend on the day.
            let clock = try ChatClock("2025-01-01T00:00:00")
            let messages = conversation.messages.map(\.json)
            let chosen = conversation.messages.map { $0.isSupervised && !addingGenerationPrompt }
            let rendered = try template.renderConversation(
                messages: messages, tools: conversation.tools, variables: variables, supervising: .messages(chosen),
                now: clock)
            guard addingGenerationPrompt else {
                return RenderedText(
                    text: rendered.text, contentSpans: try contentSpans(of: rendered, conversation),
                    supervisedSpans: rendered.supervisedSpans)
            }
            let prompt = try template.render(
                messages: .array(messages), tools: conversation.tools, variables: variables, addGenerationPrompt: true,
                now: clock
            ).text
            // The prompt begins with the conversation, so its contents stand where they stood; if a template should
            // write it differently, their places are not known.
            var known: RenderedConversation? = rendered
            if !prompt.utf8.starts(with: rendered.text.utf8) { known = nil }
            return RenderedText(
                text: prompt, contentSpans: try contentSpans(of: known, conversation), supervisedSpans: [])
        } catch {
            var placed = error.inFile(file)
            if placed.place == nil { placed.place = "the conversation of line \(conversation.line)" }
            throw placed
        }
    }

    /// Where the messages' contents stand; where that is not known, no message may spell a special token.
    private func contentSpans(
        of rendered: RenderedConversation?, _ conversation: Conversation
    ) throws(Diagnostic) -> [Range<Int>] {
        if let spans = rendered?.contentSpans { return spans.map(\.range) }
        if let index = conversation.messages.firstIndex(where: { spellsSpecialToken($0.content) }) {
            throw Diagnostic(
                DataCode.noTemplate, at: "line \(conversation.line), message \(index + 1)",
                found: "a message that spells a special token, in a template that rewrites its messages",
                expected: "text that cannot be taken for a special token")
        }
        return []
    }

    private func spellsSpecialToken(_ text: String) -> Bool {
        tokenizer.encode(text, addingSpecialTokens: false, recognizingSpecialTokens: true)
            != tokenizer.encode(text, addingSpecialTokens: false, recognizingSpecialTokens: false)
    }
}

extension Message {
    fileprivate var json: JSONValue {
        var object = extras
        object["role"] = .string(role)
        object["content"] = .string(content)
        return .object(object)
    }
}

extension BaseModel {
    /// The renderer of the base's template; nil for a base without one.
    package var renderer: TemplateRenderer? { template.map { TemplateRenderer($0, tokenizer: tokenizer) } }
}
