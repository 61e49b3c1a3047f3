import Diagnostics
import Foundation
import StrictJSON
import TestSupport
import Testing

@testable import Tokenization

/// Byte-level tokenizers from GGUF's metadata.
@Suite struct MetadataTokenizerTests {
    static let smolLM2 = ProcessInfo.processInfo.environment["ESPALIER_SMOLLM2"]

    @Test func readsTheTinyLlamaFixture() throws {
        try expect(Fixture.path("gguf/tiny_llama.gguf"), "gguf/tiny_llama_tokens.json")
    }

    @Test(.enabled(if: smolLM2 != nil, "ESPALIER_SMOLLM2 gives the path of the file"))
    func readsTheRealSmolLM2() throws {
        try expect(try #require(Self.smolLM2), "real/smollm2_135m_instruct/tokenizer_vectors.json")
    }

    private func expect(_ path: String, _ vectors: String) throws {
        let tokenizer = try Tokenizer(byteLevel: GGUFVocabulary(path).metadata, file: path)
        for vector in try Vector.all(vectors) {
            let ids = tokenizer.encode(vector.text, addingSpecialTokens: true, recognizingSpecialTokens: true)
            #expect(ids == vector.ids("ids"), "\(vector.text.debugDescription)")
            let text = tokenizer.decode(ids, skippingSpecialTokens: false)
            expectSameBytes(text, vector.value["decoded"]?.string, vector.text.debugDescription)
        }
    }

    private static var small: VocabularyMetadata {
        var metadata = VocabularyMetadata(model: "gpt2", pre: "gpt-2", tokens: ["a", "b", "ab", "<s>", "</s>"])
        metadata.tokenTypes = [1, 1, 1, 3, 3]
        metadata.merges = ["a b"]
        metadata.beginningOfText = 3
        metadata.endOfText = 4
        return metadata
    }

    @Test func putsTheTokensThatTheFileAsksForAroundAText() throws {
        var metadata = Self.small
        metadata.addsBeginning = true
        metadata.addsEnd = true
        let tokenizer = try Tokenizer(byteLevel: metadata, file: "x.gguf")
        #expect(tokenizer.encode("ab", addingSpecialTokens: true, recognizingSpecialTokens: true) == [3, 2, 4])
        #expect(tokenizer.encode("ab", addingSpecialTokens: false, recognizingSpecialTokens: true) == [2])
        #expect(tokenizer.beginningOfText == 3 && tokenizer.endOfText == 4)
    }

    @Test func takesUserTextThatSpellsAControlTokenForText() throws {
        let tokenizer = try Tokenizer(byteLevel: Self.small, file: "x.gguf")
        #expect(tokenizer.encode("<s>a", addingSpecialTokens: false, recognizingSpecialTokens: true) == [3, 0])
        #expect(tokenizer.encode("<s>a", addingSpecialTokens: false, recognizingSpecialTokens: false) == [0])
    }

    @Test func refusesMetadataThatContradictsItself() throws {
        let changes: [(inout VocabularyMetadata) -> Void] = [
            { $0.tokens = [] }, { $0.tokenTypes = [1] }, { $0.scores = [0] }, { $0.merges = ["ab"] },
            { $0.merges = ["a c"] }, { $0.endOfText = 5 }, { $0.beginningOfText = -1 }, { $0.pre = "unheard-of" },
            { $0.tokens[1] = "a" }, { $0.tokenTypes[0] = 9 }, { $0.scores = [0, 0, 0, 0, .nan] },
        ]
        for (index, change) in changes.enumerated() {
            var metadata = Self.small
            change(&metadata)
            let error = #expect(throws: Diagnostic.self, "case \(index)") {
                try Tokenizer(byteLevel: metadata, file: "x.gguf")
            }
            #expect(error?.file == "x.gguf" && error?.place != nil && error?.code.exit == .badData)
        }
    }
}
