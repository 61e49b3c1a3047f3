package import Diagnostics

/// A conversation as one text, with the parts that matter as ranges of UTF-8 bytes; ranges ascend and do not overlap.
package struct RenderedText: Sendable, Equatable {
    package var text: String
    /// What the messages themselves brought in, as opposed to what the template wrote.
    package var contentSpans: [Range<Int>]
    /// What is learned: the supervised messages and what the template writes to end them.
    package var supervisedSpans: [Range<Int>]

    package init(text: String, contentSpans: [Range<Int>], supervisedSpans: [Range<Int>]) {
        self.text = text
        self.contentSpans = contentSpans
        self.supervisedSpans = supervisedSpans
    }
}

/// A chat template, as the data pipeline sees it.
package protocol ConversationRenderer: Sendable {
    /// - Parameter addingGenerationPrompt: whether the text ends where the assistant's next turn begins.
    func render(_ conversation: Conversation, addingGenerationPrompt: Bool) throws(Diagnostic) -> RenderedText
}
