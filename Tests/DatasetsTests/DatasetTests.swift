import Batches
import Datasets
import Diagnostics
import StrictJSON
import Testing

@Suite struct DatasetTests {
    private let mapping: RecordMapping

    init() throws {
        mapping = RecordMapping(
            form: .texts(
                system: nil, prompt: try TextTemplate(parsing: "{q}"), completion: try TextTemplate(parsing: "{a}")))
    }

    private func file(_ text: String, name: String = "data.csv") -> RecordFile {
        RecordFile(bytes: Array(text.utf8), name: name, format: .csv)
    }

    private func encoder(length: Int = 100, _ policy: TooLongPolicy = .refuse, start: String = "") -> ExampleEncoder {
        ExampleEncoder(
            tokenizer: ByteTokenizer(), renderer: ChatMLRenderer(start: start), stopTokens: [258],
            maximumLength: length, tooLong: policy)
    }

    @Test func theLedgerAccountsForEveryRecord() throws {
        let first = file("q,a,k\nx,y,1\nx,y,1\nz,y,2\n" + String(repeating: "v", count: 60) + ",y,1\n")
        let second = file("q,a,k\nw,u,1\n", name: "more.csv")
        let filter = RecordFilter(conditions: [.init(field: "k", values: ["1"])])
        let set = try ConversationSet(files: [first, second], mapping: mapping, filter: filter)
        let dataset = try Dataset(set, encoder: encoder(length: 60, .drop))
        var ledger = dataset.ledger
        #expect(dataset.examples.count == 3 && ledger.rows == 3 && ledger.duplicates == 1)
        #expect(ledger.sources.map(\.records) == [4, 1] && ledger.sources.map(\.rows) == [2, 1])
        #expect(ledger.sources[0].dropped == [.filtered: 1, .tooLong: 1] && ledger.sources[1].dropped.isEmpty)
        // Each row: <|im_start|> user \n ? <|im_end|> \n <|im_start|> assistant \n ? <|im_end|> \n
        #expect(ledger.lengths == [23, 23, 23] && ledger.tokens == 69 && ledger.supervisedTokens == 9)
        #expect(ledger.rowsThatLearnToStop == 3 && ledger.rowsWithStart == 0 && ledger.truncated == 0)
        #expect(ledger.histogram.map(\.atMost) == [32] && ledger.histogram.map(\.rows) == [3])
        let batch = PackedBatch(dataset.examples, sharingPrefixes: true)
        ledger.savedTokens = batch.savedTokenCount
        #expect(batch.savedTokenCount > 22)
        #expect(ledger.json["rows"]?.integer == 3 && ledger.json["sources"]?.array?.count == 2)
        #expect(ledger.json["sources"]?.array?[0]["dropped"]?["too long"]?.integer == 1)
        #expect(ledger.json["tokens_saved_by_shared_prefixes"]?.integer == batch.savedTokenCount)
        #expect(ledger.text.contains("data.csv: 4 records, 2 rows") && ledger.text.contains("learned: 9 (13.0 %)"))
        #expect(ledger.text.contains("left out, too long: 1") && ledger.text.contains("up to 32: 3; longest 23"))
    }

    @Test func aRecordThatIsTooLongNamesFileAndLine() throws {
        let set = try ConversationSet(files: [file("q,a\nx,y\n\nxxxxxxxx,y\n")], mapping: mapping)
        let error = try #require(throws: Diagnostic.self) { try Dataset(set, encoder: encoder(length: 25)) }
        #expect(error.code.rawValue == "E-DATA-TOO-LONG" && error.file == "data.csv" && error.place == "line 4")
    }

    @Test func emptyAnswersNameFileAndLine() throws {
        let error = try #require(throws: Diagnostic.self) {
            try ConversationSet(files: [file("q,a\nx,y\nz,\n")], mapping: mapping)
        }
        #expect(error.code.rawValue == "E-DATA-EMPTY-TEXT" && error.file == "data.csv")
        #expect(error.place == "line 3, key \"completion\"")
    }

    @Test func trainingOnNothingIsRefused() throws {
        var silent = mapping
        silent.learnedRoles = []
        let set = try ConversationSet(files: [file("q,a\nx,y\n")], mapping: silent)
        let error = try #require(throws: Diagnostic.self) { try Dataset(set, encoder: encoder()) }
        #expect(error.code.rawValue == "E-DATA-NOTHING-SUPERVISED")
        let cut = try ConversationSet(files: [file("q,a\nx,y\n")], mapping: mapping)
        let short = try #require(throws: Diagnostic.self) { try Dataset(cut, encoder: encoder(length: 10, .truncate)) }
        #expect(short.code.rawValue == "E-DATA-NOTHING-SUPERVISED")
    }

    @Test func aDoubleStartIsRefused() throws {
        let set = try ConversationSet(files: [file("q,a\nx,y\n")], mapping: mapping)
        #expect(try Dataset(set, encoder: encoder(start: "<s>")).ledger.rowsWithStart == 1)
        let error = try #require(throws: Diagnostic.self) { try Dataset(set, encoder: encoder(start: "<s><s>")) }
        #expect(error.code.rawValue == "E-DATA-DOUBLE-BOS")
    }

    @Test func samplesAreEvenRepeatableAndInOrder() throws {
        let text = "q,a,k\n" + (0..<400).map { "q\($0),a,\($0 % 2)\n" }.joined()
        func questions(_ filter: RecordFilter) throws -> [String] {
            try ConversationSet(files: [file(text)], mapping: mapping, filter: filter).conversations
                .map { $0.conversation.messages[0].content }
        }
        let odd = [RecordFilter.Condition(field: "k", values: ["1"])]
        let first = try questions(RecordFilter(conditions: odd, sample: 50, seed: 1))
        #expect(first.count == 50 && Set(first).count == 50)
        #expect(first == (try questions(RecordFilter(conditions: odd, sample: 50, seed: 1))))
        #expect(first != (try questions(RecordFilter(conditions: odd, sample: 50, seed: 2))))
        let numbers = first.map { Int($0.dropFirst())! }
        #expect(numbers == numbers.sorted() && numbers.allSatisfy { $0 % 2 == 1 })
        #expect(numbers.contains { $0 < 100 } && numbers.contains { $0 > 300 })
        #expect(try questions(RecordFilter(sample: 1000)).count == 400)
        #expect(try questions(RecordFilter(conditions: odd, limit: 3)) == ["q1", "q3", "q5"])
        #expect(try questions(RecordFilter(conditions: odd, sample: 50, seed: 1, limit: 4)) == Array(first.prefix(4)))
    }

    @Test func aLabelThatNoRecordHasIsAnErrorInTraining() throws {
        let data = file("q,a,k\nx,y,one\n")
        let filter = RecordFilter(conditions: [.init(field: "k", values: ["one", "tow"])])
        #expect(try ConversationSet(files: [data], mapping: mapping, filter: filter).conversations.count == 1)
        let error = try #require(throws: Diagnostic.self) {
            try ConversationSet(files: [data], mapping: mapping, filter: filter, requiringEveryValue: true)
        }
        #expect(error.code.rawValue == "E-DATA-LABEL" && error.found.contains("tow"))
        let none = RecordFilter(conditions: [.init(field: "k", values: ["x"])])
        #expect(throws: Diagnostic.self) { try ConversationSet(files: [data], mapping: mapping, filter: none) }
        let unknown = RecordFilter(conditions: [.init(field: "kk", values: ["x"])])
        let field = try #require(throws: Diagnostic.self) {
            try ConversationSet(files: [data], mapping: mapping, filter: unknown)
        }
        #expect(field.code.rawValue == "E-DATA-FIELD" && field.fix == "Write \"k\"")
    }

    @Test func questionsThatAreTrainedOnAreCounted() throws {
        let training = try ConversationSet(files: [file("q,a\nx,y\nz,y\n")], mapping: mapping)
        let held = try ConversationSet(files: [file("q,a\nx,other\nw,y\n")], mapping: mapping)
        #expect(held.shared(with: training).count == 1)
    }
}
