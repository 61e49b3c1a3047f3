import CPCRE2

/// What a thread needs to match patterns: PCRE2's match block, its limits, and a stack for deep matches.
///
/// Work is bounded: a match that needs many steps draws on a budget that grows with the text. Once that is spent, the
/// rest of the text counts as unmatched. Patterns whose steps are few for each character never get there.
final class PatternMatcher {
    private let block: OpaquePointer
    private let context: OpaquePointer
    private let patientContext: OpaquePointer
    private var stack: OpaquePointer?
    private var budget = 0

    /// Steps that every match may take without drawing on the budget.
    private static let freeSteps: UInt32 = 1000

    init() {
        // A block for one pair of offsets: only the whole match is asked for.
        block = pcre2_match_data_create_8(1, nil)
        context = pcre2_match_context_create_8(nil)
        patientContext = pcre2_match_context_create_8(nil)
        for context in [context, patientContext] {
            _ = pcre2_set_match_limit_8(context, Self.freeSteps)
            _ = pcre2_set_heap_limit_8(context, 1 << 18)
        }
        beginText(0)
    }

    deinit {
        pcre2_match_data_free_8(block)
        pcre2_match_context_free_8(context)
        pcre2_match_context_free_8(patientContext)
        pcre2_jit_stack_free_8(stack)
    }

    /// Sets the budget for a text of so many bytes.
    func beginText(_ byteCount: Int) { budget = 1 << 20 + 64 * byteCount }

    enum Outcome { case found(Range<Int>), none, limitReached }

    /// The first match at or after `start`. The text must be UTF-8.
    @inline(__always)
    func firstMatch(_ pattern: Pattern, in text: UnsafeBufferPointer<UInt8>, from start: Int) -> Outcome {
        var result = attempt(pattern, text, start, context)
        if result == PCRE2_ERROR_MATCHLIMIT || result == PCRE2_ERROR_JIT_STACKLIMIT {
            result = attemptPatiently(pattern, text, start)
        }
        if result >= 0 {
            let offsets = pcre2_get_ovector_pointer_8(block)!
            // \K in a lookahead can put the start behind the end.
            guard offsets[0] <= offsets[1], offsets[0] >= start else { return .limitReached }
            return .found(offsets[0]..<offsets[1])
        }
        return result == PCRE2_ERROR_NOMATCH ? .none : .limitReached
    }

    @inline(__always)
    private func attempt(
        _ pattern: Pattern, _ text: UnsafeBufferPointer<UInt8>, _ start: Int, _ context: OpaquePointer
    ) -> Int32 {
        pattern.isJIT
            ? pcre2_jit_match_8(pattern.code, text.baseAddress, text.count, start, PCRE2_NO_UTF_CHECK, block, context)
            : pcre2_match_8(pattern.code, text.baseAddress, text.count, start, PCRE2_NO_UTF_CHECK, block, context)
    }

    /// Tries again with more steps each time, as long as the budget lasts, and with more stack if that is short.
    @inline(never)
    private func attemptPatiently(
        _ pattern: Pattern, _ text: UnsafeBufferPointer<UInt8>, _ start: Int
    ) -> Int32 {
        var limit = Int(Self.freeSteps)
        while true {
            limit *= 4
            guard limit <= budget, limit <= Int(UInt32.max) else { return PCRE2_ERROR_MATCHLIMIT }
            budget -= limit
            _ = pcre2_set_match_limit_8(patientContext, UInt32(limit))
            let result = attempt(pattern, text, start, patientContext)
            if result == PCRE2_ERROR_JIT_STACKLIMIT, stack == nil {
                // Address space that is only used as far as a match needs it.
                stack = pcre2_jit_stack_create_8(1 << 16, 1 << 28, nil)
                pcre2_jit_stack_assign_8(patientContext, nil, UnsafeMutableRawPointer(stack))
            } else if result != PCRE2_ERROR_MATCHLIMIT {
                return result
            }
        }
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

/// Tries patterns on short runs of text, to find those that backtrack exponentially when they are loaded.
enum PatternProbe {
    private static let count = 48

    /// Whether the pattern gets through all runs without spending the budget of a short text.
    ///
    /// - Parameter characters: the pattern's own, of which runs are made.
    static func passes(_ pattern: Pattern, characters: String.UnicodeScalarView) -> Bool {
        var letters = Set<Unicode.Scalar>(["a", "A", "0", " ", "\n", "^", "é", "中", "_"])
        for scalar in characters where letters.count < 64 { letters.insert(scalar) }
        var runs = letters.map { String(repeating: String($0), count: count) }
        runs += ["a ", "a0", "aA", "\r\n", "ab", "a'"].map { String(repeating: $0, count: count / 2) }
        // Behind a character that no run has come the pattern's own: PCRE2 gives up at once without those it needs.
        let tails = ["", "!", "\u{E000}" + String(String.UnicodeScalarView(letters.sorted()))]
        let matcher = PatternMatcher()
        return runs.allSatisfy { run in tails.allSatisfy { isThrough(pattern, Array((run + $0).utf8), matcher) } }
    }

    private static func isThrough(_ pattern: Pattern, _ text: [UInt8], _ matcher: PatternMatcher) -> Bool {
        matcher.beginText(0)
        return text.withUnsafeBufferPointer { text in
            var position = 0
            while position < text.count {
                switch matcher.firstMatch(pattern, in: text, from: position) {
                case .found(let range):
                    position = range.isEmpty ? position + UTF8Text.length(lead: text[position]) : range.upperBound
                case .none: return true
                case .limitReached: return false
                }
            }
            return true
        }
    }
}
