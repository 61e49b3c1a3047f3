/// The merge loop of byte-pair encoding.
enum BytePairMerging {
    /// Up to here the earliest merge is looked for in all pairs; a longer word keeps its pairs in a heap.
    private static let scannedLength = 48

    /// Joins pairs of `symbols` until no merge applies: the lowest rank first, the leftmost of equals.
    static func merge(_ symbols: inout [Int32], _ merges: MergeTable, avoiding avoided: IDSet?) {
        guard symbols.count > 1 else { return }
        if symbols.count <= scannedLength {
            let count = symbols.withUnsafeMutableBufferPointer { scan($0, merges, avoided) }
            symbols.removeLast(symbols.count - count)
        } else {
            var heap = MergeHeap(symbols, merges, avoided)
            heap.run()
            symbols.removeAll(keepingCapacity: true)
            heap.forEachSymbol { symbols.append($0) }
        }
    }

    @inline(__always)
    fileprivate static func find(
        _ left: Int32, _ right: Int32, _ merges: MergeTable, _ avoided: IDSet?
    ) -> MergeTable.Merge {
        let merge = merges.merge(left, right)
        if let avoided, merge.exists, avoided.contains(merge.id) { return .none }
        return merge
    }

    /// Merges in place and returns how many symbols are left.
    private static func scan(
        _ symbols: UnsafeMutableBufferPointer<Int32>, _ merges: MergeTable, _ avoided: IDSet?
    ) -> Int {
        withUnsafeTemporaryAllocation(of: UInt64.self, capacity: symbols.count) { pairs in
            var count = symbols.count
            for index in 0..<count - 1 {
                pairs[index] = find(symbols[index], symbols[index + 1], merges, avoided).bits
            }
            while count > 1 {
                var best = 0
                for index in 1..<max(1, count - 1) where pairs[index] < pairs[best] { best = index }
                let merge = MergeTable.Merge(bits: pairs[best])
                guard merge.exists else { break }
                symbols[best] = merge.id
                count -= 1
                for index in best + 1..<max(best + 1, count) {
                    symbols[index] = symbols[index + 1]
                    pairs[index - 1] = pairs[index]
                }
                if best + 1 < count { pairs[best] = find(merge.id, symbols[best + 1], merges, avoided).bits }
                if best > 0 { pairs[best - 1] = find(symbols[best - 1], merge.id, merges, avoided).bits }
            }
            return count
        }
    }
}

/// A long word's symbols as a linked list, and its pairs in a heap ordered by rank, then place.
private struct MergeHeap {
    private var symbols: [Int32]
    private var next: [Int32]
    private var previous: [Int32]
    /// Rank in the upper half, place in the lower. A pair whose symbols have changed since is skipped when it comes up.
    private var heap: [UInt64] = []
    private let merges: MergeTable
    private let avoided: IDSet?

    private static let removed = Int32.min

    init(_ symbols: [Int32], _ merges: MergeTable, _ avoided: IDSet?) {
        let count = Int32(symbols.count)
        self.symbols = symbols
        self.merges = merges
        self.avoided = avoided
        next = (1...count).map { $0 }
        previous = (-1..<count - 1).map { $0 }
        heap.reserveCapacity(symbols.count)
        for index in 0..<symbols.count - 1 {
            let merge = BytePairMerging.find(symbols[index], symbols[index + 1], merges, avoided)
            if merge.exists { heap.append(UInt64(merge.rank) << 32 | UInt64(index)) }
        }
        for index in stride(from: heap.count / 2 - 1, through: 0, by: -1) { siftDown(index) }
    }

    mutating func run() {
        while let top = heap.first {
            popFirst()
            let index = Int(UInt32(truncatingIfNeeded: top))
            guard symbols[index] != Self.removed, Int(next[index]) < symbols.count else { continue }
            let right = Int(next[index])
            let merge = BytePairMerging.find(symbols[index], symbols[right], merges, avoided)
            guard merge.exists, merge.rank == UInt32(truncatingIfNeeded: top >> 32) else { continue }
            symbols[index] = merge.id
            symbols[right] = Self.removed
            next[index] = next[right]
            if Int(next[index]) < symbols.count {
                previous[Int(next[index])] = Int32(index)
                push(index)
            }
            if previous[index] >= 0 { push(Int(previous[index])) }
        }
    }

    func forEachSymbol(_ body: (Int32) -> Void) {
        var index = 0
        while index < symbols.count {
            body(symbols[index])
            index = Int(next[index])
        }
    }

    private mutating func push(_ index: Int) {
        let merge = BytePairMerging.find(symbols[index], symbols[Int(next[index])], merges, avoided)
        guard merge.exists else { return }
        heap.append(UInt64(merge.rank) << 32 | UInt64(index))
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child] < heap[parent] else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    private mutating func popFirst() {
        let last = heap.removeLast()
        guard !heap.isEmpty else { return }
        heap[0] = last
        siftDown(0)
    }

    private mutating func siftDown(_ start: Int) {
        heap.withUnsafeMutableBufferPointer { heap in
            var parent = start
            let value = heap[parent]
            while true {
                var child = parent * 2 + 1
                guard child < heap.count else { break }
                if child + 1 < heap.count, heap[child + 1] < heap[child] { child += 1 }
                guard heap[child] < value else { break }
                heap[parent] = heap[child]
                parent = child
            }
            heap[parent] = value
        }
    }
}
