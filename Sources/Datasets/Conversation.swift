package import StrictJSON

/// One turn of a conversation.
package struct Message: Sendable, Equatable {
    package var role: String
    package var content: String
    /// Whether the model learns to write this turn.
    package var isSupervised: Bool
    /// Members of a message beside role and content (`name`, `tool_calls`) that a chat template may read.
    package var extras: JSONObject

    package init(role: String, content: String, isSupervised: Bool = false, extras: JSONObject = JSONObject()) {
        self.role = role
        self.content = content
        self.isSupervised = isSupervised
        self.extras = extras
    }
}

/// A record as turns, before any template or tokenizer has seen it.
package struct Conversation: Sendable, Equatable {
    package var messages: [Message]
    /// The tools that the record offers, for the chat template.
    package var tools: JSONValue?
    /// The line of the record in its file.
    package var line: Int

    package init(messages: [Message], tools: JSONValue? = nil, line: Int = 0) {
        self.messages = messages
        self.tools = tools
        self.line = line
    }

    /// Whether this is a plain text to be learned as a whole, with no one asking for it.
    package var isPlainText: Bool { messages.count == 1 && messages[0].role == "assistant" }

    /// The text that the last turn should have, if the last turn is the assistant's.
    package var reference: String? { messages.last?.role == "assistant" ? messages.last?.content : nil }

    /// The turns before the answer.
    package var prompt: Conversation {
        guard reference != nil else { return self }
        return Conversation(messages: messages.dropLast(), tools: tools, line: line)
    }

    /// A 64-bit digest of what is asked, or of a plain text, to find it in training and evaluation data: case, spaces and
    /// punctuation are of no account.
    package var promptFingerprint: UInt64 {
        var digest = Fingerprint()
        let asked = prompt.messages.filter { $0.role != "system" && $0.role != "developer" }
        for message in asked.isEmpty ? messages : asked {
            digest.add(message.role.utf8)
            let words = message.content.lowercased().split { !$0.isLetter && !$0.isNumber }
            if words.isEmpty { digest.add(message.content.utf8) }
            for word in words { digest.add(word.utf8) }
        }
        return digest.value
    }
}

/// FNV-1a over bytes, with the end of every part marked.
struct Fingerprint {
    private(set) var value: UInt64 = 0xCBF2_9CE4_8422_2325

    mutating func add(_ bytes: some Sequence<UInt8>) {
        for byte in bytes { value = (value ^ UInt64(byte)) &* 0x100_0000_01B3 }
        value = (value ^ 0x1FF) &* 0x100_0000_01B3
    }

    mutating func add(_ ids: [Int32]) {
        for id in ids { value = (value ^ UInt64(UInt32(bitPattern: id))) &* 0x100_0000_01B3 }
    }
}
