import StrictJSON

/// A tokenizer as tokenizer.json describes it: normaliser, pre-tokeniser, model, post-processor and decoder, and the
/// tokens that are recognised before all of them.
///
/// Truncation and padding sections of a file are not applied: whoever batches texts decides about both.
package final class Tokenizer: TextTokenizer {
    let normalizer: Normalizer
    let preTokenizer: PreTokenizer
    let model: Model
    let postProcessor: PostProcessor
    let decoder: Decoder
    private let addedByID: [Int32: AddedToken]
    private let addedByContent: [BytewiseString: Int32]
    private let plainMatcher: AddedTokenMatcher
    private let normalizedMatcher: AddedTokenMatcher
    /// The special tokens without the unknown token: what untrusted text must not become.
    private let controlTokens: IDSet
    private let workspaces = WorkspacePool()

    package let vocabularyCount: Int
    package let beginningOfText: Int32?
    package let endOfText: Int32?

    /// What a tokenizer is put together from.
    struct Parts {
        var normalizer = Normalizer(steps: [])
        var preTokenizer = PreTokenizer(steps: [])
        var model: Model
        var postProcessor = PostProcessor()
        var decoder = Decoder(steps: nil)
        var addedTokens: [AddedToken] = []
        var beginningOfText: Int32?
        var endOfText: Int32?
    }

    init(_ parts: Parts) {
        normalizer = parts.normalizer
        preTokenizer = parts.preTokenizer
        model = parts.model
        postProcessor = parts.postProcessor
        decoder = parts.decoder
        beginningOfText = parts.beginningOfText
        endOfText = parts.endOfText
        var (byID, byContent): ([Int32: AddedToken], [BytewiseString: Int32]) = ([:], [:])
        var control = IDSet()
        for token in parts.addedTokens {
            byID[token.id] = token
            byContent[BytewiseString(String(decoding: token.content, as: UTF8.self))] = token.id
            if token.isSpecial, token.id != parts.model.unknown { control.insert(token.id) }
        }
        addedByID = byID
        addedByContent = byContent
        controlTokens = control
        // A post-processor may put ids around a text that no token has.
        let largest = max(byID.keys.max() ?? -1, parts.postProcessor.largestID ?? -1)
        vocabularyCount = max(parts.model.vocabulary.idCount, Int(largest) + 1)
        plainMatcher = AddedTokenMatcher(
            parts.addedTokens.filter { !$0.isNormalized }.map { ($0.content, $0) })
        let matcher = PatternMatcher()
        normalizedMatcher = AddedTokenMatcher(
            parts.addedTokens.filter(\.isNormalized).map { token in
                var pattern = token.content
                parts.normalizer.apply(to: &pattern, matcher)
                return (pattern, token)
            })
    }

    package func id(ofToken token: String) -> Int32? {
        addedByContent[BytewiseString(token)] ?? model.vocabulary.id(of: token)
    }

    package func token(ofID id: Int32) -> String? {
        bytes(ofID: id).map { String(decoding: $0, as: UTF8.self) }
    }

    private func bytes(ofID id: Int32) -> [UInt8]? {
        addedByID[id]?.content ?? model.vocabulary.token(id).map(Array.init)
    }

    // MARK: Encoding

    package func encode(_ text: String, addingSpecialTokens: Bool, recognizingSpecialTokens: Bool) -> [Int32] {
        let ids = plainIDs(text, recognizingSpecialTokens)
        guard addingSpecialTokens else { return ids }
        return postProcessor.apply(ids, nil, addingSpecialTokens: true).ids
    }

    /// The ids of two texts, put together as the post-processor puts together a pair, and the segment of each.
    package func encodePair(
        _ first: String, _ second: String, addingSpecialTokens: Bool, recognizingSpecialTokens: Bool
    ) -> (ids: [Int32], typeIDs: [Int32]) {
        let (ids, types) = postProcessor.apply(
            plainIDs(first, recognizingSpecialTokens), plainIDs(second, recognizingSpecialTokens),
            addingSpecialTokens: addingSpecialTokens)
        return (ids, types)
    }

    private func plainIDs(_ text: String, _ recognizesSpecial: Bool) -> [Int32] {
        var text = text
        return text.withUTF8 { bytes in
            workspaces.withWorkspace { workspace in
                var ids: [Int32] = []
                ids.reserveCapacity(bytes.count / 4 + 8)
                workspace.matcher.beginText(bytes.count)
                plainMatcher.forEachPiece(bytes, recognizingSpecial: recognizesSpecial) { piece in
                    switch piece {
                    case .token(let id): ids.append(id)
                    case .text(let range):
                        encodeGiven(
                            Array(bytes[range]), isAtStart: range.lowerBound == 0, recognizesSpecial, &ids, workspace)
                    }
                }
                return ids
            }
        }
    }

    /// Encodes text as given, without tokens that are looked for in such text.
    private func encodeGiven(
        _ text: [UInt8], isAtStart: Bool, _ recognizesSpecial: Bool, _ ids: inout [Int32], _ workspace: Workspace
    ) {
        var text = text
        normalizer.apply(to: &text, workspace.matcher)
        guard !normalizedMatcher.isEmpty else {
            encodeNormalized(text, isAtStart: isAtStart, recognizesSpecial, &ids, workspace)
            return
        }
        text.withUnsafeBufferPointer { bytes in
            normalizedMatcher.forEachPiece(bytes, recognizingSpecial: recognizesSpecial) { piece in
                switch piece {
                case .token(let id): ids.append(id)
                case .text(let range):
                    let isAtStart = isAtStart && range.lowerBound == 0
                    encodeNormalized(Array(bytes[range]), isAtStart: isAtStart, recognizesSpecial, &ids, workspace)
                }
            }
        }
    }

    private func encodeNormalized(
        _ text: [UInt8], isAtStart: Bool, _ recognizesSpecial: Bool, _ ids: inout [Int32], _ workspace: Workspace
    ) {
        var text = SplitText(text, isAtStart: isAtStart)
        preTokenizer.apply(to: &text, workspace)
        let avoided = recognizesSpecial || controlTokens.isEmpty ? nil : controlTokens
        text.bytes.withUnsafeBufferPointer { bytes in
            for split in text.splits {
                model.append(UnsafeBufferPointer(rebasing: bytes[split.range]), avoiding: avoided, to: &ids, workspace)
            }
        }
    }

    // MARK: Decoding

    package func decode(_ ids: [Int32], skippingSpecialTokens: Bool) -> String {
        var tokens: [[UInt8]] = []
        tokens.reserveCapacity(ids.count)
        for id in ids {
            if skippingSpecialTokens, addedByID[id]?.isSpecial == true { continue }
            if let token = bytes(ofID: id) { tokens.append(token) }
        }
        let text = workspaces.withWorkspace { decoder.text(of: tokens, $0.matcher) }
        return String(decoding: text, as: UTF8.self)
    }
}
