import CPCRE2
import Diagnostics

/// A compiled pattern of tokenizer.json: a regular expression or a literal text.
final class Pattern: @unchecked Sendable {
    // Unchecked: PCRE2 documents compiled code as shareable between threads, and nothing changes it after init.
    let code: OpaquePointer
    let isJIT: Bool
    /// The number of bytes of a literal; nil for regular expressions.
    let literalCount: Int?

    /// - Throws: `TokenizerCode.pattern` if the expression is not valid, or if it needs exponentially many steps for
    ///   runs of a few dozen characters.
    convenience init(oniguruma pattern: String) throws(Diagnostic) {
        try self.init(translated: PatternTranslator.translate(pattern), literalCount: nil)
        guard PatternProbe.passes(self, characters: pattern.unicodeScalars) else {
            throw Diagnostic(
                TokenizerCode.pattern, found: "a pattern that backtracks without end",
                expected: "one that needs few steps for each character", fix: "Use a tokenizer without this pattern")
        }
    }

    convenience init(literal text: String) throws(Diagnostic) {
        try self.init(translated: PatternTranslator.quote(text), literalCount: text.utf8.count)
    }

    private init(translated: String, literalCount: Int?) throws(Diagnostic) {
        guard translated.utf8.count <= 1 << 20 else {
            throw Diagnostic(
                TokenizerCode.pattern, found: "a pattern of \(translated.utf8.count) bytes",
                expected: "at most \(1 << 20)")
        }
        let context = pcre2_compile_context_create_8(nil)
        defer { pcre2_compile_context_free_8(context) }
        _ = pcre2_set_newline_8(context, UInt32(PCRE2_NEWLINE_LF))
        let options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C
        var failure: Int32 = 0
        var offset = 0
        let bytes = Array(translated.utf8)
        guard let code = pcre2_compile_8(bytes, bytes.count, options, &failure, &offset, context) else {
            throw Diagnostic(
                TokenizerCode.pattern, found: "a pattern that is not valid: " + Self.message(failure),
                expected: "a regular expression in Oniguruma's syntax")
        }
        self.code = code
        isJIT = pcre2_jit_compile_8(code, UInt32(PCRE2_JIT_COMPLETE)) == 0
        self.literalCount = literalCount
    }

    deinit { pcre2_code_free_8(code) }

    private static func message(_ failure: Int32) -> String {
        var buffer = [UInt8](repeating: 0, count: 128)
        _ = pcre2_get_error_message_8(failure, &buffer, buffer.count)
        return String(decoding: buffer.prefix { $0 != 0 }, as: UTF8.self)
    }
}
