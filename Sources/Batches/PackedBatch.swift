/// A run of consecutive tokens in a packed batch. It attends causally to itself and to every token of its ancestors.
package struct Segment: Sendable, Equatable {
    /// The index of the first token.
    package var start: Int
    package var count: Int
    /// The index of the segment that this one continues; always smaller than its own index.
    package var parent: Int?

    package init(start: Int, count: Int, parent: Int? = nil) {
        self.start = start
        self.count = count
        self.parent = parent
    }

    package var range: Range<Int> { start..<start + count }
}

/// Several examples laid end to end without padding, as a forest of segments whose shared prefixes stand once.
///
/// A root segment starts at position 0; a child's positions go on from its parent's end. What is predicted is a list
/// of its own, since at the end of a shared prefix every example has another next token.
package struct PackedBatch: Sendable, Equatable {
    package let tokens: [Int32]
    /// The position of every token within its example.
    package let positions: [Int32]
    /// The part of its text that every token belongs to; nil: all to the first.
    package let tokenTypes: [Int32]?
    /// Parents come before their children; together the segments cover `tokens` in order.
    package let segments: [Segment]

    /// For every prediction the index in `tokens` of the token that predicts; ascending, and repeated where several
    /// examples share the token.
    package let predictionIndices: [Int32]
    /// For every prediction the token that should come next, or the label.
    package let predictionTargets: [Int32]
    /// For every prediction how much it counts; never 0.
    package let predictionWeights: [Float]
    /// For every prediction the index of its example in the list that was packed.
    package let predictionExamples: [Int32]

    /// For every example the index in `tokens` of its last token.
    package let lastTokens: [Int32]
    /// The number of tokens of all examples before any prefix was shared.
    package let rowTokenCount: Int

    package var exampleCount: Int { lastTokens.count }
    package var predictionCount: Int { predictionIndices.count }
    /// The number of tokens that need not be computed because a shared prefix stands once.
    package var savedTokenCount: Int { rowTokenCount - tokens.count }
    /// The divisor of a mean loss.
    package var summedWeight: Double { predictionWeights.reduce(0) { $0 + Double($1) } }

    /// Packs `examples` in time O(n log n) in the number of examples.
    ///
    /// - Parameters:
    ///   - examples: none of them empty, none with a weight on its first token, which nothing predicts.
    ///   - sharingPrefixes: whether examples that begin with the same tokens compute them once.
    ///   - minimumSharedCount: a shared run shorter than this is not worth a segment of its own.
    package init(_ examples: [Example], sharingPrefixes: Bool, minimumSharedCount: Int = 4) {
        for (index, example) in examples.enumerated() {
            precondition(!example.tokens.isEmpty, "example \(index) of a packed batch has no tokens")
            precondition(example.weights[0] == 0, "example \(index) weighs its first token, which nothing predicts")
        }
        var layout = SegmentLayout(examples, minimumSharedCount: max(1, minimumSharedCount))
        if sharingPrefixes {
            layout.placeSharing()
        } else {
            for index in examples.indices {
                layout.place([index], from: 0, to: examples[index].tokens.count, under: nil)
            }
        }
        let predictions = layout.predictions()
        tokens = layout.tokens
        positions = layout.positions
        tokenTypes = nil
        segments = layout.segments
        predictionIndices = predictions.map(\.index)
        predictionTargets = predictions.map(\.target)
        predictionWeights = predictions.map(\.weight)
        predictionExamples = predictions.map(\.example)
        lastTokens = layout.paths.map { path in Int32(path.last!.tokenIndex + path.last!.count - 1) }
        rowTokenCount = examples.reduce(0) { $0 + $1.tokens.count }
    }
}

/// One weighted prediction before the list is split into its columns.
private struct Prediction {
    var index: Int32
    var target: Int32
    var weight: Float
    var example: Int32
}

/// The forest while it grows, with the way every example takes through it.
private struct SegmentLayout {
    /// A part of an example: the tokens from `depth` on stand in the batch from `tokenIndex` on.
    struct Run {
        var depth: Int
        var tokenIndex: Int
        var count: Int
    }

    let examples: [Example]
    let minimumSharedCount: Int
    var tokens: [Int32] = []
    var positions: [Int32] = []
    var segments: [Segment] = []
    var paths: [[Run]]

    init(_ examples: [Example], minimumSharedCount: Int) {
        self.examples = examples
        self.minimumSharedCount = minimumSharedCount
        paths = Array(repeating: [], count: examples.count)
        let count = examples.reduce(0) { $0 + $1.tokens.count }
        tokens.reserveCapacity(count)
        positions.reserveCapacity(count)
    }

    /// Adds a segment with the tokens `from..<to` that all of `members` have there.
    @discardableResult
    mutating func place(_ members: some Collection<Int>, from: Int, to: Int, under parent: Int?) -> Int {
        let start = tokens.count
        tokens.append(contentsOf: examples[members.first!].tokens[from..<to])
        positions.append(contentsOf: (from..<to).lazy.map { Int32($0) })
        for member in members { paths[member].append(Run(depth: from, tokenIndex: start, count: to - from)) }
        segments.append(Segment(start: start, count: to - from, parent: parent))
        return segments.count - 1
    }

    /// Walks the trie of the examples. Sorted by their tokens, the examples below a node are neighbours, and what the
    /// first and the last of them share is shared by all.
    mutating func placeSharing() {
        let order = examples.indices.sorted { a, b in
            let (x, y) = (examples[a].tokens, examples[b].tokens)
            let same = sharedCount(x, y, from: 0)
            if same == min(x.count, y.count) { return x.count == y.count ? a < b : x.count < y.count }
            return x[same] < y[same]
        }
        // A node: neighbours in the order, the depth that their segments already cover, and the segment above.
        var pending: [(members: Range<Int>, depth: Int, parent: Int?)] = [(0..<order.count, 0, nil)]
        while let (members, depth, parent) = pending.popLast(), !members.isEmpty {
            let first = examples[order[members.lowerBound]].tokens
            let last = examples[order[members.upperBound - 1]].tokens
            if members.count == 1 {
                place(order[members], from: depth, to: first.count, under: parent)
                continue
            }
            let shared = sharedCount(first, last, from: depth)
            var (nextDepth, nextParent) = (depth, parent)
            if shared - depth >= minimumSharedCount {
                nextParent = place(order[members], from: depth, to: shared, under: parent)
                nextDepth = shared
            }
            let children = groups(order, members, by: shared)
            // Rows that are wholly the same stop splitting here, even if what they share was too short for a segment.
            for child in children.ended where nextDepth < shared {
                place(CollectionOfOne(child), from: nextDepth, to: shared, under: nextParent)
            }
            for child in children.continued.reversed() { pending.append((child, nextDepth, nextParent)) }
        }
    }

    /// The neighbours split by their token at `depth`; those that have none there are apart.
    private func groups(
        _ order: [Int], _ members: Range<Int>, by depth: Int
    ) -> (ended: ArraySlice<Int>, continued: [Range<Int>]) {
        let firstLonger = members.first { examples[order[$0]].tokens.count > depth } ?? members.upperBound
        var continued: [Range<Int>] = []
        var start = firstLonger
        while start < members.upperBound {
            let token = examples[order[start]].tokens[depth]
            var end = start + 1
            while end < members.upperBound, examples[order[end]].tokens[depth] == token { end += 1 }
            continued.append(start..<end)
            start = end
        }
        return (order[members.lowerBound..<firstLonger], continued)
    }

    private func sharedCount(_ x: [Int32], _ y: [Int32], from start: Int) -> Int {
        let end = min(x.count, y.count)
        var index = start
        while index < end, x[index] == y[index] { index += 1 }
        return index
    }

    /// The predictions of every example along its path, sorted by token and then by example.
    func predictions() -> [Prediction] {
        var result: [Prediction] = []
        for (index, example) in examples.enumerated() {
            for run in paths[index] {
                for offset in 0..<run.count {
                    let next = run.depth + offset + 1
                    guard next < example.tokens.count, example.weights[next] != 0 else { continue }
                    result.append(
                        Prediction(
                            index: Int32(run.tokenIndex + offset), target: example.tokens[next],
                            weight: example.weights[next], example: Int32(index)))
                }
            }
        }
        return result.sorted { ($0.index, $0.example) < ($1.index, $1.example) }
    }
}
