/// Text to token ids and back. Values are immutable and may be used from several threads at once.
package protocol TextTokenizer: Sendable {
    /// One more than the largest id that it gives, added tokens included.
    var vocabularyCount: Int { get }

    /// The ids of `text`.
    ///
    /// - Parameters:
    ///   - addingSpecialTokens: whether the post-processor's tokens (such as a BOS) are put around the ids.
    ///   - recognizingSpecialTokens: whether text that spells a special token (`<|im_end|>`) becomes that token. True
    ///     for text that a chat template rendered, false for what a user wrote.
    func encode(_ text: String, addingSpecialTokens: Bool, recognizingSpecialTokens: Bool) -> [Int32]

    func decode(_ ids: [Int32], skippingSpecialTokens: Bool) -> String

    /// The id of the token that is written exactly so, added tokens included.
    func id(ofToken token: String) -> Int32?
    func token(ofID id: Int32) -> String?

    var beginningOfText: Int32? { get }
    var endOfText: Int32? { get }
}
