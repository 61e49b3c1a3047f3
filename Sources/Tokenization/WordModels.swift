/// WordPiece: the longest token that begins the word, then the longest continuing token, and so on; a word that does
/// not come out even, or is too long, is unknown as a whole.
final class WordPieceModel: Sendable {
    let vocabulary: Vocabulary
    let unknown: Int32?
    private let trie: ByteTrie
    private let continuingRoot: Int32?
    private let longestWord: Int

    /// - Parameters:
    ///   - continuingPrefix: what tokens inside a word begin with, such as `##`.
    ///   - longestWord: in Unicode scalars.
    init(vocabulary: Vocabulary, unknown: Int32?, continuingPrefix: String, longestWord: Int) {
        self.vocabulary = vocabulary
        self.unknown = unknown
        self.longestWord = longestWord
        var trie = ByteTrie()
        vocabulary.visit { token, id in if !token.isEmpty { trie.insert(token, value: id) } }
        continuingRoot = trie.node(for: continuingPrefix.utf8)
        self.trie = trie
    }

    func append(_ word: UnsafeBufferPointer<UInt8>, avoiding avoided: IDSet?, to ids: inout [Int32]) {
        let scalars = word.count { $0 & 0xC0 != 0x80 }
        let start = ids.count
        var position = 0
        while position < word.count, scalars <= longestWord {
            var node = position == 0 ? ByteTrie.root : continuingRoot ?? -1
            var best: (id: Int32, end: Int)?
            var index = position
            while node >= 0, index < word.count {
                node = trie.child(of: node, word[index])
                index += 1
                if node >= 0, let id = trie.value(at: node), avoided?.contains(id) != true { best = (id, index) }
            }
            // A token may end inside a character only in a broken vocabulary; such a match is none.
            guard let best, best.end == word.count || word[best.end] & 0xC0 != 0x80 else { break }
            ids.append(best.id)
            position = best.end
        }
        if position < word.count {
            ids.removeLast(ids.count - start)
            if let unknown { ids.append(unknown) }
        }
    }
}

/// A word is a token or it is unknown.
final class WordLevelModel: Sendable {
    let vocabulary: Vocabulary
    let unknown: Int32?

    init(vocabulary: Vocabulary, unknown: Int32?) {
        self.vocabulary = vocabulary
        self.unknown = unknown
    }

    func append(_ word: UnsafeBufferPointer<UInt8>, avoiding avoided: IDSet?, to ids: inout [Int32]) {
        if let id = vocabulary.id(of: word), avoided?.contains(id) != true {
            ids.append(id)
        } else if let unknown {
            ids.append(unknown)
        }
    }
}
