/// A conversation as the model reads it, with what is known of its bytes.
package struct RenderedConversation: Sendable, Equatable {
    package var text: String

    /// The UTF-8 bytes that came from the conversation rather than from the template, in order. A tokenizer must not
    /// recognise special tokens in them. Nil if they cannot be told apart; the conversation then spells no special
    /// token, so that it does not matter.
    package var contentSpans: [ContentSpan]?

    /// The UTF-8 bytes that the model must learn to write, in order and disjoint: what a chosen message says and
    /// whatever the template writes after it up to the next message.
    package var supervisedSpans: [Range<Int>]

    package var endOfTurn: EndOfTurn

    /// Whether the text before the last supervised message is another than the prompt that the template writes when
    /// the model is asked for that message; the model then learns after a prompt that it will not be given.
    package var promptDiffers: Bool

    /// Bytes that a message, or the tools and documents, put into the text.
    package struct ContentSpan: Sendable, Equatable {
        package var range: Range<Int>
        /// The message's index; nil for tools and documents.
        package var message: Int?

        package init(range: Range<Int>, message: Int?) {
            self.range = range
            self.message = message
        }
    }

    /// What follows the assistant's text if that ends the conversation.
    package enum EndOfTurn: Sendable, Equatable {
        /// The template closes the turn, and that is supervised; also if the conversation ends otherwise.
        case supervised
        /// The template closes the turn, but its generation tags leave that out.
        case unsupervised
        /// The template does not close the last turn, so the caller has to append an end token. The text is what the
        /// template would write if the conversation went on, where that could be found out.
        case missing(String?)
    }

    package init(
        text: String, contentSpans: [ContentSpan]?, supervisedSpans: [Range<Int>], endOfTurn: EndOfTurn = .supervised,
        promptDiffers: Bool = false
    ) {
        self.text = text
        self.contentSpans = contentSpans
        self.supervisedSpans = supervisedSpans
        self.endOfTurn = endOfTurn
        self.promptDiffers = promptDiffers
    }
}

/// Which messages the model learns to write.
package enum Supervision: Sendable, Equatable {
    /// All messages of these roles.
    case roles(Set<String>)
    /// One entry for each message.
    case messages([Bool])

    package static let assistant = Supervision.roles(["assistant"])
}
