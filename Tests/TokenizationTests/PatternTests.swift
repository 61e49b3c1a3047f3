import Diagnostics
import Testing

@testable import Tokenization

/// Oniguruma's dialect on PCRE2.
@Suite struct PatternTests {
    private func matches(_ pattern: String, _ text: String) throws -> [String] {
        let pattern = try Pattern(oniguruma: pattern)
        let bytes = Array(text.utf8)
        let matcher = PatternMatcher()
        matcher.beginText(bytes.count)
        var found: [String] = []
        bytes.withUnsafeBufferPointer { bytes in
            matcher.forEachMatch(pattern, in: bytes) { found.append(String(decoding: bytes[$0], as: UTF8.self)) }
        }
        return found
    }

    static let cases: [(String, String, [String])] = [
        // White space is Unicode's: with U+0085 and U+3000, without U+180E and U+200B.
        (#"\s"#, "a\u{85}\u{3000}\u{180E}\u{200B}\u{2028} ", ["\u{85}", "\u{3000}", "\u{2028}", " "]),
        (#"\S+"#, "a\u{180E}b c", ["a\u{180E}b", "c"]), (#"[^\s\p{L}]+"#, "a1! b", ["1!"]),
        (#"[\S]+"#, "ab c", ["ab", "c"]),
        // Words have marks, digits and connectors, but no other numbers.
        (#"\w+"#, "e\u{301}_1²\u{203F}x", ["e\u{301}_1", "\u{203F}x"]), (#"\W"#, "a b", [" "]),
        (#"\d+"#, "a12٣½", ["12٣"]),
        (#"\bfoo\b"#, "foo foo\u{301} foobar", ["foo"]),
        // h is a hexadecimal digit, v the vertical tab, u four digits of a code.
        (#"\h+"#, "xBEEF g", ["BEEF"]), (#"[\h]+"#, "xbeef g", ["beef"]), (#"\v"#, "\n\u{B}", ["\u{B}"]),
        (#"\u00e9"#, "é", ["é"]), (#"[\u00e9-\u00eb]+"#, "éêëì", ["éêë"]),
        // m lets the dot match a newline; lines begin and end at newlines.
        (#"(?m:a.b)"#, "a\nb", ["a\nb"]), ("a.b", "a\nb", []), ("^b$", "a\nb\nc", ["b"]), ("(?i)AB", "ab", ["ab"]),
        // Nested and intersected classes.
        ("[a[bc]]+", "abcd", ["abc"]), (#"[\p{L}&&[^a-c]]+"#, "abcde1", ["de"]), ("[^a[b]]+", "abcd", ["cd"]),
        (#"[\w&&\p{ASCII}]+"#, "aé", ["a"]), ("[[:digit:][:upper:]]+", "aB1b", ["B1"]), ("[[:^digit:]]+", "a1", ["a"]),
        ("[]a]+", "a]b", ["a]"]), (#"[a\-z]+"#, "a-zb", ["a-z"]), (#"[\d-z]+"#, "1-zy", ["1-z"]),
        ("[a-]+", "a-b", ["a-"]),
        // Intervals: {,n} from zero; a plus after one repeats it.
        ("ba{,2}", "baaa", ["baa"]), ("a{2}+", "aaaaa", ["aaaa"]), ("(?:ab){2}+", "ababababab", ["abababab"]),
        ("a{x", "a{x", ["a{x"]), ("a++b", "aab", ["aab"]), ("a+?", "aa", ["a", "a"]),
        // Properties by long names; a script is the script alone, without its extensions.
        (#"\p{Letter}+"#, "ab1", ["ab"]), (#"\p{^L}+"#, "ab1", ["1"]), (#"\P{Lu}"#, "Aa", ["a"]),
        (#"\pL"#, "1a", ["a"]),
        (#"\p{Han}+"#, "漢。字", ["漢", "字"]), (#"\p{Hiragana}+"#, "ひらーカ", ["ひら"]), (#"\p{Alnum}+"#, "a1-", ["a1"]),
        (#"\p{Alphabetic}+"#, "aⅧ1", ["aⅧ"]), (#"[\p{Punct}]+"#, "a$!,b", ["$!,"]),
        // Comments, named groups, references.
        ("a(?#no)b", "ab", ["ab"]), (#"(?<x>a)\k<x>"#, "aa", ["aa"]), ("(?<=a)b", "ab", ["b"]),
        ("(?<!a)b", "ab b", ["b"]),
        // An empty match counts unless it stands directly behind another match.
        ("a*", "baac", ["", "aa", ""]), ("x?", "é", ["", ""]),
    ]

    @Test(arguments: cases) func matchesAsOnigurumaDoes(_ pattern: String, _ text: String, _ expected: [String]) throws
    {
        let found = try matches(pattern, text).map { Array($0.utf8) }
        #expect(found == expected.map { Array($0.utf8) }, "\(pattern)")
    }

    @Test func takesALiteralLiterally() throws {
        for text in ["a.b", "[x]", "\\d", "é+", "a b#", "(?i)", "\n", "^$"] {
            let pattern = try Pattern(literal: text)
            let bytes = Array("..\(text)..".utf8)
            var ranges: [Range<Int>] = []
            bytes.withUnsafeBufferPointer { PatternMatcher().forEachMatch(pattern, in: $0) { ranges.append($0) } }
            #expect(ranges == [2..<2 + text.utf8.count], "\(text)")
        }
    }

    /// The patterns of the models that are in use must not be taken for hostile ones.
    @Test(arguments: [
        "gpt-2", "smollm", "llama-bpe", "qwen2", "qwen35", "tekken", "gpt-4o", "bloom", "viking", "deepseek-v3",
        "deepseek-coder", "falcon",
    ])
    func compilesThePatternsThatGGUFNames(_ name: String) throws {
        for pattern in try NamedPreTokenizer(name).patterns {
            let text = "I'll pay 1234 €, Ångström! 東京ひら\r\n\n  x"
            let found = try matches(pattern, text)
            #expect(found.allSatisfy { !$0.isEmpty } && found.joined().utf8.count <= text.utf8.count)
        }
    }
}
