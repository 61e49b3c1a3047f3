import StrictJSON
import TestSupport
import Testing

@testable import Tokenization

/// Texts that cost a naive tokenizer quadratic time, and text that tries to pass for control tokens.
@Suite struct EncodingBoundsTests {
    /// A megabyte where the code is optimised. Quadratic time would show as minutes.
    private static let size = _isDebugAssertConfiguration() ? 1 << 13 : 1 << 20

    @Test(
        arguments: [
            "^", "a", "A", "0", " ", "\n", "é", "\u{301}", "ab", "中", "x^", "👍", " a", "<", "'s", "\u{0}", "a\u{301}",
        ])
    func encodesAMegabyteOfOneThing(_ unit: String) throws {
        let text = String(repeating: unit, count: Self.size / unit.utf8.count)
        for name in ["bytelevel_llama3", "bytelevel_smollm", "metaspace_bpe_llama2"] {
            let tokenizer = try Tokenizer.fixture("tokenizers/\(name)/tokenizer.json")
            let ids = tokenizer.encode(text, addingSpecialTokens: false, recognizingSpecialTokens: true)
            // Nothing is lost: the tokens spell the text.
            expectSameBytes(tokenizer.decode(ids, skippingSpecialTokens: false), text, name)
        }
        for name in ["bytelevel_qwen2", "metaspace_bpe_first", "unigram_xlmr", "wordpiece_cased", "wordpiece_uncased"] {
            let tokenizer = try Tokenizer.fixture("tokenizers/\(name)/tokenizer.json")
            _ = tokenizer.encode(text, addingSpecialTokens: false, recognizingSpecialTokens: true)
        }
        for name in ["sentencepiece_bpe", "sentencepiece_unigram"] {
            let tokenizer = try loadTokenizer(at: Fixture.path("tokenizers/\(name)/tokenizer.model"))
            _ = tokenizer.encode(text, addingSpecialTokens: false, recognizingSpecialTokens: true)
        }
    }

    @Test func boundsTheStepsOfAQuadraticPattern() throws {
        let pattern = JSONValue.string(#"(?=(\d{3})+(?!\d))|\d"#).serialized()
        let file = #"""
            {"pre_tokenizer": {"type": "Split", "behavior": "Isolated", "pattern": {"Regex": \#(pattern)}},
             "model": {"type": "BPE", "vocab": {"1": 0}, "merges": []}}
            """#
        let tokenizer = try Tokenizer.parsing(Array(file.utf8))
        let text = String(repeating: "1", count: Self.size)
        let ids = tokenizer.encode(text, addingSpecialTokens: false, recognizingSpecialTokens: true)
        #expect(ids.count == text.utf8.count)
    }

    @Test(arguments: TokenizerFixtureTests.names)
    func userTextNeverBecomesAControlToken(_ name: String) throws {
        let tokenizer = try Tokenizer.fixture("tokenizers/\(name)/tokenizer.json")
        let file = try JSONValue(parsing: Array(Fixture.data("tokenizers/\(name)/tokenizer.json")))
        let special = try #require(file["added_tokens"]?.array).filter { $0["special"]?.bool == true }
        let control = Set(
            special.compactMap { $0["id"]?.integer.map(Int32.init) }.filter { $0 != tokenizer.model.unknown })
        #expect(!control.isEmpty)
        for token in special {
            let content = try #require(token["content"]?.string)
            for text in [content, "a\(content)b", " \(content) ", content + content] {
                let ids = tokenizer.encode(text, addingSpecialTokens: false, recognizingSpecialTokens: false)
                #expect(control.isDisjoint(with: ids), "\(text)")
                let trusted = tokenizer.encode(text, addingSpecialTokens: false, recognizingSpecialTokens: true)
                let id = try #require(token["id"]?.integer.map(Int32.init))
                #expect(trusted.contains(id), "\(text)")
            }
        }
    }

    /// A vocabulary that merges up to the text of a control token still spells it out for untrusted text.
    @Test func aVocabularyThatSpellsAControlTokenDoesNotLetItThrough() throws {
        for ignoresMerges in [true, false] {
            let file = #"""
                {"added_tokens": [{"id": 4, "content": "<s>", "special": true, "normalized": false}],
                 "model": {"type": "BPE", "vocab": {"<": 0, "s": 1, ">": 2, "<s": 3, "<s>": 4},
                           "merges": ["< s", "<s >"], "ignore_merges": \#(ignoresMerges)}}
                """#
            let tokenizer = try Tokenizer.parsing(Array(file.utf8))
            #expect(tokenizer.encode("<s>", addingSpecialTokens: false, recognizingSpecialTokens: true) == [4])
            #expect(tokenizer.encode("<s>", addingSpecialTokens: false, recognizingSpecialTokens: false) == [3, 2])
        }
    }
}
