/// Cuts a normalised text into a SentencePiece model's pieces. The scores are added in single precision, as the
/// original does, so that ties fall the same way.
struct SentencePieceEncoder: Sendable {
    private let algorithm: SentencePieceModel.Algorithm
    private let types: [SentencePieceModel.PieceType]
    private let scores: [Float]
    /// The normal, user-defined and unused pieces.
    private let vocabulary: Vocabulary
    private let trie: ByteTrie
    private let userDefined: ByteTrie
    private let unknown: Int32
    /// The byte pieces, if unknown characters become them.
    private let fallbacks: [Int32]?
    private let unknownScore: Float
    private let largestScore: Float
    /// Whether no piece has a ▁ behind another character, so that text can be cut before each such ▁.
    private let cutsBeforeSpaces: Bool

    private static let unknownPenalty: Float = 10

    init(_ model: SentencePieceModel, userDefined: ByteTrie) {
        algorithm = model.algorithm
        types = model.pieces.map(\.type)
        scores = model.pieces.map(\.score)
        self.userDefined = userDefined
        unknown = Int32(model.pieces.firstIndex { $0.type == .unknown } ?? 0)
        fallbacks = model.fallsBackToBytes ? Self.bytePieces(model) : nil
        var builder = Vocabulary.Builder(capacity: model.pieces.count)
        var trie = ByteTrie()
        var cuts = true
        for (id, piece) in model.pieces.enumerated() where Self.isFound(piece.type) {
            _ = piece.text.withUnsafeBufferPointer { builder.add($0, id: Int32(id)) }
            if model.algorithm == .unigram { trie.insert(piece.text, value: Int32(id)) }
            // An unused piece is split as it was last put together anywhere in the text.
            cuts = cuts && piece.type != .unused && !piece.text.withUnsafeBufferPointer(SpaceMark.isInside)
        }
        vocabulary = builder.build()
        self.trie = trie
        cutsBeforeSpaces = cuts
        let normal = model.pieces.lazy.filter { $0.type == .normal }.map(\.score)
        unknownScore = (normal.min() ?? .greatestFiniteMagnitude) - Self.unknownPenalty
        largestScore = max(normal.max() ?? 0, .leastNormalMagnitude)
    }

    private static func bytePieces(_ model: SentencePieceModel) -> [Int32] {
        var ids = [Int32](repeating: 0, count: 256)
        for (id, piece) in model.pieces.enumerated() where piece.type == .byte {
            if let byte = ByteToken.byte(piece.text) { ids[Int(byte)] = Int32(id) }
        }
        return ids
    }

    private static func isFound(_ type: SentencePieceModel.PieceType) -> Bool {
        type == .normal || type == .userDefined || type == .unused
    }

    /// Appends the ids of a normalised text.
    func encode(_ text: UnsafeBufferPointer<UInt8>, into ids: inout [Int32], _ workspace: Workspace) {
        var followsUnknown = false
        func add(_ range: Range<Int>, _ id: Int32) {
            if id != unknown {
                ids.append(id)
            } else if let fallbacks {
                for byte in text[range] { ids.append(fallbacks[Int(byte)]) }
            } else if !followsUnknown {
                ids.append(id)
            }
            followsUnknown = id == unknown
        }
        switch algorithm {
        case .unigram: searchBestPath(text, add)
        case .bytePair where cutsBeforeSpaces:
            SpaceMark.forEachStretch(of: text) { range in
                if appendCached(text, range, to: &ids, workspace) {
                    followsUnknown = false
                } else {
                    let start = ids.count
                    mergePairs(text, range, add)
                    keep(text, range, ids[start...], workspace)
                }
            }
        case .bytePair: mergePairs(text, 0..<text.count, add)
        case .word: forEachWord(text) { add($0, id(of: text, $0)) }
        case .character:
            var position = 0
            while position < text.count {
                let end = userDefined.isEmpty ? nil : userDefined.longestMatch(text, at: position)?.end
                let range = position..<(end ?? position + UTF8Text.length(lead: text[position]))
                add(range, id(of: text, range))
                position = range.upperBound
            }
        }
    }

    private func id(of text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) -> Int32 {
        vocabulary.id(of: UnsafeBufferPointer(rebasing: text[range])) ?? unknown
    }
}

// MARK: Unigram

extension SentencePieceEncoder {
    private struct Node {
        var score: Float = 0
        /// Where the piece that ends here begins; -1 while no way leads here.
        var start: Int32 = -1
        var id: Int32 = 0
    }

    private func searchBestPath(_ text: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>, Int32) -> Void) {
        withUnsafeTemporaryAllocation(of: Node.self, capacity: text.count + 1) { nodes in
            nodes.initialize(repeating: Node())
            var position = 0
            while position < text.count {
                extendPaths(text, from: position, nodes)
                position += UTF8Text.length(lead: text[position])
            }
            var pieces: [(Range<Int>, Int32)] = []
            var end = text.count
            while end > 0 {
                let node = nodes[end]
                pieces.append((Int(node.start)..<end, node.id))
                end = Int(node.start)
            }
            for (range, id) in pieces.reversed() { body(range, id) }
        }
    }

    @inline(__always)
    private func extendPaths(
        _ text: UnsafeBufferPointer<UInt8>, from start: Int, _ nodes: UnsafeMutableBufferPointer<Node>
    ) {
        let scoreHere = nodes[start].score
        let next = start + UTF8Text.length(lead: text[start])
        var coversCharacter = false
        func reach(_ end: Int, _ id: Int32, _ score: Double) {
            guard nodes[end].start < 0 || score > Double(nodes[end].score) else { return }
            nodes[end] = Node(score: Float(score), start: Int32(start), id: id)
        }
        var node = ByteTrie.root
        var index = start
        while index < text.count {
            node = trie.child(of: node, text[index])
            guard node >= 0 else { break }
            index += 1
            guard let id = trie.value(at: node), types[Int(id)] != .unused else { continue }
            // A user-defined piece gets a bonus that makes it win.
            let score =
                types[Int(id)] == .userDefined
                ? Double(Float(index - start) * largestScore) - 0.1 : Double(scores[Int(id)])
            reach(index, id, score + Double(scoreHere))
            if index == next { coversCharacter = true }
        }
        if !coversCharacter { reach(next, unknown, Double(unknownScore + scoreHere)) }
    }
}

// MARK: Byte pairs

extension SentencePieceEncoder {
    private func appendCached(
        _ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, to ids: inout [Int32], _ workspace: Workspace
    ) -> Bool {
        guard range.count <= WordCache.longestWord else { return false }
        let word = UnsafeBufferPointer(rebasing: text[range])
        return workspace.words.append(word, hash: workspace.words.hash(word), to: &ids)
    }

    /// Keeps the ids of a stretch, unless a part of it is unknown: such a part may join an unknown part before it.
    private func keep(
        _ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, _ ids: ArraySlice<Int32>, _ workspace: Workspace
    ) {
        guard range.count <= WordCache.longestWord, !ids.isEmpty, !ids.contains(unknown) else { return }
        let word = UnsafeBufferPointer(rebasing: text[range])
        workspace.words.insert(word, hash: workspace.words.hash(word), ids: ids)
    }

    private func mergePairs(
        _ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, _ body: (Range<Int>, Int32) -> Void
    ) {
        var pairs = ScoredPairs(text, range, userDefined) { pair in
            guard let id = vocabulary.id(of: UnsafeBufferPointer(rebasing: text[pair])) else { return nil }
            return (scores[Int(id)], types[Int(id)] == .unused)
        }
        pairs.run()
        pairs.forEachSymbol { resegment($0, text, pairs, body) }
    }

    /// Splits an unused piece back into what it was merged from.
    private func resegment(
        _ range: Range<Int>, _ text: UnsafeBufferPointer<UInt8>, _ pairs: ScoredPairs,
        _ body: (Range<Int>, Int32) -> Void
    ) {
        // A stack of its own: how deep merges nest is up to the file.
        var stack = [range]
        while let range = stack.popLast() {
            let id = id(of: text, range)
            if types[Int(id)] == .unused, let middle = pairs.middle(of: Array(text[range])) {
                stack.append(range.lowerBound + middle..<range.upperBound)
                stack.append(range.lowerBound..<range.lowerBound + middle)
            } else {
                body(range, id)
            }
        }
    }

    /// Calls `body` with stretches that begin at each ▁.
    private func forEachWord(_ text: UnsafeBufferPointer<UInt8>, _ body: (Range<Int>) -> Void) {
        var start = 0
        for position in text.indices where position > start && SpaceMark.isFound(text, at: position) {
            body(start..<position)
            start = position
        }
        if start < text.count { body(start..<text.count) }
    }
}

/// The pairs of neighbours that form a piece, merged by score, the leftmost of equals first.
private struct ScoredPairs {
    typealias Score = (score: Float, isUnused: Bool)

    private struct Entry {
        var score: Float
        var left: Int32
        var right: Int32
        var count: Int32

        /// Whether this pair is merged before `other`.
        func comes(before other: Entry) -> Bool {
            score > other.score || score == other.score && left < other.left
        }
    }

    private var starts: [Int] = []
    /// The length of each symbol in bytes; 0 once it is part of the one before it.
    private var counts: [Int32] = []
    private var next: [Int32] = []
    private var previous: [Int32] = []
    private var isFrozen: [Bool] = []
    private var heap: [Entry] = []
    /// How long the left part of each unused piece was when it was last looked up.
    private var middles: [[UInt8]: Int] = [:]
    private let text: UnsafeBufferPointer<UInt8>
    private let score: (Range<Int>) -> Score?

    /// - Parameter score: the score of the piece with the bytes of a range, if there is one.
    init(
        _ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, _ userDefined: ByteTrie,
        _ score: @escaping (Range<Int>) -> Score?
    ) {
        self.text = text
        self.score = score
        var position = range.lowerBound
        while position < range.upperBound {
            let match = userDefined.isEmpty ? nil : userDefined.longestMatch(text, at: position)
            let end = match?.end ?? position + UTF8Text.length(lead: text[position])
            starts.append(position)
            counts.append(Int32(end - position))
            isFrozen.append(match != nil)
            previous.append(Int32(next.count) - 1)
            next.append(end < range.upperBound ? Int32(next.count) + 1 : -1)
            position = end
        }
        for index in 1..<max(1, starts.count) { push(Int32(index) - 1, Int32(index)) }
    }

    mutating func run() {
        while let top = heap.first {
            popFirst()
            let (left, right) = (Int(top.left), Int(top.right))
            guard counts[left] > 0, counts[right] > 0, counts[left] + counts[right] == top.count else { continue }
            counts[left] = top.count
            counts[right] = 0
            next[left] = next[right]
            if next[left] >= 0 { previous[Int(next[left])] = top.left }
            push(previous[left], top.left)
            push(top.left, next[left])
        }
    }

    func forEachSymbol(_ body: (Range<Int>) -> Void) {
        var index = starts.isEmpty ? -1 : 0
        while index >= 0 {
            body(starts[index]..<starts[index] + Int(counts[index]))
            index = Int(next[index])
        }
    }

    /// Where an unused piece was put together.
    func middle(of piece: [UInt8]) -> Int? { middles[piece] }

    private mutating func push(_ left: Int32, _ right: Int32) {
        guard left >= 0, right >= 0, !isFrozen[Int(left)], !isFrozen[Int(right)] else { return }
        let count = counts[Int(left)] + counts[Int(right)]
        let start = starts[Int(left)]
        guard let found = score(start..<start + Int(count)) else { return }
        if found.isUnused { middles[Array(text[start..<start + Int(count)])] = Int(counts[Int(left)]) }
        heap.append(Entry(score: found.score, left: left, right: right, count: count))
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].comes(before: heap[parent]) else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    private mutating func popFirst() {
        let last = heap.removeLast()
        guard !heap.isEmpty else { return }
        var parent = 0
        while true {
            var child = parent * 2 + 1
            guard child < heap.count else { break }
            if child + 1 < heap.count, heap[child + 1].comes(before: heap[child]) { child += 1 }
            guard heap[child].comes(before: last) else { break }
            heap[parent] = heap[child]
            parent = child
        }
        heap[parent] = last
    }
}
