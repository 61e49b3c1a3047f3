import Diagnostics
import StrictJSON
import Testing

@Suite struct JSONParserTests {
    @Test func readsEveryKindOfValue() throws {
        let value = try JSONValue(
            parsing: #" {"a": [1, -2.5, 1e3, true, null], "b": {"c": "é\n\ud83d\ude00"}, "d": []} "#)
        #expect(value["a"] == .array([.integer(1), .number(-2.5), .number(1000), .bool(true), .null]))
        #expect(value["b"]?["c"]?.string == "é\n😀")
        #expect(value["d"] == .array([]))
    }

    @Test func keepsTheOrderOfKeysAndTellsCanonicalEquivalentsApart() throws {
        let value = try JSONValue(parsing: "{\"z\": 1, \"e\u{301}\": 2, \"\u{e9}\": 3, \"a\": {}}")
        #expect(value.object?.keys.map { Array($0.utf8) } == ["z", "e\u{301}", "\u{e9}", "a"].map { Array($0.utf8) })
    }

    @Test(arguments: [
        "", " ", "{", "[1,]", "{\"a\":1,}", "[1 2]", "nul", "01", "1.", "+1", "1e", "1e400", "\"a", "\"\u{1}\"",
        "\"\\x\"",
        "\"\\ud800\"", "\"\\udc00\"", "{\"a\":1} x", "{a:1}", "\u{feff}{}", "[NaN]", "{\"a\":1,\"a\":2}", "{\"a\" 1}",
    ])
    func refusesWhatIsNotStrictJSON(_ text: String) {
        #expect(throws: Diagnostic.self) { try JSONValue(parsing: text) }
    }

    @Test func refusesBytesThatAreNotUTF8() {
        #expect(throws: Diagnostic.self) { try JSONValue(parsing: [0x22, 0xC3, 0x28, 0x22]) }
    }

    @Test func limitsTheDepthButCountsSiblingsOnce() throws {
        _ = try JSONValue(parsing: String(repeating: "[", count: 64) + String(repeating: "]", count: 64))
        _ = try JSONValue(parsing: "[" + Array(repeating: "{}, [], [[]]", count: 100).joined(separator: ",") + "]")
        #expect(throws: Diagnostic.self) {
            try JSONValue(parsing: String(repeating: "[", count: 65) + String(repeating: "]", count: 65))
        }
    }

    @Test func writesWhatItReads() throws {
        let text = #"{"b":[1,2.5,"x\"\\\n"],"a":{}}"#
        #expect(try JSONValue(parsing: text).serialized() == text)
        #expect(
            try JSONValue(parsing: text).serialized(.indentedSorted).hasPrefix("{\n  \"a\": {},\n  \"b\": [\n    1,"))
    }
}
