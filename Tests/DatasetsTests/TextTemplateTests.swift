import Datasets
import Diagnostics
import StrictJSON
import Testing

@Suite struct TextTemplateTests {
    private let record = Record(
        names: ["text", "n", "e\u{301}"], values: [.string("{x}"), .integer(3), .string("é")], line: 9)

    @Test func fillsSlotsAndKeepsBraces() throws {
        let template = try TextTemplate(parsing: "{{{text}}} \u{1F600}{n}{n}{e\u{301}}}}{{")
        #expect(template.fields == ["text", "n", "e\u{301}"])
        #expect(try template.text(for: record) == "{{x}} \u{1F600}33é}{")
    }

    @Test func aTextWithoutSlotsIsItself() throws {
        #expect(try TextTemplate(parsing: "").text(for: record) == "")
        #expect(try TextTemplate(parsing: "a\r\nb").text(for: record).utf8.elementsEqual("a\r\nb".utf8))
    }

    @Test(arguments: [("{", 1), ("a{b", 2), ("}", 1), ("a}b", 2), ("{}", 1), ("{a{b}", 1), ("{{}", 3), ("é{x", 2)])
    func refusesBracesThatDoNotMatch(_ text: String, column: Int) throws {
        let error = try #require(throws: Diagnostic.self) { try TextTemplate(parsing: text) }
        #expect(error.code.rawValue == "E-DATA-SLOT" && error.place == "character \(column)", "\(error)")
    }

    @Test func aFieldThatIsNotThereNamesTheLine() throws {
        let error = try #require(throws: Diagnostic.self) { try TextTemplate(parsing: "{tex}").text(for: record) }
        #expect(error.place == "line 9, key \"tex\"" && error.fix == "Write \"text\"")
    }
}
