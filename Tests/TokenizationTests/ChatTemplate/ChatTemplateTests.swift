import Diagnostics
import StrictJSON
import Testing

@testable import Tokenization

struct ChatTemplateTests {
    private func place(_ source: String) throws -> String? {
        #expect(throws: Diagnostic.self) { try ChatTemplate(source: source) }?.place
    }

    @Test func errorsOfSyntaxNameLineAndColumn() throws {
        #expect(try place("é{{ 1 2 }}") == "line 1, column 7")
        #expect(try place("a\nb {% nosuch %}") == "line 2, column 6")
        #expect(try place("a\r\nb\r{{ ? }}") == "line 3, column 4")
        #expect(try place("{% if 1 %}\n\nx") == "line 3, column 2")
        #expect(try place("\n{{ 1 | nosuch }}") == "line 2")
    }

    @Test func errorsOfRunningNameTheLine() throws {
        let template = try ChatTemplate(source: "a\n{% for x in [1] %}\n{{ x.y.z }}\n{% endfor %}")
        let now = try ChatClock("2025-03-14")
        let error = #expect(throws: Diagnostic.self) { try template.render(messages: .array([]), now: now) }
        #expect(error?.place == "line 3")
        #expect(error?.found == "'int object' has no attribute 'y'")
        #expect(error?.code.rawValue == "E-TEMPLATE-RUNTIME")
    }

    @Test func codesTellWhatKindOfErrorItIs() throws {
        let now = try ChatClock("2025-03-14")
        let rows = [
            ("{{ raise_exception('x') }}", "E-TEMPLATE-RAISED"), ("{{ ''.__class__.x }}", "E-TEMPLATE-SECURITY"),
            ("{{ 'x' * 10 ** 9 }}", "E-TEMPLATE-LIMIT"), ("{{ 1 + 'a' }}", "E-TEMPLATE-RUNTIME"),
        ]
        for (source, code) in rows {
            let template = try ChatTemplate(source: source)
            let error = #expect(throws: Diagnostic.self) { try template.render(messages: .array([]), now: now) }
            #expect(error?.code.rawValue == code, "\(source)")
        }
    }

    @Test func toolsAndDocumentsAreNoneUnlessGiven() throws {
        let template = try ChatTemplate(source: "{{ tools is none }} {{ documents is none }} {{ tools }}")
        let now = try ChatClock("2025-03-14")
        #expect(try template.render(messages: .array([]), now: now).text == "True True None")
        let given = try template.render(
            messages: .array([]), documents: .array([]), variables: ["tools": .integer(3)], now: now)
        #expect(given.text == "False False 3")
    }

    @Test func twoRenderingsAreTheSame() throws {
        let template = try ChatTemplate(source: "{{ strftime_now('%c') }}{{ {'b': 1, 'a': 2} }}{% set x = 1 %}{{ x }}")
        let now = try ChatClock("2025-03-14T01:02:03")
        let first = try template.render(messages: .array([]), now: now)
        let second = try template.render(messages: .array([]), now: now)
        #expect(first.text == "Fri Mar 14 01:02:03 2025{'b': 1, 'a': 2}1")
        #expect(second.text == first.text)
    }

    @Test func aRequestWithoutMessagesIsAnError() throws {
        let template = try ChatTemplate(source: "x")
        let now = try ChatClock("2025-03-14")
        #expect(template.answer(.array([]), now: now)["error"] != nil)
        #expect(template.answer(.object([:]), now: now)["error"] != nil)
        #expect(template.answer(.object(["messages": .array([])]), now: now)["rendered"] == .string("x"))
    }
}
