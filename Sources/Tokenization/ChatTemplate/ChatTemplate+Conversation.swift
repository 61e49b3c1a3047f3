package import Diagnostics
package import StrictJSON

extension ChatTemplate {
    /// Renders a conversation for training: its text, which bytes are the conversation's own, and which ones the
    /// model must learn to write. What cannot be proved is refused.
    ///
    /// Generation tags decide where the template has them. Otherwise a message of the assistant is learned from the
    /// end of the generation prompt that precedes it to the start of the next message's own text, a message of
    /// another role from its first byte. A message that the template does not write is left out.
    ///
    /// - Parameters:
    ///   - messages: objects with a `role`; see `render` for the others.
    ///   - supervising: whose messages are learned.
    ///   - specialTokens: the tokens that must not come from data; used only where the template mixes data with text
    ///     of its own so that they cannot be told apart, and for the roles.
    /// - Throws: what `render` throws, and `ChatTemplateCode.messages` or `.unproven`. No message quotes the
    ///   conversation.
    package func renderConversation(
        messages: [JSONValue], tools: JSONValue? = nil, documents: JSONValue? = nil, variables: JSONObject = [:],
        supervising: Supervision = .assistant, specialTokens: [String] = [], now: ChatClock
    ) throws(Diagnostic) -> RenderedConversation {
        let objects = try Self.checked(messages, supervising, specialTokens)
        let renderer: ConversationRenderer
        let full: ConversationRenderer.Rendering
        do {
            try Self.checkDepth(of: messages + [tools ?? .null, documents ?? .null, .object(variables)])
            renderer = ConversationRenderer(
                template: self, messages: objects, tools: tools, documents: documents, variables: variables, clock: now)
            full = try renderer.render()
        } catch {
            throw discreet(error)
        }
        let isChosen: [Bool] =
            switch supervising {
            case .roles(let roles): renderer.roles.map { roles.contains($0) }
            case .messages(let chosen): chosen
            }
        var finder = SupervisionFinder(renderer: renderer, full: full, isChosen: isChosen)
        let spans: [Range<Int>]
        do {
            spans = try finder.spans()
        } catch {
            throw Self.unproven("where message \(error.message + 1) is to be learned from: \(error.reason)")
        }
        return RenderedConversation(
            text: full.text.string,
            contentSpans: try contentSpans(full.text, messages, tools, documents, specialTokens),
            supervisedSpans: spans, endOfTurn: finder.endOfTurn(spans, messages: objects),
            promptDiffers: finder.promptDiffers)
    }

    /// The messages as objects, each with a role that spells no special token.
    private static func checked(
        _ messages: [JSONValue], _ supervising: Supervision, _ specialTokens: [String]
    ) throws(Diagnostic) -> [JSONObject] {
        if case .messages(let chosen) = supervising, chosen.count != messages.count {
            throw Diagnostic(
                ChatTemplateCode.messages, found: "\(chosen.count) choices for \(messages.count) messages",
                expected: "one for each")
        }
        var objects: [JSONObject] = []
        for (index, message) in messages.enumerated() {
            guard let object = message.object, let role = object["role"]?.string else {
                throw Diagnostic(
                    ChatTemplateCode.messages, at: "message \(index + 1)", found: "no role",
                    expected: "an object with a role and a content")
            }
            guard !spells(role, specialTokens) else {
                throw Diagnostic(
                    ChatTemplateCode.messages, at: "message \(index + 1)", found: "a role with a special token in it",
                    expected: "a role such as user or assistant")
            }
            objects.append(object)
        }
        return objects
    }

    private static func unproven(_ what: String) -> Diagnostic {
        Diagnostic(
            ChatTemplateCode.unproven, found: "a template that does not show \(what)",
            expected: "a template whose parts can be told apart",
            fix: "Put {% generation %} and {% endgeneration %} around what the assistant writes in the template")
    }

    // MARK: Data

    private func contentSpans(
        _ text: JinjaText, _ messages: [JSONValue], _ tools: JSONValue?, _ documents: JSONValue?,
        _ specialTokens: [String]
    ) throws(Diagnostic) -> [RenderedConversation.ContentSpan]? {
        if text.runs.allSatisfy(\.origin.exact) {
            return text.runs.map { RenderedConversation.ContentSpan(range: $0.range, message: $0.origin.message) }
        }
        for document in messages + [tools ?? .null, documents ?? .null] where Self.contains(document, specialTokens) {
            throw Self.unproven("which text is its own, while the conversation spells a special token")
        }
        return nil
    }

    private static func spells(_ text: String, _ tokens: [String]) -> Bool {
        let text = JinjaText(text)
        return tokens.contains { !$0.isEmpty && text.contains($0) }
    }

    /// Whether a string or key anywhere in the document spells one of the tokens.
    private static func contains(_ document: JSONValue, _ tokens: [String]) -> Bool {
        switch document {
        case .string(let text): spells(text, tokens)
        case .array(let values): values.contains { contains($0, tokens) }
        case .object(let object):
            object.members.contains { spells($0.key, tokens) || contains($0.value, tokens) }
        default: false
        }
    }

    // MARK: Messages

    /// The error without what it might quote from the conversation: words that the template does not hold.
    private func discreet(_ error: JinjaError) -> Diagnostic {
        var message = error.message
        switch error.kind {
        case .raised:
            if !JinjaText(source).contains(error.message) {
                message = "the template refuses the conversation, with a message that may quote it"
            }
        case .budget, .syntax: break
        default:
            let parts = error.message.split(separator: "'", omittingEmptySubsequences: false)
            let quoted = parts.enumerated().filter { !$0.offset.isMultiple(of: 2) }.map { String($0.element) }
            let isOwn =
                parts.count % 2 == 1
                && quoted.allSatisfy { Self.typeNames.contains($0) || JinjaText(source).contains($0) }
            if !isOwn { message = "an operation that the values of the conversation do not allow" }
        }
        let shown = JinjaError(error.kind, message, line: error.line, offset: error.offset)
        return Self.diagnostic(shown, in: source)
    }

    private static let typeNames: Set<String> = [
        "str", "int", "float", "bool", "list", "dict", "tuple", "NoneType", "None", "Undefined", "generator", "range",
        "str object", "int object", "float object", "bool object", "list object", "dict object", "tuple object",
    ]
}
