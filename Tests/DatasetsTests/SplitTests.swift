import Datasets
import Diagnostics
import StrictJSON
import Testing

/// Records that are held out by a digest: a group is wholly on one side, and always on the same one.
@Suite struct SplitTests {
    private static let csv =
        "patient,note\n" + (0..<2000).map { "p\($0 % 250),note \($0)" }.joined(separator: "\n") + "\n"

    private func rows(_ field: String?, _ part: RecordFilter.Split.Part, seed: UInt64 = 1) throws -> [(String, String)]
    {
        let split = RecordFilter.Split(field: field, share: 0.2, part: part, seed: seed)
        let mapping = RecordMapping(
            form: .texts(
                system: nil, prompt: try TextTemplate(parsing: "{patient}"),
                completion: try TextTemplate(parsing: "{note}")))
        let set = try ConversationSet(
            files: [RecordFile(bytes: Array(Self.csv.utf8), name: "a.csv", format: .csv)], mapping: mapping,
            filter: RecordFilter(split: split))
        #expect((set.ledger.sources[0].dropped[.otherPart] ?? 0) + set.conversations.count == 2000)
        return set.conversations.map { ($0.conversation.messages[0].content, $0.conversation.messages[1].content) }
    }

    @Test func aGroupIsWhollyOnOneSide() throws {
        let (training, heldOut) = (try rows("patient", .training), try rows("patient", .heldOut))
        #expect(training.count + heldOut.count == 2000)
        #expect(Set(training.map(\.0)).isDisjoint(with: heldOut.map(\.0)))
        // 250 patients, each held out with a chance of 0.2: within four standard deviations.
        #expect((25...75).contains(Set(heldOut.map(\.0)).count))
    }

    @Test func byRecordTheNotesOfAPatientAreOnBoth() throws {
        let (training, heldOut) = (try rows(nil, .training), try rows(nil, .heldOut))
        #expect(training.count + heldOut.count == 2000 && (328...472).contains(heldOut.count))
        #expect(!Set(training.map(\.0)).isDisjoint(with: heldOut.map(\.0)))
    }

    @Test func theSeedAloneDecides() throws {
        #expect(try rows("patient", .heldOut).map(\.1) == rows("patient", .heldOut).map(\.1))
        #expect(try rows("patient", .heldOut).map(\.1) != rows("patient", .heldOut, seed: 2).map(\.1))
    }

    @Test func aFieldThatIsNotThere() throws {
        do {
            _ = try rows("case", .training)
            Issue.record("a missing field was split by")
        } catch let error as Diagnostic { #expect(error.code as? DataCode == .field) }
    }

    @Test func caseSpacesAndPunctuationAreOfNoAccount() {
        func fingerprint(_ text: String) -> UInt64 {
            Conversation(messages: [Message(role: "user", content: text), Message(role: "assistant", content: "x")])
                .promptFingerprint
        }
        #expect(fingerprint("Where is my card?") == fingerprint("  where is MY card "))
        #expect(fingerprint("Where is my card?") != fingerprint("Where is my cart?"))
        #expect(fingerprint("ab c") != fingerprint("a bc") && fingerprint("?") != fingerprint("!"))
        #expect(fingerprint("Grüße") == fingerprint("GRÜSSE".lowercased().replacing("ss", with: "ß")))
    }
}
