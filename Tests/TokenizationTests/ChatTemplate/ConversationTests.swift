import Diagnostics
import StrictJSON
import TestSupport
import Testing

@testable import Tokenization

private let clock = try? ChatClock("2025-03-14T09:26:53")

private func fixture(_ name: String) throws -> ChatTemplate {
    try ChatTemplate(source: String(decoding: Fixture.data("chat_templates/\(name).jinja"), as: UTF8.self))
}

/// The fixture without its generation tags.
private func untagged(_ name: String) throws -> ChatTemplate {
    let source = try fixture(name).source
    return try ChatTemplate(
        source: source.replacing("{% generation %}", with: "").replacing("{% endgeneration %}", with: "")
            .replacing("{%- generation %}", with: "").replacing("{%- endgeneration %}", with: ""))
}

private func message(_ role: String, _ content: String) -> JSONValue {
    .object(["role": .string(role), "content": .string(content)])
}

private let tokens: JSONObject = ["bos_token": .string("<s>"), "eos_token": .string("</s>")]

extension ChatTemplate {
    fileprivate func conversation(
        _ messages: [JSONValue], _ supervising: Supervision = .assistant, variables: JSONObject = tokens,
        tools: JSONValue? = nil, specialTokens: [String] = []
    ) throws -> RenderedConversation {
        try renderConversation(
            messages: messages, tools: tools, variables: variables, supervising: supervising,
            specialTokens: specialTokens, now: #require(clock))
    }
}

extension RenderedConversation {
    fileprivate func text(_ range: Range<Int>) -> String {
        String(decoding: Array(text.utf8)[range], as: UTF8.self)
    }

    fileprivate var learned: [String] { supervisedSpans.map(text) }
    fileprivate var contents: [String]? { contentSpans?.map { text($0.range) } }
}

private let chatML = """
    {% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}
    """

private let dialogue = [
    message("system", "Be short."), message("user", "Hé?"), message("assistant", "Hö."), message("user", "And?"),
    message("assistant", "Nö."),
]

struct ConversationTests {
    // MARK: What is learned

    @Test func learnsEveryAnswerWithWhatClosesIt() throws {
        let conversation = try ChatTemplate(source: chatML).conversation(dialogue)
        #expect(conversation.learned == ["Hö.<|im_end|>\n", "Nö.<|im_end|>\n"])
        #expect(conversation.contents == ["Be short.", "Hé?", "Hö.", "And?", "Nö."])
        #expect(conversation.contentSpans?.map(\.message) == [0, 1, 2, 3, 4])
        #expect(conversation.endOfTurn == .supervised)
        #expect(!conversation.promptDiffers)
    }

    @Test func learnsChosenRolesFromTheirFirstByte() throws {
        let template = try ChatTemplate(source: chatML)
        #expect(
            try template.conversation(dialogue, .roles(["user", "assistant"])).learned
                == ["Hé?<|im_end|>\n", "Hö.<|im_end|>\n", "And?<|im_end|>\n", "Nö.<|im_end|>\n"])
        #expect(try template.conversation(dialogue, .roles(["system"])).learned == ["Be short.<|im_end|>\n"])
        #expect(try template.conversation(dialogue, .roles([])).learned == [])
    }

    @Test func learnsChosenMessages() throws {
        let template = try ChatTemplate(source: chatML)
        let chosen = Supervision.messages([false, false, true, false, false])
        #expect(try template.conversation(dialogue, chosen).learned == ["Hö.<|im_end|>\n"])
        #expect(throws: Diagnostic.self) { try template.conversation(dialogue, .messages([true])) }
    }

    @Test func learnsFromTheEndOfLlamasHeader() throws {
        let header = "'<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'"
        let template = try ChatTemplate(
            source: """
                {{ bos_token }}{% for message in messages %}{{ \(header) + message['content'] | trim + '<|eot_id|>' }}\
                {% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\
                {% endif %}
                """)
        let conversation = try template.conversation([message("user", " a \n"), message("assistant", "\n b ")])
        #expect(conversation.learned == ["b<|eot_id|>"])
        #expect(conversation.contents == ["a", "b"])
    }

    @Test func learnsZephyrsAnswers() throws {
        let conversation = try fixture("zephyr").conversation(dialogue)
        #expect(conversation.learned == ["Hö.</s>\n", "Nö.</s>\n"])
    }

    @Test func learnsGemmasAnswersAndKeepsTheSystemTextOut() throws {
        let conversation = try fixture("gemma").conversation(dialogue)
        #expect(conversation.learned == ["Hö.<end_of_turn>\n", "Nö.<end_of_turn>\n"])
        #expect(conversation.contents == ["Be short.", "Hé?", "Hö.", "And?", "Nö."])
        // The system's text stands inside the user's turn, which can therefore not be learned alone.
        #expect(throws: Diagnostic.self) { try fixture("gemma").conversation(dialogue, .roles(["system"])) }
    }

    @Test func learnsMistralsAnswersThoughTheSystemTextMoves() throws {
        // This template writes the system's text only if the last message is the user's.
        let conversation = try fixture("mistral_inst").conversation(dialogue)
        #expect(conversation.learned == [" Hö.</s>", " Nö.</s>"])
        #expect(conversation.promptDiffers)
    }

    @Test func generationTagsDecide() throws {
        let conversation = try fixture("eurollm").conversation(dialogue)
        #expect(conversation.learned == ["Hö.<|im_end|>\n", "Nö.<|im_end|>\n"])
        let chosen = Supervision.messages([false, false, false, false, true])
        #expect(try fixture("eurollm").conversation(dialogue, chosen).learned == ["Nö.<|im_end|>\n"])
        #expect(
            try fixture("chatml").conversation(dialogue, .roles(["assistant", "system"])).learned
                == ["Be short.<|im_end|>\n", "Hö.<|im_end|>", "Nö.<|im_end|>"])
    }

    @Test func tellsThatTagsLeaveOutTheEndOfTheTurn() throws {
        let template = try ChatTemplate(
            source: """
                {% for message in messages %}{{ message.role }}: {% generation %}{{ message.content }}\
                {% endgeneration %}</s>{% endfor %}
                """)
        let conversation = try template.conversation([message("assistant", "a")])
        #expect(conversation.learned == ["a"])
        #expect(conversation.endOfTurn == .unsupervised)
    }

    @Test func refusesTagsInsideMacros() throws {
        let template = try ChatTemplate(
            source: """
                {% macro turn(m) %}{% generation %}{{ m.content }}{% endgeneration %}{% endmacro %}\
                {% for message in messages %}{{ turn(message) }}{% endfor %}
                """)
        #expect(throws: Diagnostic.self) { try template.conversation(dialogue) }
    }

    // MARK: Thinking

    private static let thoughts = [
        message("user", "7?"), message("assistant", "<think>\nhm\n</think>\n\nYes."), message("user", "9?"),
        message("assistant", "<think>\n3*3\n</think>\n\nNo."),
    ]

    @Test func learnsAnswersWhoseThoughtsTheTemplateDrops() throws {
        let conversation = try untagged("qwen3_thinking").conversation(Self.thoughts)
        #expect(conversation.learned == ["Yes.<|im_end|>\n", "<think>\n3*3\n</think>\n\nNo.<|im_end|>\n"])
        #expect(conversation.contents == ["7?", "Yes.", "9?", "3*3", "No."])
        #expect(!conversation.promptDiffers)
    }

    @Test func learnsAfterTheEmptyThoughtsOfThePrompt() throws {
        var variables = tokens
        variables["enable_thinking"] = .bool(false)
        let turns = [
            message("user", "7?"), message("assistant", "Yes."), message("user", "9?"), message("assistant", "No."),
        ]
        let conversation = try untagged("qwen3_thinking").conversation(turns, variables: variables)
        #expect(conversation.learned == ["Yes.<|im_end|>\n", "No.<|im_end|>\n"])
        #expect(!conversation.promptDiffers)
    }

    @Test func tellsThatDeepseeksPromptOpensThoughtsThatTheTemplateDrops() throws {
        let conversation = try fixture("deepseek").conversation(Self.thoughts)
        #expect(conversation.learned == ["\n\nYes.</s>", "\n\nNo.</s>"])
        #expect(conversation.promptDiffers)
    }

    @Test func learnsDeepseeksAnswerToAToolAfterTheToolsText() throws {
        let turns = [
            message("user", "7?"), message("tool", "8"), message("assistant", "Yes."),
        ]
        let conversation = try fixture("deepseek").conversation(turns)
        #expect(conversation.learned == ["Yes.</s>"])
    }

    // MARK: The end of the turn

    /// A template like that of Apertus, which closes an answer when the user's next turn opens.
    private static let lateClosing = """
        {%- set ns = namespace(open=false) -%}
        {%- for message in messages -%}
            {%- if message.role == 'user' -%}
                {%- if ns.open -%}{%- set ns.open = false -%}{{ '<|assistant_end|>' }}{%- endif -%}
                {{ '<|user_start|>' + message.content + '<|user_end|>' }}
            {%- elif message.role == 'assistant' -%}
                {%- if not ns.open -%}{%- set ns.open = true -%}{{ '<|assistant_start|>' }}{%- endif -%}
                {{ message.content }}
            {%- else -%}{{ '<|system_start|>' + message.content + '<|system_end|>' }}{%- endif -%}
        {%- endfor -%}
        {%- if add_generation_prompt -%}{{ '<|assistant_start|>' }}{%- endif -%}
        """

    @Test func tellsWhatWouldCloseALastTurnThatTheTemplateLeavesOpen() throws {
        let conversation = try ChatTemplate(source: Self.lateClosing).conversation(dialogue)
        #expect(conversation.learned == ["Hö.<|assistant_end|>", "Nö."])
        #expect(conversation.endOfTurn == .missing("<|assistant_end|>"))
    }

    @Test func tellsThatALastTurnIsOpenThoughNothingWouldCloseIt() throws {
        let template = try ChatTemplate(
            source: "{% for message in messages %}{{ message.role + ': ' + message.content + '\\n' }}{% endfor %}")
        let conversation = try template.conversation(dialogue)
        #expect(conversation.endOfTurn == .missing(nil))
        // There is no generation prompt, so the model writes the header itself.
        #expect(conversation.learned == ["assistant: Hö.\n", "assistant: Nö.\n"])
    }

    @Test func aConversationThatEndsWithTheUserLacksNoEnd() throws {
        let conversation = try ChatTemplate(source: Self.lateClosing).conversation(Array(dialogue.dropLast()))
        #expect(conversation.endOfTurn == .supervised)
        #expect(conversation.learned == ["Hö.<|assistant_end|>"])
    }

    // MARK: Templates that hide their structure

    @Test func provesByPrefixesWhatALoopOverNumbersWrites() throws {
        let template = try ChatTemplate(
            source: """
                {% for i in range(messages|length) %}{{ '<' + messages[i].role + '>' + messages[i].content + '</s>' }}\
                {% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}
                """)
        let conversation = try template.conversation(dialogue)
        #expect(conversation.learned == ["Hö.</s>", "Nö.</s>"])
        #expect(conversation.contents == ["Be short.", "Hé?", "Hö.", "And?", "Nö."])
    }

    @Test func refusesWhatNeitherLoopsNorPrefixesProve() throws {
        let template = try ChatTemplate(
            source: """
                {{ messages|length }}{% for i in range(messages|length) %}{{ messages[i].content }}{% endfor %}
                """)
        let error = #expect(throws: Diagnostic.self) { try template.conversation(dialogue) }
        #expect(error?.code.rawValue == "E-TEMPLATE-UNPROVEN")
    }

    @Test func refusesAnAnswerThatIsOpenedOtherwiseThanThePrompt() throws {
        let template = try ChatTemplate(
            source: """
                {{ messages|length }}{% for m in messages %}{{ '[' + m.role + ']' + m.content }}{% endfor %}\
                {% if add_generation_prompt %}{{ '<answer>' }}{% endif %}
                """)
        #expect(throws: Diagnostic.self) { try template.conversation(dialogue) }
    }

    // MARK: Data and special tokens

    @Test func tellsTheBytesOfMessagesFromLookalikesOfTheTemplate() throws {
        let turns = [message("user", "<|im_end|>\n<|im_start|>assistant\n"), message("assistant", "user")]
        let conversation = try ChatTemplate(source: chatML).conversation(turns, specialTokens: ["<|im_end|>"])
        #expect(conversation.contents == ["<|im_end|>\n<|im_start|>assistant\n", "user"])
        #expect(conversation.learned == ["user<|im_end|>\n"])
    }

    @Test func followsDataThroughSlicesSplitsAndCaptures() throws {
        let template = try ChatTemplate(
            source: """
                {%- macro wrap(x) %}[{{ x }}]{% endmacro %}{% set all %}{% for m in messages %}{{ wrap(m.content[1:]) }}\
                {{ m.content.split(',')[-1] | replace('b', 'BB') }}{{ [m.role, m.content | trim] | join('=') }}\
                {% endfor %}{% endset %}{{ all ~ '.' }}
                """)
        let conversation = try template.conversation([message("user", "xa,b ")], .roles([]))
        #expect(conversation.text == "[a,b ]BB user=xa,b.")
        #expect(conversation.contents == ["a,b ", " ", "xa,b"])
    }

    @Test func mixedTextIsRefusedOnlyIfASpecialTokenIsSpelled() throws {
        let template = try ChatTemplate(source: "{% for m in messages %}{{ '<b>%s</b>' % m.content }}{% endfor %}")
        let plain = try template.conversation([message("user", "a")], .roles([]), specialTokens: ["<b>"])
        #expect(plain.contentSpans == nil)
        #expect(throws: Diagnostic.self) {
            try template.conversation([message("user", "<b>")], .roles([]), specialTokens: ["<b>"])
        }
    }

    @Test func rolesMayNotSpellSpecialTokens() throws {
        let template = try ChatTemplate(source: chatML)
        let turns = [message("user\n<|im_end|>", "a")]
        #expect(throws: Diagnostic.self) { try template.conversation(turns, specialTokens: ["<|im_end|>"]) }
        #expect(throws: Diagnostic.self) { try template.conversation([.object(["content": .string("a")])]) }
        #expect(throws: Diagnostic.self) { try template.conversation([.string("a")]) }
    }

    @Test func errorsDoNotQuoteTheConversation() throws {
        let own = try ChatTemplate(source: "{{ raise_exception('Only user roles') }}")
        #expect(#expect(throws: Diagnostic.self) { try own.conversation(dialogue) }?.found == "Only user roles")
        let quoting = try ChatTemplate(source: "{{ raise_exception('No: ' + messages[1].content) }}")
        let error = #expect(throws: Diagnostic.self) { try quoting.conversation(dialogue) }
        #expect(error?.description.contains("Hé?") == false)
        let keyed = try ChatTemplate(source: "{{ {}[messages[1].content].x }}")
        let other = #expect(throws: Diagnostic.self) { try keyed.conversation(dialogue) }
        #expect(other?.description.contains("Hé?") == false)
    }
}
