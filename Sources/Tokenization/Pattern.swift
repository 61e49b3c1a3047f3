import CPCRE2
import Diagnostics

/// A compiled pattern of tokenizer.json: a regular expression or a literal text.
///
/// Matching costs at most `Pattern.matchLimit` backtracking steps a match. At the first match that exceeds it the
/// rest of the text counts as unmatched; patterns that do so on ordinary runs of text are refused when they are
/// loaded (see `PatternProbe`).
final class Pattern: @unchecked Sendable {
    // Unchecked: PCRE2 documents compiled code as shareable between threads, and nothing changes it after init.
    let code: OpaquePointer
    let isJIT: Bool
    /// The longest and shortest text that a match of a literal has; nil for regular expressions.
    let literalCount: Int?

    static let matchLimit: UInt32 = 20_000_000

    /// - Throws: `TokenizerCode.pattern` if the expression is not valid.
    convenience init(oniguruma pattern: String) throws(Diagnostic) {
        try self.init(translated: PatternTranslator.translate(pattern), literalCount: nil)
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

/// What a thread needs to match patterns: PCRE2's match block, limits and, for deep matches, a larger stack.
final class PatternMatcher {
    private let block: OpaquePointer
    private let context: OpaquePointer

    init() {
        // A block for one pair of offsets: only the whole match is asked for.
        block = pcre2_match_data_create_8(1, nil)
        context = pcre2_match_context_create_8(nil)
        _ = pcre2_set_match_limit_8(context, Pattern.matchLimit)
        _ = pcre2_set_heap_limit_8(context, 65_536)
    }

    deinit {
        pcre2_match_data_free_8(block)
        pcre2_match_context_free_8(context)
    }

    enum Outcome { case found(Range<Int>), none, limitReached }

    /// The first match at or after `start`. The text must be UTF-8.
    @inline(__always)
    func firstMatch(_ pattern: Pattern, in text: UnsafeBufferPointer<UInt8>, from start: Int) -> Outcome {
        var result: Int32 = PCRE2_ERROR_JIT_STACKLIMIT
        if pattern.isJIT {
            result = pcre2_jit_match_8(
                pattern.code, text.baseAddress, text.count, start, PCRE2_NO_UTF_CHECK, block, context)
        }
        if result == PCRE2_ERROR_JIT_STACKLIMIT { result = interpret(pattern, text, start) }
        if result >= 0 {
            let offsets = pcre2_get_ovector_pointer_8(block)!
            // \K in a lookahead can put the start behind the end.
            guard offsets[0] <= offsets[1], offsets[0] >= start else { return .limitReached }
            return .found(offsets[0]..<offsets[1])
        }
        return result == PCRE2_ERROR_NOMATCH ? .none : .limitReached
    }

    /// The interpreter keeps its stack on the heap, so that it gets through matches too deep for compiled code.
    @inline(never)
    private func interpret(_ pattern: Pattern, _ text: UnsafeBufferPointer<UInt8>, _ start: Int) -> Int32 {
        pcre2_match_8(
            pattern.code, text.baseAddress, text.count, start, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, block, context)
    }

    /// Calls `body` with every match from left to right.
    ///
    /// An empty match directly behind the match before it does not count; the search goes on one scalar further.
    @inline(__always)
    func forEachMatch(_ pattern: Pattern, in text: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) -> Void) {
        var position = 0
        var lastEnd = -1
        while position <= text.count {
            guard case .found(let range) = firstMatch(pattern, in: text, from: position) else { return }
            if range.isEmpty, range.lowerBound == lastEnd {
                position += position < text.count ? UTF8Text.length(lead: text[position]) : 1
                continue
            }
            body(range)
            position = range.upperBound
            lastEnd = range.upperBound
        }
    }
}
