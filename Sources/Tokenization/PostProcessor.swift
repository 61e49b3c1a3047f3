/// The tokens that are put around a text, or around a pair of texts.
struct PostProcessor: Sendable {
    enum Part: Sendable {
        case tokens([Int32], type: Int32)
        case first(type: Int32)
        case second(type: Int32)
    }

    var single: [Part] = [.first(type: 0)]
    var pair: [Part] = [.first(type: 0), .second(type: 1)]

    /// The largest id that it adds; nil if it adds none.
    var largestID: Int32? {
        (single + pair).compactMap { part in if case .tokens(let ids, _) = part { ids.max() } else { nil } }.max()
    }

    /// Ids with the type of the segment that each belongs to.
    func apply(_ first: [Int32], _ second: [Int32]?, addingSpecialTokens: Bool) -> (ids: [Int32], types: [Int32]) {
        var ids: [Int32] = []
        var types: [Int32] = []
        func add(_ part: [Int32], _ type: Int32) {
            ids += part
            types += repeatElement(type, count: part.count)
        }
        for part in second == nil ? single : pair {
            switch part {
            case .tokens(let tokens, let type): if addingSpecialTokens { add(tokens, type) }
            case .first(let type): add(first, type)
            case .second(let type): add(second ?? [], type)
            }
        }
        return (ids, types)
    }
}
