/// Byte-pair encoding: a word starts as its characters (or bytes), then the pair with the earliest merge is joined,
/// the leftmost first, until no merge applies.
final class BytePairModel: Sendable {
    /// The options of tokenizer.json. Dropout is not among them: it only makes sense while a tokenizer is trained.
    struct Options: Sendable {
        var unknown: Int32?
        /// Whether a run of unknown characters becomes one unknown token.
        var fusesUnknown = false
        /// Whether an unknown character becomes the tokens of its bytes (`<0xE2>`) if the vocabulary has them all.
        var fallsBackToBytes = false
        /// Whether a word that is a token as it stands is not built by merges.
        var ignoresMergesOfWholeWords = false
        var continuingPrefix: [UInt8] = []
        var endOfWordSuffix: [UInt8] = []
        /// Whether words come as raw bytes whose byte-level characters the vocabulary is written in.
        var takesRawBytes = false
    }

    let vocabulary: Vocabulary
    let merges: MergeTable
    let options: Options
    /// The tokens of single bytes: of byte-level characters, or of ASCII.
    private let singleBytes: [Int32]
    private let fallbacks: [Int32]
    /// Whether a long word may be cut before each ▁ that follows another character: no token has such a place inside,
    /// so no merge crosses it.
    private let cutsBeforeSpaces: Bool

    init(vocabulary: Vocabulary, merges: MergeTable, options: Options) {
        self.vocabulary = vocabulary
        self.merges = merges
        self.options = options
        singleBytes = (0..<256).map { (byte: Int) -> Int32 in
            let text = options.takesRawBytes ? ByteLevelAlphabet.encoded([UInt8(byte)]) : [UInt8(byte)]
            return (options.takesRawBytes || byte < 0x80 ? vocabulary.id(of: text) : nil) ?? -1
        }
        fallbacks = (0..<256).map { vocabulary.id(of: ByteToken.name(UInt8($0))) ?? -1 }
        cutsBeforeSpaces = !options.takesRawBytes && Self.cutsBeforeSpaces(vocabulary, options)
    }

    private static func cutsBeforeSpaces(_ vocabulary: Vocabulary, _ options: Options) -> Bool {
        // A ▁ that is a token ends a run of unknown characters.
        guard vocabulary.id(of: SpaceMark.bytes) != nil, !options.ignoresMergesOfWholeWords,
            options.continuingPrefix.isEmpty, options.endOfWordSuffix.isEmpty
        else { return false }
        var result = true
        vocabulary.visit { token, _ in
            if result { result = !token.withUnsafeBufferPointer(SpaceMark.isInside) }
        }
        return result
    }

    /// Appends the ids of `word`. Cost: O(n log n).
    func append(_ word: UnsafeBufferPointer<UInt8>, to ids: inout [Int32], _ workspace: Workspace) {
        if cutsBeforeSpaces, word.count > 16 {
            SpaceMark.forEachStretch(of: word) {
                appendStretch(UnsafeBufferPointer(rebasing: word[$0]), to: &ids, workspace)
            }
        } else {
            appendStretch(word, to: &ids, workspace)
        }
    }

    private func appendStretch(_ word: UnsafeBufferPointer<UInt8>, to ids: inout [Int32], _ workspace: Workspace) {
        guard word.count <= WordCache.longestWord else {
            tokenize(word, avoiding: nil, to: &ids, workspace)
            return
        }
        let hash = workspace.words.hash(word)
        if workspace.words.append(word, hash: hash, to: &ids) { return }
        let start = ids.count
        tokenize(word, avoiding: nil, to: &ids, workspace)
        workspace.words.insert(word, hash: hash, ids: ids[start...])
    }

    /// Appends the ids of `word` as if the tokens in `avoided` were not in the vocabulary.
    func tokenize(
        _ word: UnsafeBufferPointer<UInt8>, avoiding avoided: IDSet?, to ids: inout [Int32], _ workspace: Workspace
    ) {
        if options.ignoresMergesOfWholeWords, let id = wholeWord(word), avoided?.contains(id) != true {
            ids.append(id)
            return
        }
        workspace.symbols.removeAll(keepingCapacity: true)
        appendSymbols(of: word, avoiding: avoided, to: &workspace.symbols)
        BytePairMerging.merge(&workspace.symbols, merges, avoiding: avoided)
        ids.append(contentsOf: workspace.symbols)
    }

    private func wholeWord(_ word: UnsafeBufferPointer<UInt8>) -> Int32? {
        options.takesRawBytes ? vocabulary.id(of: ByteLevelAlphabet.encoded(word)) : vocabulary.id(of: word)
    }

    private func appendSymbols(
        of word: UnsafeBufferPointer<UInt8>, avoiding avoided: IDSet?, to symbols: inout [Int32]
    ) {
        var unknowns = UnknownRun(options: options)
        var position = 0
        while position < word.count {
            let byte = word[position]
            let end = options.takesRawBytes ? position + 1 : position + UTF8Text.length(lead: byte)
            if let id = symbol(word, position..<end), avoided?.contains(id) != true {
                unknowns.flush(to: &symbols)
                symbols.append(id)
            } else if !options.fallsBackToBytes || !appendFallback(word, position..<end, to: &symbols) {
                unknowns.add(to: &symbols)
            }
            position = end
        }
        unknowns.flush(to: &symbols)
    }

    /// The token of one character, with the prefix or suffix that its place in the word asks for.
    @inline(__always)
    private func symbol(_ word: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) -> Int32? {
        let (prefix, suffix) = (options.continuingPrefix, options.endOfWordSuffix)
        if prefix.isEmpty && suffix.isEmpty {
            if options.takesRawBytes || range.count == 1 {
                let id = singleBytes[Int(word[range.lowerBound])]
                return id < 0 ? nil : id
            }
            return vocabulary.id(of: UnsafeBufferPointer(rebasing: word[range]))
        }
        var text = Array(word[range])
        if range.lowerBound > 0 { text.insert(contentsOf: prefix, at: 0) }
        if range.upperBound == word.count { text += suffix }
        return vocabulary.id(of: text)
    }

    private func appendFallback(
        _ word: UnsafeBufferPointer<UInt8>, _ range: Range<Int>, to symbols: inout [Int32]
    ) -> Bool {
        var text = Array(word[range])
        if range.lowerBound > 0 { text.insert(contentsOf: options.continuingPrefix, at: 0) }
        if range.upperBound == word.count { text += options.endOfWordSuffix }
        guard text.allSatisfy({ fallbacks[Int($0)] >= 0 }) else { return false }
        for byte in text { symbols.append(fallbacks[Int(byte)]) }
        return true
    }
}

/// The unknown token that is still to be written while a run of unknown characters lasts.
private struct UnknownRun {
    let options: BytePairModel.Options
    private var isPending = false

    init(options: BytePairModel.Options) { self.options = options }

    mutating func add(to symbols: inout [Int32]) {
        guard options.unknown != nil else { return }
        if isPending && !options.fusesUnknown { flush(to: &symbols) }
        isPending = true
    }

    mutating func flush(to symbols: inout [Int32]) {
        if isPending, let unknown = options.unknown { symbols.append(unknown) }
        isPending = false
    }
}

/// The tokens that stand for single bytes in vocabularies with a byte fallback.
enum ByteToken {
    static func name(_ byte: UInt8) -> String {
        let digits = String(byte, radix: 16, uppercase: true)
        return "<0x\(digits.count == 1 ? "0" : "")\(digits)>"
    }

    /// The byte that a token stands for, as the reference reads it: two hexadecimal digits, or a plus sign and one.
    static func byte(_ token: [UInt8]) -> UInt8? {
        guard token.count == 6, token.starts(with: [0x3C, 0x30, 0x78]), token[5] == 0x3E else { return nil }
        return UInt8(String(decoding: token[3..<5], as: UTF8.self), radix: 16)
    }
}

/// A set of token ids.
struct IDSet: Sendable {
    private var flags: [Bool] = []
    private(set) var isEmpty = true

    mutating func insert(_ id: Int32) {
        guard id >= 0 else { return }
        if Int(id) >= flags.count { flags += repeatElement(false, count: Int(id) + 1 - flags.count) }
        flags[Int(id)] = true
        isEmpty = false
    }

    mutating func remove(_ id: Int32) {
        if contains(id) { flags[Int(id)] = false }
    }

    @inline(__always)
    func contains(_ id: Int32) -> Bool { id >= 0 && Int(id) < flags.count && flags[Int(id)] }
}
