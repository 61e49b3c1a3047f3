/// The spans of the text that generation tags mark.
///
/// `reported` is what transformers reports. It measures from what the template has put out, so it misses a tag before
/// all other output, and places one inside a macro or another tag where that began. `exact` is where the text stands.
struct JinjaGenerations {
    private struct Open {
        /// In the buffer that is being written.
        var start: Int
        /// In the text that has been put out.
        var reportedStart: Int
        var atRoot: Bool
    }

    private var open: [Open] = []
    private var hasWritten = false
    private(set) var reported: [Range<Int>] = []
    private(set) var exact: [Range<Int>] = []
    /// False once a tag stood in a macro or a block whose text is kept aside.
    private(set) var allPlaced = true

    /// The template has put out text, perhaps an empty one.
    mutating func wrote() {
        if open.isEmpty { hasWritten = true }
    }

    /// - Parameters:
    ///   - start: the length of the buffer that is being written.
    ///   - root: the length of the result so far.
    mutating func begin(start: Int, root: Int, atRoot: Bool) {
        let reportedStart = open.first.map { $0.atRoot ? $0.start : $0.reportedStart } ?? root
        open.append(Open(start: start, reportedStart: reportedStart, atRoot: atRoot))
    }

    mutating func end(at end: Int) {
        guard let tag = open.popLast() else { return }
        if hasWritten || !reported.isEmpty {
            reported.append(tag.reportedStart..<tag.reportedStart + end - tag.start)
        }
        if !tag.atRoot {
            allPlaced = false
        } else if open.isEmpty {
            exact.append(tag.start..<end)
            hasWritten = true
        }
    }
}
