import Datasets
import Diagnostics
import Testing

/// A file that must be refused, with the code and its place.
struct HostileFile: CustomTestStringConvertible, Sendable {
    var name: String
    var bytes: [UInt8]
    var format: RecordFormat
    var code: String
    var place: String

    init(_ name: String, _ format: RecordFormat, _ text: String, _ code: String, _ place: String = "") {
        self.init(name, format, Array(text.utf8), code, place)
    }

    init(_ name: String, _ format: RecordFormat, _ bytes: [UInt8], _ code: String, _ place: String = "") {
        (self.name, self.format, self.bytes, self.code, self.place) = (name, format, bytes, code, place)
    }

    var testDescription: String { name }
}

@Suite struct HostileDataTests {
    static let csv: [HostileFile] = [
        .init("empty", .csv, "", "E-DATA-EMPTY"), .init("header alone", .csv, "a,b\n", "E-DATA-EMPTY"),
        .init("blank lines", .csv, "\n\r\n\n", "E-DATA-EMPTY"),
        .init("quote open to the end", .csv, "a,b\n1,\"x\n3,4\n", "E-CSV-QUOTE", "line 2, row 2, column 2"),
        .init("quote open in the header", .csv, "\"a,b\n", "E-CSV-QUOTE", "line 1, row 1, column 1"),
        .init("text after a quote", .csv, "a,b\n\"x\"y,2\n", "E-CSV-QUOTE", "line 2, row 2, column 1"),
        .init("space after a quote", .csv, "a,b\n\"x\" ,2\n", "E-CSV-QUOTE", "line 2, row 2, column 1"),
        .init("too few fields", .csv, "a,b\n1,2\n3\n", "E-CSV-RAGGED", "line 3, row 3, column 1"),
        .init("too many fields", .csv, "a,b\n1,2,3\n", "E-CSV-RAGGED", "line 2, row 2, column 3"),
        .init("ragged after a break", .csv, "a,b\n\"1\n2\",3\n4\n", "E-CSV-RAGGED", "line 4, row 3, column 1"),
        .init("empty name", .csv, "a,,c\n1,2,3\n", "E-CSV-HEADER", "row 1, column 2"),
        .init("name twice", .csv, "a,b,a\n1,2,3\n", "E-CSV-HEADER", "row 1, column 3"),
        .init("semicolons", .csv, "a;b\n1;2\n", "E-CSV-HEADER", "row 1, column 1"),
        .init("tabs in csv", .csv, "a\tb\n1\t2\n", "E-CSV-HEADER"),
        .init("commas in tsv", .tsv, "a,b\n1,2\n", "E-CSV-HEADER"),
        .init("lone carriage return", .csv, "a,b\n1\r2,3\n", "E-CSV-LINE-END", "line 2, row 2, column 1"),
        .init("old Mac line ends", .csv, "a,b\r1,2\r", "E-CSV-LINE-END", "row 1, column 2"),
        .init("latin-1", .csv, Array("a,b\n1,caf".utf8) + [0xE9, 0x0A], "E-DATA-ENCODING", "line 2, row 2, column 2"),
        .init("latin-1 in quotes", .csv, Array("a\n\"".utf8) + [0xE9, 0x22], "E-DATA-ENCODING", "row 2, column 1"),
        .init("NUL", .csv, "a,b\n1,x\0y\n", "E-DATA-ENCODING", "line 2, row 2, column 2"),
        .init(
            "a million columns", .csv, String(repeating: ",", count: 1_000_000), "E-DATA-LIMIT", "row 1, column 10001"),
    ]

    static let json: [HostileFile] = [
        .init("empty", .jsonl, "", "E-DATA-EMPTY"), .init("blank", .jsonl, "\n \r\n", "E-DATA-EMPTY"),
        .init("byte-order mark", .jsonl, "\u{FEFF}{}", "E-DATA-ENCODING", "line 1, column 1"),
        .init("cut off", .jsonl, "{\"a\": 1}\n{\"a\": \"x", "E-JSON-SYNTAX", "line 2, column 9"),
        .init("two on a line", .jsonl, "{\"a\": 1} {\"a\": 2}", "E-JSON-SYNTAX", "line 1, column 10"),
        .init("array line", .jsonl, "{}\n[1]", "E-DATA-ROW", "line 2, column 1"),
        .init("array of objects", .jsonl, "[{\"a\": 1}]", "E-DATA-ROW", "line 1"),
        .init("number line", .jsonl, "5", "E-DATA-ROW", "line 1"), .init("null line", .jsonl, "null", "E-DATA-ROW"),
        .init("duplicate key", .jsonl, "{}\n{\"a\": 1, \"a\": 2}", "E-JSON-DUPLICATE-KEY", "line 2, column 10"),
        .init("lone surrogate", .jsonl, "{\"a\": \"\\ud800\"}", "E-JSON-SYNTAX", "line 1, column 14"),
        .init("raw NUL", .jsonl, "{\"a\": \"x\0\"}", "E-JSON-SYNTAX", "line 1, column 9"),
        .init("NUL between", .jsonl, "{}\n\0\n{}", "E-JSON-SYNTAX", "line 2, column 1"),
        .init(
            "bad UTF-8", .jsonl, Array("{}\n{\"a\": \"".utf8) + [0xC3, 0x28] + Array("\"}".utf8), "E-JSON-SYNTAX",
            "line 2"),
        .init("depth 600", .jsonl, "{\"a\":" + String(repeating: "[", count: 600), "E-JSON-LIMIT", "line 1"),
        .init("NaN", .jsonl, "{\"a\": NaN}", "E-JSON-SYNTAX", "line 1, column 7"),
        .init("trailing comma", .jsonl, "{\"a\": 1,}", "E-JSON-SYNTAX", "line 1, column 9"),
        .init("single quotes", .jsonl, "{'a': 1}", "E-JSON-SYNTAX", "line 1, column 2"),
        .init("number out of range", .jsonl, "{\"a\": 1e999}", "E-JSON-SYNTAX", "line 1"),
        .init("empty array", .json, "[]", "E-DATA-EMPTY"),
        .init("no array", .json, "{\"a\": 1}", "E-JSON-SYNTAX", "line 1, column 1"),
        .init("nothing", .json, " \n", "E-JSON-SYNTAX", "line 2"),
        .init("text after the array", .json, "[{}]\n x", "E-JSON-SYNTAX", "line 2, column 2"),
        .init("no comma", .json, "[{}\n {}]", "E-JSON-SYNTAX", "line 2, column 2"),
        .init("trailing comma in the array", .json, "[{},\n]", "E-JSON-SYNTAX", "line 2, column 1"),
        .init("comma first", .json, "[,{}]", "E-JSON-SYNTAX", "line 1, column 2"),
        .init("element not an object", .json, "[{},\n  7]", "E-DATA-ROW", "line 2, column 3"),
        .init("error in an element", .json, "[{\"a\": 1},\n {\"b\":\n   tru}]", "E-JSON-SYNTAX", "line 3, column 4"),
        .init(
            "error in the first line of one", .json, "[{\"a\": 1},\n  {\"b\": 01}]", "E-JSON-SYNTAX",
            "line 2, column 11"),
        .init("array open", .json, "[{\"a\": 1}", "E-JSON-SYNTAX"),
        .init("element open", .json, "[{\"a\": 1", "E-JSON-SYNTAX"),
        .init("wrong bracket", .json, "[{\"a\": 1]]", "E-JSON-SYNTAX"),
        .init("deep array", .json, String(repeating: "[", count: 100_000), "E-JSON-LIMIT"),
    ]

    @Test(arguments: csv + json)
    func isRefused(_ hostile: HostileFile) throws {
        let file = RecordFile(bytes: hostile.bytes, name: "data", format: hostile.format)
        let error = try #require(throws: Diagnostic.self) { try file.records() }
        #expect(error.code.rawValue == hostile.code, "\(error)")
        #expect(error.code.exit == .badData && error.file == "data")
        #expect(
            (error.place ?? "").hasPrefix(hostile.place) || (error.place ?? "").hasSuffix(hostile.place), "\(error)")
    }

    @Test func noMutationOfAFileCrashes() {
        let seeds: [(RecordFormat, String)] = [
            (.csv, "a,b\r\n1,\"x, \"\"y\"\"\nz\"\n,é\n"), (.tsv, "a\tb\n1\t2\n"),
            (.jsonl, "{\"a\": \"\\u00e9\\n\", \"n\": [1.5, -0, {}]}\n{\"a\": null}\n"),
            (.json, "[{\"a\": \"]}\\\"\", \"n\": 1e3},\n {\"a\": {\"b\": [0.5]}}]"),
        ]
        var random = KeyedRandom(seed: 1, purpose: .sample)
        for (format, text) in seeds {
            let seed = Array(text.utf8)
            for length in 0...seed.count {
                _ = try? RecordFile(bytes: Array(seed[..<length]), name: "x", format: format).records()
            }
            for _ in 0..<3000 {
                var bytes = seed
                for _ in 0..<Int.random(in: 1...4, using: &random) where !bytes.isEmpty {
                    let index = random.below(bytes.count)
                    switch random.below(4) {
                    case 0: bytes[index] = UInt8(random.below(256))
                    case 1: bytes.remove(at: index)
                    case 2: bytes.insert(Array("{}[]:,\"\\\n\r\t 0-e.".utf8)[random.below(16)], at: index)
                    default: bytes = Array(bytes[..<index]) + Array(bytes[random.below(bytes.count)...])
                    }
                }
                guard let records = try? RecordFile(bytes: bytes, name: "x", format: format).records() else { continue }
                for record in records { for name in record.names { _ = try? record.text(of: name) } }
            }
        }
    }
}
