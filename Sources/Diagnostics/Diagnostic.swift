/// The exit statuses of the command line; the values follow sysexits.h and are a promise to scripts.
package enum ExitStatus: Int32, Sendable {
    case usage = 64
    /// The content of a file is wrong.
    case badData = 65
    case missingInput = 66
    /// Memory or a needed thing is not available.
    case unavailable = 69
    case `internal` = 70
    case cannotCreate = 73
    case inputOutput = 74
    case busy = 75
    /// Not trusted, or refused by a policy.
    case refused = 77
    case badRecipe = 78
}

/// A kind of error with its stable name (`E-GGUF-TRUNCATED`) and exit status; every target has one enum of them.
package protocol DiagnosticCode: Sendable {
    var rawValue: String { get }
    var exit: ExitStatus { get }
}

/// An error that a user can act on: what was found where, what was expected, and what to do about it.
///
/// No field ever holds the text of a training record. File and place are escaped when the error is shown, so a name
/// with control characters cannot reach the terminal.
package struct Diagnostic: Error, Sendable {
    package var code: any DiagnosticCode
    package var file: String?
    /// Line and column, offset, tensor or key; for instance `line 3, column 7` or `tensor "lm_head.weight"`.
    package var place: String?
    package var found: String
    package var expected: String?
    package var fix: String?

    package init(
        _ code: any DiagnosticCode, file: String? = nil, at place: String? = nil, found: String,
        expected: String? = nil, fix: String? = nil
    ) {
        self.code = code
        self.file = file
        self.place = place
        self.found = found
        self.expected = expected
        self.fix = fix
    }

    /// The same error with the file's name, if it does not have one yet: parsers of bytes do not know it.
    package func inFile(_ name: String) -> Diagnostic {
        var copy = self
        if copy.file == nil { copy.file = name }
        return copy
    }
}

extension Diagnostic: CustomStringConvertible {
    /// `error[E-NAME] file: place: found, expected …. Fix: …`, on one line.
    package var description: String {
        var text = "error[\(code.rawValue)]"
        if let file { text += " \(escaped(file)):" }
        if let place { text += " \(escaped(place)):" }
        text += " " + escaped(found)
        if let expected { text += ", expected " + escaped(expected) }
        text += "."
        if let fix { text += " Fix: " + escaped(fix) + (fix.hasSuffix(".") ? "" : ".") }
        return text
    }
}

/// `text` with control characters, line separators and bidirectional marks written as `\u{…}`.
package func escaped(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned:
            result += "\\u{" + String(scalar.value, radix: 16) + "}"
        default: result.unicodeScalars.append(scalar)
        }
    }
    return result
}

/// The candidate with the fewest edits to `word`, if it is near enough to be what was meant.
package func nearest(to word: String, among candidates: some Sequence<String>) -> String? {
    let letters = Array(word.unicodeScalars)
    let best = candidates.map { ($0, editDistance(letters, Array($0.unicodeScalars))) }.min { $0.1 < $1.1 }
    guard let (candidate, distance) = best, distance <= max(2, letters.count / 3) else { return nil }
    return candidate
}

private func editDistance(_ a: [Unicode.Scalar], _ b: [Unicode.Scalar]) -> Int {
    var previous = Array(0...b.count)
    for (i, x) in a.enumerated() {
        var current = [i + 1]
        for (j, y) in b.enumerated() {
            current.append(min(previous[j + 1] + 1, current[j] + 1, previous[j] + (x == y ? 0 : 1)))
        }
        previous = current
    }
    return previous[b.count]
}
