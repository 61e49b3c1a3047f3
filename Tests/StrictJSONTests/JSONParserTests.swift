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

    @Test func readsTheLimitsOfIntegers() throws {
        let value = try JSONValue(parsing: "[9223372036854775807, -9223372036854775808, 9223372036854775808, -0, 0]")
        #expect(
            value.array == [
                .integer(.max), .integer(.min), .number(9_223_372_036_854_775_808), .integer(0), .integer(0),
            ])
    }

    @Test(arguments: [1, 7, 8, 9, 31, 32, 33, 5000]) func findsEveryKeyOfAnObjectOfAnySize(_ count: Int) throws {
        let members = (0..<count).map { "\"key\($0)\": \($0)" }
        var object = try #require(try JSONValue(parsing: "{" + members.joined(separator: ",") + "}").object)
        #expect(object.count == count && object["key"] == nil && object["key\(count)"] == nil)
        for index in 0..<count { #expect(object["key\(index)"] == .integer(index)) }
        #expect(throws: Diagnostic.self) {
            try JSONValue(parsing: "{" + (members + [members[count / 2]]).joined(separator: ",") + "}")
        }
        object["key0"] = nil
        object["new"] = .null
        #expect(object["key0"] == nil && object["new"] == .null && object.count == count)
        for index in 1..<max(1, count) { #expect(object["key\(index)"] == .integer(index)) }
    }

    @Test(
        arguments: [
            [0x80], [0xC0, 0x80], [0xC1, 0xBF], [0xE0, 0x9F, 0xBF], [0xED, 0xA0, 0x80], [0xF0, 0x8F, 0xBF, 0xBF],
            [0xF4, 0x90, 0x80, 0x80], [0xF5, 0x80, 0x80, 0x80], [0xFF], [0xC3], [0xE2, 0x82], [0xF0, 0x9F, 0x98],
            [0xE2, 0x28, 0xA1], [0xF0, 0x9F, 0x28, 0x80],
        ] as [[UInt8]])
    func refusesEachKindOfBytesThatAreNotUTF8(_ bytes: [UInt8]) {
        for text in [bytes, [0x61] + bytes + [0x62], [0x5C, 0x6E] + bytes] {
            #expect(throws: Diagnostic.self) { try JSONValue(parsing: [0x22] + text + [0x22]) }
        }
    }

    @Test func readsTheFirstAndLastCharacterOfEachLength() throws {
        let text = "\u{20}\u{7F}\u{80}\u{7FF}\u{800}\u{D7FF}\u{E000}\u{FFFF}\u{10000}\u{10FFFF}"
        let value = try JSONValue(parsing: "[\"\(text)\", \"\\u0000\\u007f\\u0080\\uD7FF\\uffff\\udbff\\udfff\"]")
        #expect(value.array?[0].string.map { Array($0.utf8) } == Array(text.utf8))
        #expect(
            value.array?[1].string?.unicodeScalars.map(\.value) == [0, 0x7F, 0x80, 0xD7FF, 0xFFFF, 0x10FFFF])
    }
}
