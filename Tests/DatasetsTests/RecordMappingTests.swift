import Datasets
import Diagnostics
import StrictJSON
import Testing

@Suite struct RecordMappingTests {
    private func record(_ json: String) throws -> Record {
        try #require(try RecordFileTests.file(json, .jsonl).records().first)
    }

    private func texts(_ system: String?, _ prompt: String?, _ completion: String) throws -> RecordMapping {
        RecordMapping(
            form: .texts(
                system: try system.map { try TextTemplate(parsing: $0) },
                prompt: try prompt.map { try TextTemplate(parsing: $0) },
                completion: try TextTemplate(parsing: completion)))
    }

    private let messages = RecordMapping(form: .messages(field: "m"))

    @Test func fieldsBecomeTurns() throws {
        let record = try record(#"{"q": "Why?", "a": "So.", "none": ""}"#)
        let conversation = try texts("Be brief.", "Q: {q}", "{a}").conversation(for: record)
        #expect(
            conversation.messages == [
                Message(role: "system", content: "Be brief."), Message(role: "user", content: "Q: Why?"),
                Message(role: "assistant", content: "So.", isSupervised: true),
            ])
        #expect(conversation.reference == "So." && conversation.prompt.messages.count == 2 && conversation.line == 1)
        #expect(
            try texts("{none}", "{q}", "{a}").conversation(for: record).messages.map(\.role) == ["user", "assistant"])
        #expect(try texts(nil, "{q}", "{missing}").prompt(for: record).messages.map(\.role) == ["user"])
        #expect(try texts(nil, nil, "{a}").conversation(for: record).isPlainText)
    }

    @Test func emptyTextsAreRefused() throws {
        let record = try record(#"{"q": "Why?", "a": " \n", "e": ""}"#)
        for mapping in [try texts(nil, "{q}", "{a}"), try texts(nil, "{q}", "{e}"), try texts(nil, "{e}", "{q}")] {
            let error = try #require(throws: Diagnostic.self) { try mapping.conversation(for: record) }
            #expect(error.code.rawValue == "E-DATA-EMPTY-TEXT" && error.place?.hasPrefix("line 1") == true)
        }
    }

    @Test func messagesKeepRolesWeightsAndExtras() throws {
        let record = try record(
            #"""
            {"m": [{"role": "system", "content": "S"}, {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, {"role": "assistant", "content": null, "tool_calls": [{"id": "1"}], "weight": 0}, {"role": "tool", "content": "42", "name": "f"}, {"role": "assistant", "content": "done", "weight": 1}], "tools": [{"type": "function"}]}
            """#)
        let conversation = try messages.conversation(for: record)
        #expect(conversation.messages.map(\.role) == ["system", "user", "assistant", "tool", "assistant"])
        #expect(conversation.messages.map(\.content) == ["S", "ab", "", "42", "done"])
        #expect(conversation.messages.map(\.isSupervised) == [false, false, false, false, true])
        #expect(
            conversation.messages[2].extras.keys == ["tool_calls"] && conversation.messages[3].extras.keys == ["name"])
        #expect(conversation.tools?.array?.count == 1)
        var learning = messages
        learning.learnedRoles = ["user"]
        #expect(
            try learning.conversation(for: record).messages.map(\.isSupervised) == [false, true, false, false, false])
    }

    static let hostile: [(String, String, String)] = [
        (#"{"x": 1}"#, "E-DATA-FIELD", "key \"m\""), (#"{"m": "hi"}"#, "E-DATA-VALUE", "key \"m\""),
        (#"{"m": null}"#, "E-DATA-VALUE", "key \"m\""), (#"{"m": []}"#, "E-DATA-MESSAGES", "key \"m\""),
        (#"{"m": ["hi"]}"#, "E-DATA-MESSAGES", "m[0]"), (#"{"m": [{"content": "x"}]}"#, "E-DATA-MESSAGES", "m[0].role"),
        (#"{"m": [{"role": 1, "content": "x"}]}"#, "E-DATA-MESSAGES", "m[0].role"),
        (#"{"m": [{"role": "bot", "content": "x"}]}"#, "E-DATA-MESSAGES", "m[0].role"),
        (#"{"m": [{"role": "assistant", "content": "x"}]}"#, "E-DATA-MESSAGES", "m[0].role"),
        (#"{"m": [{"role": "user", "content": "x"}]}"#, "E-DATA-MESSAGES", "key \"m\""),
        (#"{"m": [{"role": "system", "content": "x"}]}"#, "E-DATA-MESSAGES", "key \"m\""),
        (#"{"m": [{"role": "user"}]}"#, "E-DATA-MESSAGES", "m[0].content"),
        (#"{"m": [{"role": "user", "content": 5}]}"#, "E-DATA-MESSAGES", "m[0].content"),
        (#"{"m": [{"role": "user", "content": [{"type": "image_url"}]}]}"#, "E-DATA-MESSAGES", "m[0].content"),
        (#"{"m": [{"role": "user", "content": " "}]}"#, "E-DATA-EMPTY-TEXT", "m[0].content"),
        (
            #"{"m": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}"#, "E-DATA-MESSAGES",
            "m[1].role"
        ),
        (
            #"{"m": [{"role": "user", "content": "a"}, {"role": "system", "content": "b"}]}"#, "E-DATA-MESSAGES",
            "m[1].role"
        ),
        (
            #"{"m": [{"role": "user", "content": "a"}, {"role": "assistant", "content": ""}]}"#, "E-DATA-EMPTY-TEXT",
            "m[1].content"
        ),
        (
            #"{"m": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "weight": 2}]}"#,
            "E-DATA-MESSAGES", "m[1].weight"
        ),
    ]

    @Test(arguments: hostile)
    func refusesMessagesOutOfOrder(_ json: String, code: String, place: String) throws {
        let record = try record(json)
        let error = try #require(throws: Diagnostic.self) { try messages.conversation(for: record) }
        #expect(error.code.rawValue == code && error.code.exit == .badData, "\(error)")
        #expect((error.place ?? "").hasPrefix("line 1, key") && (error.place ?? "").contains(place), "\(error)")
    }
}
