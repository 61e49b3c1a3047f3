import Diagnostics
import Foundation
import StrictJSON
import TestSupport
import Testing

@testable import Tokenization

/// tokenizer.json files that are wrong or malicious: each ends in an error with status 65 and a place, none in a trap.
@Suite struct HostileTokenizerTests {
    /// A tokenizer that works, in parts that the cases replace.
    private static func file(
        model: String = #"{"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2}, "merges": ["a b"]}"#,
        added: String = "[]", normalizer: String = "null", preTokenizer: String = "null",
        postProcessor: String = "null", decoder: String = "null"
    ) -> String {
        #"{"version": "1.0", "truncation": {"max_length": 1}, "padding": {"length": 9}, "added_tokens": \#(added), "#
            + #""normalizer": \#(normalizer), "pre_tokenizer": \#(preTokenizer), "#
            + #""post_processor": \#(postProcessor), "decoder": \#(decoder), "model": \#(model)}"#
    }

    private static func bpe(vocab: String = #"{"a": 0, "b": 1, "ab": 2}"#, merges: String = #"["a b"]"#) -> String {
        file(model: #"{"type": "BPE", "vocab": \#(vocab), "merges": \#(merges)}"#)
    }

    private static func unigram(_ vocab: String, unknown: String = "0") -> String {
        file(model: #"{"type": "Unigram", "vocab": \#(vocab), "unk_id": \#(unknown)}"#)
    }

    private static func added(_ members: String) -> String { file(added: "[{\(members)}]") }

    private static func split(_ pattern: String) -> String {
        let text = JSONValue.string(pattern).serialized()
        return file(preTokenizer: #"{"type": "Split", "behavior": "Isolated", "pattern": {"Regex": \#(text)}}"#)
    }

    private static func replacements(_ count: Int) -> String {
        let step = #"{"type": "Replace", "pattern": {"String": "a"}, "content": "aa"}"#
        let steps = Array(repeating: step, count: count).joined(separator: ",")
        return file(normalizer: #"{"type": "Sequence", "normalizers": [\#(steps)]}"#)
    }

    private static func nested(_ depth: Int) -> String {
        var step = #"{"type": "NFC"}"#
        for _ in 0..<depth { step = #"{"type": "Sequence", "normalizers": [\#(step)]}"# }
        return file(normalizer: step)
    }

    private static func template(_ parts: String, tokens: String = "{}") -> String {
        file(postProcessor: #"{"type": "TemplateProcessing", "single": \#(parts), "special_tokens": \#(tokens)}"#)
    }

    static let cases: [(String, String)] = [
        ("nothing", ""), ("no object", "[]"), ("no model", "{}"), ("a byte-order mark", "\u{FEFF}" + file()),
        ("cut short", String(file().dropLast(9))), ("model null", file(model: "null")),
        ("unknown model", file(model: #"{"type": "Transformer", "vocab": {}}"#)),
        ("vocabulary is a list", bpe(vocab: #"["a"]"#)), ("negative id", bpe(vocab: #"{"a": -1}"#)),
        ("id 2^31", bpe(vocab: #"{"a": 2147483648}"#)), ("a gap of 10^9", bpe(vocab: #"{"a": 1000000000}"#)),
        ("id with a fraction", bpe(vocab: #"{"a": 0.5}"#)), ("id as text", bpe(vocab: #"{"a": "0"}"#)),
        ("one id for two", bpe(vocab: #"{"a": 0, "b": 0}"#)), ("one token twice", bpe(vocab: #"{"a": 0, "a": 1}"#)),
        ("a lone surrogate", bpe(vocab: #"{"\ud800": 0}"#)), ("no merges", file(model: #"{"type":"BPE","vocab":{}}"#)),
        ("merge of a missing token", bpe(merges: #"["a c"]"#)),
        ("merge into a missing token", bpe(merges: #"["b a"]"#)),
        ("merge of three", bpe(merges: #"["a b c"]"#)), ("merge of one", bpe(merges: #"["ab"]"#)),
        ("empty merge", bpe(merges: #"[""]"#)), ("list of three", bpe(merges: #"[["a", "b", "c"]]"#)),
        ("merge is a number", bpe(merges: "[1]")),
        ("unknown token not there", file(model: #"{"type":"BPE","vocab":{},"merges":[],"unk_token":"u"}"#)),
        ("empty added token", added(#""id": 9, "content": """#)), ("added token without id", added(#""content": "x""#)),
        ("added id 10^9", added(#""id": 1000000000, "content": "x""#)),
        ("added id of another", added(#""id": 0, "content": "x""#)),
        ("another id for a token", added(#""id": 9, "content": "a""#)),
        ("odd single_word", added(#""id": 9, "content": "x", "single_word": "odd""#)),
        ("long added token", added(#""id": 9, "content": "\#(String(repeating: "x", count: 1025))""#)),
        ("exponential pattern", split("(a+)+$")), ("another one", split(#"(\w+\s?)*\."#)), ("open group", split("(a")),
        ("unknown property", split(#"\p{Foo}"#)), ("look-behind without bound", split("(?<=a+)b")),
        ("open class", split("[a")), ("pattern of two megabytes", split(String(repeating: "ab|", count: 700_000))),
        ("unknown behaviour", file(preTokenizer: #"{"type":"Split","pattern":{"String":"a"},"behavior":"Odd"}"#)),
        ("replacements that double", replacements(60)), ("a thousand levels", nested(1000)),
        ("unknown normaliser", file(normalizer: #"{"type": "Odd"}"#)),
        ("normaliser is text", file(normalizer: #""NFC""#)),
        ("unknown pre-tokeniser", file(preTokenizer: #"{"type": "Odd"}"#)),
        ("unknown post-processor", file(postProcessor: #"{"type": "Odd"}"#)),
        ("unknown decoder", file(decoder: #"{"type": "Odd"}"#)),
        ("template token without ids", template(#"[{"SpecialToken": {"id": "<s>", "type_id": 0}}]"#)),
        ("template token id 2^31", template("[]", tokens: #"{"<s>": {"id": "<s>", "ids": [2147483648]}}"#)),
        ("second text in a single template", template(#"[{"Sequence": {"id": "B", "type_id": 0}}]"#)),
        (
            "template of a thousand texts",
            template("[" + Array(repeating: #"{"Sequence": {"id": "A"}}"#, count: 1000).joined(separator: ",") + "]")
        ),
        ("score as text", unigram(#"[["a", "0"]]"#)), ("piece without score", unigram(#"[["a"]]"#)),
        ("one piece twice", unigram(#"[["a", 0], ["a", 1]]"#)),
        ("unknown id out of range", unigram(#"[["a", 0]]"#, unknown: "1")),
        ("long piece", unigram(#"[["\#(String(repeating: "x", count: 1025))", 0]]"#)),
        ("score out of range", unigram(#"[["a", 1e999]]"#)),
        ("map is no base64", file(normalizer: #"{"type": "Precompiled", "precompiled_charsmap": "!"}"#)),
        ("map of two bytes", file(normalizer: #"{"type": "Precompiled", "precompiled_charsmap": "AAA="}"#)),
    ]

    @Test(arguments: cases) func refuses(_ name: String, _ text: String) {
        let error = #expect(throws: Diagnostic.self, "\(name)") { try Tokenizer.parsing(Array(text.utf8)) }
        #expect(error?.code.exit == .badData && error?.file == "tokenizer.json" && error?.place != nil, "\(name)")
    }

    @Test func readsTheFileThatTheCasesChange() throws {
        let tokenizer = try Tokenizer.parsing(Array(Self.file().utf8))
        #expect(tokenizer.encode("abba", addingSpecialTokens: true, recognizingSpecialTokens: true) == [2, 1, 0])
        #expect(tokenizer.vocabularyCount == 3)
    }

    @Test func takesTenThousandAlternatives() throws {
        let words = (0..<10_000).map { "w\($0)" }.joined(separator: "|")
        // PCRE2 may refuse the size, but must not hang or trap.
        _ = try? Tokenizer.parsing(Array(Self.split(words).utf8))
    }

    @Test func refusesEveryTruncation() throws {
        let text = Array(Self.file().utf8)
        for count in text.indices {
            #expect(throws: Diagnostic.self) { try Tokenizer.parsing(Array(text[..<count])) }
        }
    }

    /// Flips a bit at every place of real files: whatever loads must also encode and decode.
    @Test(arguments: ["bytelevel_qwen2", "metaspace_bpe_llama2", "wordpiece_cased"])
    func survivesFlippedBits(_ name: String) throws {
        let original = try Array(Fixture.data("tokenizers/\(name)/tokenizer.json"))
        var random = SplitMix(state: 7)
        for _ in 0..<60 {
            var bytes = original
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                bytes[Int.random(in: bytes.indices, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            }
            guard let tokenizer = try? Tokenizer.parsing(bytes) else { continue }
            let ids = tokenizer.encode("Straße 東京 <s>it's", addingSpecialTokens: true, recognizingSpecialTokens: false)
            _ = tokenizer.decode(ids + [0, 1, -1, .max], skippingSpecialTokens: false)
        }
    }
}
