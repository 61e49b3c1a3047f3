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
        var queryStart: Int32
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
                        queryStart: Int32(segment.start + start),
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

    /// A plan for `queryCount` new rows of one sequence whose keys, `keyCount` in all, end with them: decoding.
    package init(newRows queryCount: Int, ofKeys keyCount: Int) {
        precondition(queryCount > 0 && queryCount <= keyCount, "\(queryCount) new rows of \(keyCount)")
        let past = keyCount - queryCount
        rowCount = queryCount
        // Key row j is position j; the query row numbered i in this call is row past + i among the keys, so the past is
        // one range that all see and the new rows are a causal one.
        var ranges: [ek_key_range] = []
        if past > 0 { ranges.append(ek_key_range(start: 0, count: Int32(past), causal: 0, position: 0)) }
        ranges.append(
            ek_key_range(start: Int32(past), count: Int32(queryCount), causal: 1, position: Int32(past)))
        self.ranges = ranges
        blocks = stride(from: 0, to: queryCount, by: Int(EK_ATTENTION_ROWS)).map { start in
            Block(
                queryStart: Int32(past + start), queryCount: Int32(min(Int(EK_ATTENTION_ROWS), queryCount - start)),
                queryPosition: Int32(past + start), ranges: 0..<ranges.count)
        }
        trees = [0..<blocks.count]
        treeRows = [[0..<queryCount]]
    }
}
