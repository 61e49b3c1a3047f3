/// Unigram: of all ways to cut a word into pieces the one with the largest sum of scores (Viterbi).
final class UnigramModel: @unchecked Sendable {
    // Unchecked: nothing changes after init.
    let vocabulary: Vocabulary
    let unknown: Int32?
    private let scores: [Double]
    private let trie: ByteTrie
    private let unknownScore: Double
    private let fallbacks: [Int32]?

    /// An unknown character costs this much more than the worst piece.
    private static let unknownPenalty = 10.0

    /// - Parameters:
    ///   - scores: the logarithm of each id's probability.
    ///   - fallsBackToBytes: whether unknown text becomes byte tokens if the vocabulary has them for all its bytes.
    init(vocabulary: Vocabulary, scores: [Double], unknown: Int32?, fallsBackToBytes: Bool) {
        self.vocabulary = vocabulary
        self.scores = scores
        self.unknown = unknown
        unknownScore = (scores.min() ?? 0) - Self.unknownPenalty
        var trie = ByteTrie()
        vocabulary.visit { piece, id in if !piece.isEmpty { trie.insert(piece, value: id) } }
        self.trie = trie
        fallbacks = fallsBackToBytes ? (0..<256).map { vocabulary.id(of: ByteToken.name(UInt8($0))) ?? -1 } : nil
    }

    /// The best way to reach a place in the text.
    private struct Node {
        var score = 0.0
        /// Where the piece that ends here begins; -1 while the place is not reached.
        var start: Int32 = -1
        var id: Int32 = 0
    }

    func append(_ word: UnsafeBufferPointer<UInt8>, avoiding avoided: IDSet?, to ids: inout [Int32]) {
        guard !word.isEmpty else { return }
        // The unknown pieces stay marked -1 until here: a fused run may itself spell a token.
        var pieces: [(range: Range<Int>, id: Int32)] = []
        withUnsafeTemporaryAllocation(of: Node.self, capacity: word.count + 1) { nodes in
            nodes.initialize(repeating: Node())
            search(word, avoided, nodes)
            var end = word.count
            while end > 0 {
                let node = nodes[end]
                let range = Int(node.start)..<end
                if node.id == unknown ?? -1, let last = pieces.last, last.id == node.id {
                    pieces[pieces.count - 1].range = range.lowerBound..<last.range.upperBound
                } else {
                    pieces.append((range, node.id))
                }
                end = range.lowerBound
            }
        }
        for piece in pieces.reversed() {
            if piece.id != unknown ?? -1 {
                ids.append(piece.id)
            } else {
                appendUnknown(UnsafeBufferPointer(rebasing: word[piece.range]), avoided, to: &ids)
            }
        }
    }

    private func search(
        _ word: UnsafeBufferPointer<UInt8>, _ avoided: IDSet?, _ nodes: UnsafeMutableBufferPointer<Node>
    ) {
        func reach(_ end: Int, from start: Int, _ id: Int32, _ score: Double) {
            let total = nodes[start].score + score
            if nodes[end].start < 0 || total > nodes[end].score {
                nodes[end] = Node(score: total, start: Int32(start), id: id)
            }
        }
        var position = 0
        while position < word.count {
            let next = position + UTF8Text.length(lead: word[position])
            var coversCharacter = false
            var node = ByteTrie.root
            var index = position
            while index < word.count {
                node = trie.child(of: node, word[index])
                guard node >= 0 else { break }
                index += 1
                guard let id = trie.value(at: node), avoided?.contains(id) != true else { continue }
                reach(index, from: position, id, scores[Int(id)])
                if index == next { coversCharacter = true }
            }
            if !coversCharacter { reach(next, from: position, unknown ?? -1, unknownScore) }
            position = next
        }
    }

    private func appendUnknown(_ text: UnsafeBufferPointer<UInt8>, _ avoided: IDSet?, to ids: inout [Int32]) {
        if let id = vocabulary.id(of: text), avoided?.contains(id) != true {
            ids.append(id)
        } else if let fallbacks, text.allSatisfy({ fallbacks[Int($0)] >= 0 }) {
            for byte in text { ids.append(fallbacks[Int(byte)]) }
        } else if let unknown {
            ids.append(unknown)
        }
    }
}
