import Datasets
import Diagnostics
import Tokenization

/// A tokenizer for tests: a token per byte, some longer tokens (greedily, longest first), and special tokens.
struct ByteTokenizer: TextTokenizer {
    static let specials = ["<s>", "<|im_start|>", "<|im_end|>", "</s>"]

    /// Tokens of several bytes; they may reach over any border.
    var merges: [String] = []
    /// Whether every text gets a space of its own in front, which decoding takes away again.
    var addsSpace = false
    var addsStart = false
    var hasEnd = true

    var vocabularyCount: Int { 256 + Self.specials.count + merges.count }
    var beginningOfText: Int32? { 256 }
    var endOfText: Int32? { hasEnd ? 259 : nil }

    func encode(_ text: String, addingSpecialTokens: Bool, recognizingSpecialTokens: Bool) -> [Int32] {
        var ids: [Int32] = addingSpecialTokens && addsStart ? [256] : []
        var bytes = Array(text.utf8)[...]
        if addsSpace, !bytes.isEmpty { bytes = [0x20] + bytes }
        while let byte = bytes.first {
            let special = Self.specials.firstIndex { recognizingSpecialTokens && bytes.starts(with: $0.utf8) }
            let merge = merges.indices.filter { bytes.starts(with: merges[$0].utf8) }
                .max { merges[$0].utf8.count < merges[$1].utf8.count }
            if let special {
                ids.append(Int32(256 + special))
                bytes.removeFirst(Self.specials[special].utf8.count)
            } else if let merge {
                ids.append(Int32(256 + Self.specials.count + merge))
                bytes.removeFirst(merges[merge].utf8.count)
            } else {
                ids.append(Int32(byte))
                bytes.removeFirst()
            }
        }
        return ids
    }

    func decode(_ ids: [Int32], skippingSpecialTokens: Bool) -> String {
        var bytes: [UInt8] = []
        for id in ids {
            let place = Int(id) - 256
            if place < 0 {
                bytes.append(UInt8(id))
            } else if place >= Self.specials.count {
                bytes += Array(merges[place - Self.specials.count].utf8)
            } else if !skippingSpecialTokens {
                bytes += Array(Self.specials[place].utf8)
            }
        }
        if addsSpace, bytes.first == 0x20 { bytes.removeFirst() }
        return String(decoding: bytes, as: UTF8.self)
    }

    func id(ofToken token: String) -> Int32? { Self.specials.firstIndex(of: token).map { Int32(256 + $0) } }
    func token(ofID id: Int32) -> String? { decode([id], skippingSpecialTokens: false) }
}

/// ChatML as a renderer: `<|im_start|>role\ncontent<|im_end|>\n`.
struct ChatMLRenderer: ConversationRenderer {
    /// Whether the end of a turn is written and learned.
    var ends = true
    var start = ""

    func render(_ conversation: Conversation, addingGenerationPrompt: Bool) throws(Diagnostic) -> RenderedText {
        var result = RenderedText(text: start, contentSpans: [], supervisedSpans: [])
        for message in conversation.messages {
            result.text += "<|im_start|>\(message.role)\n"
            let begin = result.text.utf8.count
            result.text += message.content
            result.contentSpans.append(begin..<result.text.utf8.count)
            if ends { result.text += "<|im_end|>\n" }
            if message.isSupervised { result.supervisedSpans.append(begin..<result.text.utf8.count) }
        }
        if addingGenerationPrompt { result.text += "<|im_start|>assistant\n" }
        return result
    }
}
