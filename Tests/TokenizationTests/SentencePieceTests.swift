import Diagnostics
import Foundation
import StrictJSON
import TestSupport
import Testing

@testable import Tokenization

@Suite struct SentencePieceTests {
    static let gemma3 = ProcessInfo.processInfo.environment["ESPALIER_GEMMA3"]

    @Test(arguments: ["sentencepiece_bpe", "sentencepiece_bpe_no_prefix", "sentencepiece_unigram"])
    func agreesWithSentencePieceItself(_ name: String) throws {
        let tokenizer = try loadTokenizer(at: Fixture.path("tokenizers/\(name)/tokenizer.model"))
        let vectors = try Vector.all("tokenizers/\(name)/vectors.json")
        #expect(vectors.count == 70)
        for vector in vectors {
            let comment = vector.text.debugDescription
            for adds in [true, false] {
                let ids = tokenizer.encode(vector.text, addingSpecialTokens: adds, recognizingSpecialTokens: true)
                #expect(ids == vector.ids("ids"), "\(comment)")
            }
            let ids = try #require(vector.ids("ids"))
            for (id, piece) in zip(ids, try #require(vector.value["pieces"]?.array)) where id != 0 {
                expectSameBytes(tokenizer.token(ofID: id), piece.string, "id \(id)")
            }
            let text = tokenizer.decode(ids, skippingSpecialTokens: false)
            expectSameBytes(text, vector.value["decoded"]?.string, comment)
        }
        #expect(tokenizer.beginningOfText == 1 && tokenizer.endOfText == 2)
    }

    @Test(.enabled(if: gemma3 != nil, "ESPALIER_GEMMA3 gives the path of the file"))
    func readsTheRealGemma() throws {
        let path = try #require(Self.gemma3)
        let tokenizer = try makeTokenizer(GGUFVocabulary(path).metadata, file: path)
        for vector in try Vector.all("real/gemma3_270m/tokenizer_vectors.json") {
            let ids = tokenizer.encode(vector.text, addingSpecialTokens: false, recognizingSpecialTokens: true)
            #expect(ids == vector.ids("ids"), "\(vector.text.debugDescription)")
            let text = tokenizer.decode(ids, skippingSpecialTokens: false)
            expectSameBytes(text, vector.value["decoded"]?.string, vector.text.debugDescription)
        }
    }

    /// The same model as GGUF's values: scores and types, without a protocol buffer.
    @Test(arguments: ["sentencepiece_bpe", "sentencepiece_bpe_no_prefix", "sentencepiece_unigram"])
    func givesTheSameIdsFromGGUFMetadata(_ name: String) throws {
        let bytes = try Array(Fixture.data("tokenizers/\(name)/tokenizer.model"))
        let model = try bytes.withUnsafeBytes { try SentencePieceModel($0) }
        var metadata = VocabularyMetadata(
            model: model.algorithm == .unigram ? "t5" : "llama", pre: "default",
            tokens: model.pieces.map { String(decoding: $0.text, as: UTF8.self) })
        metadata.scores = model.pieces.map(\.score)
        metadata.tokenTypes = model.pieces.map { Int32($0.type.rawValue) }
        metadata.beginningOfText = 1
        metadata.endOfText = 2
        metadata.addsSpacePrefix = model.normalization.addsDummyPrefix
        metadata.removesExtraWhitespace = model.normalization.removesExtraWhitespace
        metadata.precompiledCharacterMap = model.normalization.characterMap
        let tokenizer = try makeTokenizer(metadata, file: "x.gguf")
        for vector in try Vector.all("tokenizers/\(name)/vectors.json") {
            let ids = tokenizer.encode(vector.text, addingSpecialTokens: false, recognizingSpecialTokens: false)
            #expect(ids == vector.ids("ids"), "\(vector.text.debugDescription)")
            let whole = tokenizer.encode(vector.text, addingSpecialTokens: true, recognizingSpecialTokens: false)
            #expect(whole == (model.algorithm == .unigram ? ids + [2] : [1] + ids))
        }
        let trusted = tokenizer.encode("<s>a</s>", addingSpecialTokens: false, recognizingSpecialTokens: true)
        #expect(trusted.first == 1 && trusted.last == 2 && trusted.count == 3)
    }

    /// As Gemma's runs of spaces, which the converter to GGUF writes as they look in a text.
    @Test func userDefinedRunsOfSpacesAreFoundInGGUFVocabularies() throws {
        var metadata = VocabularyMetadata(model: "llama", tokens: ["<unk>", "▁", "a", "  ", "   ", "\n\n"])
        metadata.tokenTypes = [2, 1, 1, 4, 4, 4]
        metadata.addsBeginning = false
        metadata.addsSpacePrefix = false
        let tokenizer = try makeTokenizer(metadata, file: "x.gguf")
        for (text, expected) in [("a a", [2, 1, 2]), ("a  a", [2, 3, 2]), ("     a\n\n  ", [4, 3, 2, 5, 3])] {
            let ids = tokenizer.encode(text, addingSpecialTokens: true, recognizingSpecialTokens: false)
            #expect(ids == expected.map(Int32.init), "\(text.debugDescription)")
            #expect(tokenizer.decode(ids, skippingSpecialTokens: false) == text)
        }
    }

    @Test func recognisesControlPiecesInAModelFolder() throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "sentencepiece-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        try Fixture.data("tokenizers/sentencepiece_bpe/tokenizer.model").write(
            to: folder.appending(path: "tokenizer.model"))
        let configuration = #"""
            {"tokenizer_class": "LlamaTokenizer", "legacy": false, "bos_token": "<s>", "eos_token": "<|end|>",
             "added_tokens_decoder": {"2000": {"content": "<|end|>", "special": true}}}
            """#
        try Data(configuration.utf8).write(to: folder.appending(path: "tokenizer_config.json"))
        let tokenizer = try loadTokenizer(at: folder.path)
        #expect(tokenizer.beginningOfText == 1 && tokenizer.endOfText == 2000 && tokenizer.vocabularyCount == 2001)
        // Without "legacy" the text after a special token gets no space: `a`, not `▁a`.
        let ids = tokenizer.encode("a<|end|>a", addingSpecialTokens: true, recognizingSpecialTokens: true)
        let letter = try #require(tokenizer.id(ofToken: "a"))
        #expect(ids == [1, 264, 2000, letter])
        #expect(tokenizer.decode(ids, skippingSpecialTokens: false) == "a<|end|>a")
        #expect(tokenizer.decode(ids, skippingSpecialTokens: true) == "aa")
    }
}
