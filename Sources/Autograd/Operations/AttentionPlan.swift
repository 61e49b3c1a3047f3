import CKernels

/// Which rows of a packed batch see which others: a forest of segments, each after its parent.
///
/// A query sees all of its segment's ancestors and, in its own segment, itself and what came before (causal) or
/// everything (not causal), within the window if there is one. Nothing else: segments of different documents are
/// isolated exactly.
package struct AttentionPlan: Sendable {
    package struct Segment: Sendable, Equatable {
        package var start: Int
        package var count: Int
        /// The segment that this one continues; it comes earlier.
        package var parent: Int?

        package init(start: Int, count: Int, parent: Int?) {
            self.start = start
            self.count = count
            self.parent = parent
        }
    }

    /// One block of queries: up to 64 rows of a segment and the key ranges that they may see.
    struct Block: Sendable {
        /// The first query's row in q, and its row among the keys: the same but for decoding.
        var queryRow: Int32
        var keyRow: Int32
        var queryCount: Int32
        var queryPosition: Int32
        var ranges: Range<Int>
    }

    let rowCount: Int
    let blocks: [Block]
    let ranges: [ek_key_range]
    /// Runs of `blocks`, one for each root: their rows attend to nothing outside.
    let trees: [Range<Int>]
    /// The rows of each tree's segments, in order.
    let treeRows: [[Range<Int>]]

    /// - Parameters:
    ///   - segments: cover the rows 0..<T without a gap; parents come before children.
    ///   - isCausal: false for encoders, whose segments are all roots.
    package init(segments: [Segment], isCausal: Bool) {
        var blocks: [Block] = []
        var ranges: [ek_key_range] = []
        var blocksByRoot: [Int: [Block]] = [:]
        var rowsByRoot: [Int: [Range<Int>]] = [:]
        var roots: [Int] = []
        var root: [Int] = []
        var positions: [Int] = []
        var rowCount = 0
        for (index, segment) in segments.enumerated() {
            precondition(segment.start == rowCount && segment.count > 0, "segment \(index) leaves a gap")
            precondition(segment.parent.map { $0 < index } ?? true, "segment \(index) comes before its parent")
            precondition(isCausal || segment.parent == nil, "a bidirectional segment has no parent")
            rowCount += segment.count
            root.append(segment.parent.map { root[$0] } ?? index)
            positions.append(segment.parent.map { positions[$0] + segments[$0].count } ?? 0)
            if segment.parent == nil { roots.append(index) }
            rowsByRoot[root[index], default: []].append(segment.start..<rowCount)

            var ancestors: [Int] = []
            var next = segment.parent
            while let ancestor = next {
                ancestors.insert(ancestor, at: 0)
                next = segments[ancestor].parent
            }
            let first = ranges.count
            for ancestor in ancestors {
                ranges.append(
                    ek_key_range(
                        start: Int32(segments[ancestor].start), count: Int32(segments[ancestor].count), causal: 0,
                        position: Int32(positions[ancestor])))
            }
            ranges.append(
                ek_key_range(
                    start: Int32(segment.start), count: Int32(segment.count), causal: isCausal ? 1 : 0,
                    position: Int32(positions[index])))
            for start in stride(from: 0, to: segment.count, by: Int(EK_ATTENTION_ROWS)) {
                blocksByRoot[root[index], default: []].append(
                    Block(
                        queryRow: Int32(segment.start + start), keyRow: Int32(segment.start + start),
                        queryCount: Int32(min(Int(EK_ATTENTION_ROWS), segment.count - start)),
                        queryPosition: Int32(positions[index] + start), ranges: first..<ranges.count))
            }
        }
        var trees: [Range<Int>] = []
        for root in roots {
            let first = blocks.count
            blocks += blocksByRoot[root] ?? []
            trees.append(first..<blocks.count)
        }
        self.rowCount = rowCount
        self.blocks = blocks
        self.ranges = ranges
        self.trees = trees
        treeRows = roots.map { rowsByRoot[$0] ?? [] }
    }

    /// A sequence whose keys stand in a cache, in runs of rows; the last rows of the last run are new.
    package struct CachedSequence: Sendable {
        /// In the order of the sequence.
        package var runs: [Range<Int>]
        /// How many of the last run's rows are queries now.
        package var newCount: Int

        package init(runs: [Range<Int>], newCount: Int) {
            self.runs = runs
            self.newCount = newCount
        }
    }

    /// A plan for the new rows of several sequences, one after another in q, over a cache that holds their keys.
    package init(decoding sequences: [CachedSequence]) {
        var (blocks, ranges, rowCount): ([Block], [ek_key_range], Int) = ([], [], 0)
        for sequence in sequences {
            let first = ranges.count
            var position = 0
            for (index, run) in sequence.runs.enumerated() {
                let isLast = index == sequence.runs.count - 1
                ranges.append(
                    ek_key_range(
                        start: Int32(run.lowerBound), count: Int32(run.count), causal: isLast ? 1 : 0,
                        position: Int32(position)))
                position += run.count
            }
            let newRows = (sequence.runs.last?.upperBound ?? 0) - sequence.newCount
            for start in stride(from: 0, to: sequence.newCount, by: Int(EK_ATTENTION_ROWS)) {
                blocks.append(
                    Block(
                        queryRow: Int32(rowCount + start), keyRow: Int32(newRows + start),
                        queryCount: Int32(min(Int(EK_ATTENTION_ROWS), sequence.newCount - start)),
                        queryPosition: Int32(position - sequence.newCount + start), ranges: first..<ranges.count))
            }
            rowCount += sequence.newCount
        }
        self.rowCount = rowCount
        self.blocks = blocks
        self.ranges = ranges
        trees = [0..<blocks.count]
        treeRows = [[0..<rowCount]]
    }
}
