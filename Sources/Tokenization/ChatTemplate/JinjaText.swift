import Glibc

/// Where bytes of a string came from: a message of the conversation, or its tools and documents.
struct JinjaOrigin: Sendable, Equatable {
    /// The message's index; nil for tools and documents.
    var message: Int?
    /// False if the bytes also hold template text that could not be told apart (`'<b>%s' % content`).
    var exact: Bool
}

/// A run of bytes that did not come from the template.
struct JinjaRun: Sendable, Equatable {
    var range: Range<Int>
    var origin: JinjaOrigin
}

/// A string of a running template, with the runs of its UTF-8 bytes that are data rather than template text.
///
/// Runs are sorted and disjoint. Nothing is tracked, at no cost, unless the conversation was handed in with origins.
struct JinjaText: Sendable {
    private(set) var string: String
    private(set) var runs: [JinjaRun]

    init(_ string: String, runs: [JinjaRun] = []) {
        self.string = string
        self.runs = runs
    }

    /// `string` as a whole came from `origin`.
    init(_ string: String, from origin: JinjaOrigin?) {
        let count = string.utf8.count
        self.init(string, runs: origin.map { count > 0 ? [JinjaRun(range: 0..<count, origin: $0)] : [] } ?? [])
    }

    /// The number of UTF-8 bytes.
    var count: Int { string.utf8.count }
    var isEmpty: Bool { string.isEmpty }

    mutating func append(_ other: JinjaText) {
        if !other.runs.isEmpty {
            let offset = count
            for run in other.runs {
                Self.add(
                    JinjaRun(range: run.range.lowerBound + offset..<run.range.upperBound + offset, origin: run.origin),
                    to: &runs)
            }
        }
        string.append(other.string)
    }

    mutating func append(_ text: String) { string.append(text) }

    /// The bytes of `range`, which must start and end between Unicode scalars.
    func slice(_ range: Range<Int>) -> JinjaText {
        if range.lowerBound == 0, range.upperBound == count { return self }
        let start = string.utf8.index(string.startIndex, offsetBy: range.lowerBound)
        let end = string.utf8.index(start, offsetBy: range.count)
        guard !runs.isEmpty else { return JinjaText(String(string[start..<end])) }
        var kept: [JinjaRun] = []
        for run in runs where run.range.overlaps(range) {
            let clipped = run.range.clamped(to: range)
            kept.append(
                JinjaRun(
                    range: clipped.lowerBound - range.lowerBound..<clipped.upperBound - range.lowerBound,
                    origin: run.origin))
        }
        return JinjaText(String(string[start..<end]), runs: kept)
    }

    /// Without the scalars that `isTrimmed` accepts at the chosen ends.
    func trimmed(
        leading: Bool, trailing: Bool, _ isTrimmed: (Unicode.Scalar) -> Bool = PythonText.isSpace
    ) -> JinjaText {
        var copy = string
        return slice(copy.withUTF8 { PythonText.trimmed($0, leading: leading, trailing: trailing, isTrimmed) })
    }

    /// A string computed from this one in a way that does not keep its bytes apart.
    func derived(_ result: String) -> JinjaText { JinjaText(result, derivedFrom: [self]) }

    /// A string computed from `sources`: data if all of them are, mixed if some of them are.
    init(_ string: String, derivedFrom sources: [JinjaText]) {
        let tracked = sources.filter { !$0.runs.isEmpty }
        guard let first = tracked.first?.runs.first else {
            self.init(string)
            return
        }
        let whole = sources.allSatisfy { source in
            source.isEmpty
                || (source.runs.count == 1 && source.runs[0].range == 0..<source.count
                    && source.runs[0].origin == first.origin)
        }
        self.init(string, from: JinjaOrigin(message: first.origin.message, exact: first.origin.exact && whole))
    }

    /// Appends a run, joined to the last one where they touch and have the same origin.
    private static func add(_ run: JinjaRun, to runs: inout [JinjaRun]) {
        if let last = runs.last, last.range.upperBound == run.range.lowerBound, last.origin == run.origin {
            runs[runs.count - 1].range = last.range.lowerBound..<run.range.upperBound
        } else {
            runs.append(run)
        }
    }
}

/// Whether two strings have the same bytes; `==` would join canonical equivalents.
func sameBytes(_ a: String, _ b: String) -> Bool {
    guard a.utf8.count == b.utf8.count else { return false }
    let same = a.utf8.withContiguousStorageIfAvailable { left in
        b.utf8.withContiguousStorageIfAvailable { right in
            left.isEmpty || memcmp(left.baseAddress!, right.baseAddress!, left.count) == 0
        }
    }
    return (same ?? nil) ?? a.utf8.elementsEqual(b.utf8)
}
