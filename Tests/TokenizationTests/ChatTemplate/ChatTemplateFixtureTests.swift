import Diagnostics
import StrictJSON
import TestSupport
import Testing

@testable import Tokenization

/// The vectors of transformers: every conversation through every template.
struct ChatTemplateFixtureTests {
    static let names = [
        "chatml", "deepseek", "eurollm", "gemma", "llama3_tools", "mistral_inst", "qwen3_thinking", "zephyr",
    ]

    @Test(arguments: names) func rendersAsTransformersDoes(_ name: String) throws {
        let file = try JSONValue(parsing: Array(Fixture.data("chat_templates/\(name).json")))
        let source = try #require(
            String(validating: Array(Fixture.data("chat_templates/\(name).jinja")), as: UTF8.self))
        let template = try ChatTemplate(source: source)
        #expect(template.hasGenerationTags == file["supports_generation_tags"]?.bool)
        let clock = try ChatClock(try #require(file["clock_frozen_at"]?.string))
        let cases = try #require(file["cases"]?.array)
        #expect(cases.count == 12)
        for fixture in cases {
            let answer = template.answer(fixture, now: clock)
            let label = "\(name) \(fixture["conversation"]?.string ?? "") \(fixture["add_generation_prompt"] ?? .null)"
            if let message = fixture["error"] {
                #expect(answer == .object(["error": message]), "\(label)")
                continue
            }
            let rendered = try #require(answer["rendered"]?.string, "\(label): \(answer)")
            let expected = try #require(fixture["rendered"]?.string)
            #expect(Array(rendered.utf8) == Array(expected.utf8), "\(label): \(rendered)")
            if let spans = fixture["assistant_spans_utf8"] {
                #expect(answer["assistant_spans_utf8"] == spans, "\(label)")
            }
        }
    }
}
