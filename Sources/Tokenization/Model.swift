/// The part of a tokenizer that turns a word into ids.
enum Model: Sendable {
    case bytePair(BytePairModel)
    case unigram(UnigramModel)
    case wordPiece(WordPieceModel)
    case wordLevel(WordLevelModel)

    var vocabulary: Vocabulary {
        switch self {
        case .bytePair(let model): model.vocabulary
        case .unigram(let model): model.vocabulary
        case .wordPiece(let model): model.vocabulary
        case .wordLevel(let model): model.vocabulary
        }
    }

    var unknown: Int32? {
        switch self {
        case .bytePair(let model): model.options.unknown
        case .unigram(let model): model.unknown
        case .wordPiece(let model): model.unknown
        case .wordLevel(let model): model.unknown
        }
    }

    /// Appends the ids of `word`, as if the tokens in `avoided` were not in the vocabulary.
    @inline(__always)
    func append(
        _ word: UnsafeBufferPointer<UInt8>, avoiding avoided: IDSet?, to ids: inout [Int32], _ workspace: Workspace
    ) {
        let start = ids.count
        switch self {
        case .bytePair(let model): model.append(word, to: &ids, workspace)
        case .unigram(let model): model.append(word, avoiding: nil, to: &ids)
        case .wordPiece(let model): model.append(word, avoiding: nil, to: &ids)
        case .wordLevel(let model): model.append(word, avoiding: nil, to: &ids)
        }
        // Hardly any word spells a control token, so it is looked for in the outcome rather than avoided from the start.
        guard let avoided, ids[start...].contains(where: { avoided.contains($0) }) else { return }
        ids.removeLast(ids.count - start)
        switch self {
        case .bytePair(let model): model.tokenize(word, avoiding: avoided, to: &ids, workspace)
        case .unigram(let model): model.append(word, avoiding: avoided, to: &ids)
        case .wordPiece(let model): model.append(word, avoiding: avoided, to: &ids)
        case .wordLevel(let model): model.append(word, avoiding: avoided, to: &ids)
        }
    }
}
