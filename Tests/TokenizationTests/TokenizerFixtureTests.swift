import StrictJSON
import TestSupport
import Testing

@testable import Tokenization

/// The tokenizers of Tests/Fixtures/tokenizers against the ids and texts of the reference library.
@Suite struct TokenizerFixtureTests {
    static let names = [
        "bytelevel_gpt2", "bytelevel_gpt2_prefix_space", "bytelevel_llama3", "bytelevel_qwen2", "bytelevel_smollm",
        "metaspace_bpe_first", "metaspace_bpe_llama2", "unigram_xlmr", "wordpiece_cased", "wordpiece_uncased",
    ]

    @Test(arguments: names) func givesTheReferencesIds(_ name: String) throws {
        let tokenizer = try Tokenizer.fixture("tokenizers/\(name)/tokenizer.json")
        let vectors = try Vector.all("tokenizers/\(name)/vectors.json")
        #expect(vectors.count == 70)
        for vector in vectors {
            for (key, adds) in [("ids", true), ("ids_plain", false)] {
                let ids = tokenizer.encode(vector.text, addingSpecialTokens: adds, recognizingSpecialTokens: true)
                #expect(ids == vector.ids(key), "\(key) of \(vector.text.debugDescription)")
            }
        }
    }

    @Test(arguments: names) func namesTheReferencesTokens(_ name: String) throws {
        let tokenizer = try Tokenizer.fixture("tokenizers/\(name)/tokenizer.json")
        for vector in try Vector.all("tokenizers/\(name)/vectors.json") {
            let ids = try #require(vector.ids("ids_plain"))
            let tokens = try #require(vector.value["tokens_plain"]?.array)
            #expect(ids.count == tokens.count)
            // An unknown token is listed as the text that it stands for.
            for (id, token) in zip(ids, tokens) where id != tokenizer.model.unknown {
                // A token that strips to its left is listed with the space that it took.
                let name = try #require(token.string).replacing(" <mask>", with: "<mask>")
                expectSameBytes(tokenizer.token(ofID: id), name, "id \(id)")
                #expect(tokenizer.id(ofToken: name) == id)
            }
        }
    }

    @Test(arguments: names) func decodesAsTheReferenceDoes(_ name: String) throws {
        let tokenizer = try Tokenizer.fixture("tokenizers/\(name)/tokenizer.json")
        for vector in try Vector.all("tokenizers/\(name)/vectors.json") {
            let ids = try #require(vector.ids("ids"))
            for (key, skips) in [("decoded", false), ("decoded_skip_special", true)] {
                let text = tokenizer.decode(ids, skippingSpecialTokens: skips)
                expectSameBytes(text, vector.value[key]?.string, "\(key) of \(vector.text.debugDescription)")
            }
        }
    }

    @Test(arguments: names) func putsPairsTogetherAsTheReferenceDoes(_ name: String) throws {
        let tokenizer = try Tokenizer.fixture("tokenizers/\(name)/tokenizer.json")
        let file = try JSONValue(parsing: Array(Fixture.data("tokenizers/\(name)/vectors.json")))
        for pair in file["pairs"]?.array ?? [] {
            let (first, second) = (try #require(pair["first"]?.string), try #require(pair["second"]?.string))
            let result = tokenizer.encodePair(
                first, second, addingSpecialTokens: true, recognizingSpecialTokens: true)
            let vector = Vector(text: first, value: pair)
            #expect(result.ids == vector.ids("ids"))
            #expect(result.typeIDs == vector.ids("type_ids"))
        }
    }
}
