/// A text on its way through the pre-tokeniser: bytes, and the stretches of them that the model will see one by one.
struct SplitText {
    struct Split {
        var range: Range<Int>
        /// Whether it begins where the whole text that the caller gave begins.
        var isAtStart: Bool
    }

    var bytes: [UInt8]
    var splits: [Split]

    /// The whole text as one split, or none if it is empty.
    init(_ bytes: [UInt8], isAtStart: Bool) {
        self.bytes = bytes
        splits = bytes.isEmpty ? [] : [Split(range: 0..<bytes.count, isAtStart: isAtStart)]
    }
}

/// What becomes of the matches of a pattern that text is split by.
enum SplitBehavior: String, Sendable {
    case removed = "Removed"
    case isolated = "Isolated"
    case mergedWithPrevious = "MergedWithPrevious"
    case mergedWithNext = "MergedWithNext"
    case contiguous = "Contiguous"
}

/// The pieces of one split, matches and what lies between them, turned into the splits that a behaviour makes of them.
struct SplitCollector {
    typealias Piece = (range: Range<Int>, isMatch: Bool)

    let behavior: SplitBehavior
    private var pieces: [Piece] = []

    init(_ behavior: SplitBehavior) { self.behavior = behavior }

    @inline(__always)
    mutating func add(_ range: Range<Int>, isMatch: Bool) { pieces.append((range, isMatch)) }

    /// Appends the splits that are not empty, and forgets the pieces.
    mutating func finish(_ split: SplitText.Split, into splits: inout [SplitText.Split]) {
        let ranges: [Range<Int>] =
            switch behavior {
            case .isolated: pieces.map(\.range)
            case .removed: pieces.lazy.filter { !$0.isMatch }.map(\.range)
            case .contiguous: Self.merge(pieces) { piece, previous in piece.isMatch == previous }
            case .mergedWithPrevious: Self.merge(pieces) { piece, previous in piece.isMatch && !previous }
            case .mergedWithNext:
                Self.merge(pieces.reversed()) { piece, previous in piece.isMatch && !previous }.reversed()
            }
        for range in ranges where !range.isEmpty {
            splits.append(
                SplitText.Split(range: range, isAtStart: split.isAtStart && range.lowerBound == split.range.lowerBound))
        }
        pieces.removeAll(keepingCapacity: true)
    }

    /// Joins each piece with the one before it if the rule says so; `previous` is whether that one is a match.
    private static func merge(_ pieces: [Piece], _ joins: (Piece, _ previous: Bool) -> Bool) -> [Range<Int>] {
        var result: [Range<Int>] = []
        var previous = false
        for piece in pieces {
            if joins(piece, previous), let last = result.last {
                let lower = min(last.lowerBound, piece.range.lowerBound)
                result[result.count - 1] = lower..<max(last.upperBound, piece.range.upperBound)
            } else {
                result.append(piece.range)
            }
            previous = piece.isMatch
        }
        return result
    }
}
