import CPCRE2
package import Diagnostics

/// A regular expression over module paths, from a configuration file: it must end in bounded time whatever it says.
///
/// `@unchecked Sendable`: compiled once and only read.
package final class ModuleRegex: @unchecked Sendable {
    /// How much of a path an expression has to cover.
    package enum Coverage: Sendable {
        /// All of it, as with Python's `re.fullmatch`.
        case whole
        /// A part from the start, as with `re.match`.
        case prefix
    }

    package let pattern: String
    private let code: OpaquePointer
    private let context: OpaquePointer

    private static let maximumBytes = 8192
    /// Steps of the matcher; a sensible pattern takes some hundreds for a path.
    private static let stepLimit: UInt32 = 100_000

    /// - Throws: `adapterPattern` for an expression that is none, or too long.
    package init(_ pattern: String, covering coverage: Coverage = .whole) throws(Diagnostic) {
        guard pattern.utf8.count <= Self.maximumBytes else {
            throw Self.error("an expression of \(pattern.utf8.count) bytes", expected: "at most \(Self.maximumBytes)")
        }
        let text = Array(pattern.utf8)
        var number: Int32 = 0
        var offset = 0
        var options = PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED | PCRE2_NEVER_BACKSLASH_C
        if coverage == .whole { options |= PCRE2_ENDANCHORED }
        guard let code = pcre2_compile_8(text, text.count, options, &number, &offset, nil) else {
            throw Self.error(
                "\"\(pattern.prefix(80))\", which is wrong at offset \(offset)", expected: "a regular expression")
        }
        guard let context = pcre2_match_context_create_8(nil) else {
            pcre2_code_free_8(code)
            throw Self.error("no memory for an expression", expected: "some")
        }
        pcre2_set_match_limit_8(context, Self.stepLimit)
        pcre2_set_depth_limit_8(context, 1000)
        pcre2_set_heap_limit_8(context, 1024)
        self.pattern = pattern
        self.code = code
        self.context = context
    }

    deinit {
        pcre2_match_context_free_8(context)
        pcre2_code_free_8(code)
    }

    /// Whether the expression matches `path`.
    ///
    /// - Throws: `adapterPattern` if that takes too many steps.
    package func matches(_ path: String) throws(Diagnostic) -> Bool { try groups(path) != nil }

    /// The text of group 1 where the expression matches; "" for a match without that group.
    func firstGroup(_ path: String) throws(Diagnostic) -> String? {
        guard let groups = try groups(path) else { return nil }
        return groups.count > 1 ? groups[1] : ""
    }

    private func groups(_ path: String) throws(Diagnostic) -> [String]? {
        guard let match = pcre2_match_data_create_from_pattern_8(code, nil) else {
            throw Self.error("no memory for a match", expected: "some")
        }
        defer { pcre2_match_data_free_8(match) }
        let text = Array(path.utf8)
        let status = pcre2_match_8(code, text, text.count, 0, 0, match, context)
        if status == PCRE2_ERROR_NOMATCH { return nil }
        guard status > 0, let vector = pcre2_get_ovector_pointer_8(match) else {
            throw Self.error(
                "\"\(pattern.prefix(80))\", which takes too many steps", expected: "a simpler expression")
        }
        return (0..<Int(status)).map { group in
            let (start, end) = (vector[2 * group], vector[2 * group + 1])
            return start <= end && end <= text.count ? String(decoding: text[start..<end], as: UTF8.self) : ""
        }
    }

    private static func error(_ found: String, expected: String) -> Diagnostic {
        Diagnostic(FormatsCode.adapterPattern, found: found, expected: expected)
    }
}
