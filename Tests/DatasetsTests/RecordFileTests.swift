import Datasets
import Diagnostics
import Foundation
import StrictJSON
import TestSupport
import Testing

@Suite struct RecordFileTests {
    static func file(_ text: String, _ format: RecordFormat) -> RecordFile {
        RecordFile(bytes: Array(text.utf8), name: "data." + format.rawValue, format: format)
    }

    private func rows(_ text: String, _ format: RecordFormat = .csv) throws -> [[String]] {
        try Self.file(text, format).records().map { record in try record.names.map { try record.text(of: $0) } }
    }

    @Test func readsQuotedFieldsAfterRFC4180() throws {
        let text = "a,b,c\r\n1,\"x, \"\"y\"\"\r\nz\",\r\n\"\",é,\"\"\"\"\r\n"
        let records = try Self.file(text, .csv).records()
        #expect(records.map(\.names) == [["a", "b", "c"], ["a", "b", "c"]])
        #expect(try rows(text) == [["1", "x, \"y\"\r\nz", ""], ["", "é", "\""]])
        #expect(records.map(\.line) == [2, 4])
    }

    @Test func toleratesWhatEveryReaderUnderstandsAlike() throws {
        #expect(try rows("\u{FEFF}a,b\n1,2") == [["1", "2"]])
        #expect(try rows("a,b\n\n1,2\n\r\n3,4\n\n") == [["1", "2"], ["3", "4"]])
        #expect(try rows("a,b\n5\" pipe,0012\n") == [["5\" pipe", "0012"]])
        #expect(try rows("a\tb\n1,5\t\"x\ty\"\n", .tsv) == [["1,5", "x\ty"]])
        #expect(try rows("a,b\r\n1,2\r") == [["1", "2"]])
        #expect(try rows("\"a,1\",b\n1,2") == [["1", "2"]])
    }

    @Test func readsJSONLines() throws {
        let text = "{\"t\": \"é\\n\", \"n\": 1.50}\r\n\n{\"t\": {\"b\": [1, 2.5]}, \"n\": -0}"
        let records = try Self.file(text, .jsonl).records()
        #expect(records.map(\.line) == [1, 3])
        #expect(try rows(text, .jsonl) == [["é\n", "1.50"], ["{\"b\":[1,2.5]}", "-0"]])
    }

    @Test func readsAJSONArray() throws {
        let text = "[\n {\"a\": \"x\", \"n\": 1e3},\n\n {\"a\": \"]},{\\\"\",\n  \"n\": 12345678901234567890}\n]\n"
        let records = try Self.file(text, .json).records()
        #expect(records.map(\.line) == [2, 4])
        #expect(try rows(text, .json) == [["x", "1e3"], ["]},{\"", "12345678901234567890"]])
    }

    @Test func numbersAndWordsAreWrittenAsTheyStand() throws {
        let text = #"{"a": 7, "b": true, "c": 0.10, "d": 1E5, "e": [0.10], "f": 0, "g": -7}"#
        #expect(try rows(text, .jsonl) == [["7", "true", "0.10", "1E5", "[0.1]", "0", "-7"]])
    }

    @Test func anUnknownFieldSuggestsTheNearest() throws {
        let record = try #require(try Self.file("text,category\na,b\n", .csv).records().first)
        let error = try #require(throws: Diagnostic.self) { try record.text(of: "txet") }
        #expect(error.code.rawValue == "E-DATA-FIELD" && error.place == "line 2, key \"txet\"")
        #expect(error.fix == "Write \"text\"")
        #expect(record["te\u{301}xt"] == nil)
    }

    @Test func nullIsNoText() throws {
        let record = try #require(try Self.file("{\"a\": null}", .jsonl).records().first)
        let error = try #require(throws: Diagnostic.self) { try record.text(of: "a") }
        #expect(error.code.rawValue == "E-DATA-VALUE")
    }

    @Test func formatsFollowTheName() {
        #expect(RecordFormat(path: "a/b.CSV") == .csv && RecordFormat(path: "x.ndjson") == .jsonl)
        #expect(RecordFormat(path: "x.tab") == .tsv && RecordFormat(path: "x.json") == .json)
        #expect(RecordFormat(path: "x.txt") == nil && RecordFormat(path: ".csv") == nil)
        #expect(RecordFormat(path: "a.csv/b") == nil)
    }

    @Test func readsFilesFromTheDisk() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "espalier-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        func write(_ name: String, _ bytes: [UInt8]) throws -> String {
            let url = folder.appending(path: name)
            try Data(bytes).write(to: url)
            return url.path
        }
        let path = try write("a.csv", Array("a\nb\n".utf8))
        #expect(try RecordFile(path: path).records().count == 1)
        #expect(try RecordFile(path: path).bytes == Array("a\nb\n".utf8))
        #expect(try RecordFile(path: path, format: .tsv).format == .tsv)
        let pipe = folder.appending(path: "p.csv").path
        #expect(mkfifo(pipe, 0o600) == 0)
        let refused: [(String, String)] = [
            (folder.appending(path: "none.csv").path, "E-DATA-MISSING"), (pipe, "E-DATA-KIND"),
            (folder.path + "/.", "E-DATA-KIND"),
            (folder.path + "/" + String(repeating: "n", count: 300) + ".csv", "E-DATA-READ"),
            (try write("a.txt", [0x61]), "E-DATA-KIND"),
            (try write("gz.csv", [0x1F, 0x8B, 8, 0]), "E-DATA-KIND"),
            (try write("zst.jsonl", [0x28, 0xB5, 0x2F, 0xFD]), "E-DATA-KIND"),
            (try write("utf16.csv", [0xFF, 0xFE, 0x61, 0]), "E-DATA-KIND"),
            (try write("db.csv", Array("SQLite format 3\0".utf8)), "E-DATA-KIND"),
        ]
        for (path, code) in refused {
            let error = try #require(throws: Diagnostic.self) { try RecordFile(path: path) }
            #expect(error.code.rawValue == code && error.file == path, "\(error)")
        }
        let large = try #require(throws: Diagnostic.self) { try RecordFile(path: path, maximumBytes: 3) }
        #expect(large.code.rawValue == "E-DATA-LIMIT")
    }
}

/// A file that somebody writes to is no data: what was read of it is neither the old nor the new.
@Suite struct ChangingFileTests {
    @Test func aFileThatChangesWhileItIsReadIsRefused() throws {
        let folder = try TemporaryFolder()
        let path = try folder.write(
            "text\n" + String(repeating: "a line of some length\n", count: 400_000), to: "a.csv")
        let writer = Thread {
            guard let file = FileHandle(forWritingAtPath: path) else { return }
            while !Thread.current.isCancelled {
                _ = try? file.seekToEnd()
                file.write(Data("one more\n".utf8))
            }
        }
        writer.start()
        defer { writer.cancel() }
        let limit = ContinuousClock.now + .seconds(60)
        var found: Diagnostic?
        while found == nil, ContinuousClock.now < limit {
            do { _ = try RecordFile(path: path) } catch let error as Diagnostic { found = error }
        }
        #expect(found?.code as? DataCode == .changed, "\(String(describing: found))")
    }
}
