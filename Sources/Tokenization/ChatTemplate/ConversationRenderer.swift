import StrictJSON

/// Renders a conversation and parts of it, with the origin of every byte.
struct ConversationRenderer {
    let template: ChatTemplate
    let clock: ChatClock
    private(set) var roles: [String]
    private var messages: [JinjaValue]
    private let variables: [String: JinjaValue]

    /// A rendering: its text with the bytes that are data, and what each message wrote.
    struct Rendering {
        var text: JinjaText
        var regions: [(message: Int, range: Range<Int>)]
        var generations: JinjaGenerations
    }

    init(
        template: ChatTemplate, messages: [JSONObject], tools: JSONValue?, documents: JSONValue?,
        variables: JSONObject, clock: ChatClock
    ) {
        self.template = template
        self.clock = clock
        roles = messages.map { $0["role"]?.string ?? "" }
        self.messages = messages.enumerated().map { index, message in Self.value(message, index) }
        var values = ChatTemplate.values(variables)
        let shared = JinjaOrigin(message: nil, exact: true)
        values["tools"] = tools.map { JinjaValue($0, origin: shared) } ?? values["tools"] ?? JinjaValue.null
        values["documents"] = documents.map { JinjaValue($0, origin: shared) } ?? values["documents"] ?? JinjaValue.null
        self.variables = values
    }

    var count: Int { messages.count }

    private static func value(_ message: JSONObject, _ index: Int) -> JinjaValue {
        .dict(JinjaDictionary(message, origin: JinjaOrigin(message: index, exact: true), tracksKeys: false))
    }

    /// The conversation with one more message.
    func extended(by message: JSONObject) -> ConversationRenderer {
        var longer = self
        longer.messages.append(Self.value(message, messages.count))
        longer.roles.append(message["role"]?.string ?? "")
        return longer
    }

    /// The first `count` messages, or all of them.
    func render(first count: Int? = nil, addGenerationPrompt: Bool = false) throws(JinjaError) -> Rendering {
        let chosen = Array(messages.prefix(count ?? messages.count))
        var values = variables
        values["messages"] = .list(JinjaSequence(chosen))
        values["add_generation_prompt"] = .bool(addGenerationPrompt)
        let interpreter = JinjaInterpreter(
            program: template.program, variables: values, clock: clock, messages: chosen)
        try interpreter.run()
        return Rendering(
            text: interpreter.buffers[0], regions: interpreter.regions, generations: interpreter.generations)
    }

    /// The text alone; nil if the template refuses this part of the conversation.
    func text(first count: Int, addGenerationPrompt: Bool) -> String? {
        try? render(first: count, addGenerationPrompt: addGenerationPrompt).text.string
    }
}
