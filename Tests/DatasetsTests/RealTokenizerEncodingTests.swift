import Autograd
import Batches
import Datasets
import Diagnostics
import TestSupport
import Testing
import Tokenization

/// Turns as plain text, so that tokenizers without a chat template's tokens can be used.
private struct PlainTurns: ConversationRenderer {
    func render(_ conversation: Conversation, addingGenerationPrompt: Bool) throws(Diagnostic) -> RenderedText {
        var result = RenderedText(text: "", contentSpans: [], supervisedSpans: [])
        for message in conversation.messages {
            result.text += message.role == "assistant" ? "### Answer:\n" : "### Question: "
            let start = result.text.utf8.count
            result.text += message.content
            result.contentSpans.append(start..<result.text.utf8.count)
            result.text += "\n"
            if message.isSupervised { result.supervisedSpans.append(start..<result.text.utf8.count) }
        }
        if addingGenerationPrompt { result.text += "### Answer:\n" }
        return result
    }
}

@Suite struct RealTokenizerEncodingTests {
    static let tokenizers = [
        "bytelevel_llama3/tokenizer.json", "metaspace_bpe_llama2/tokenizer.json", "metaspace_bpe_first/tokenizer.json",
        "sentencepiece_bpe/tokenizer.model", "sentencepiece_bpe_no_prefix/tokenizer.model",
        "sentencepiece_unigram/tokenizer.model", "bytelevel_gpt2/tokenizer.json", "bytelevel_qwen2/tokenizer.json",
        "bytelevel_gpt2_prefix_space/tokenizer.json", "bytelevel_smollm/tokenizer.json",
    ]

    private let pairs = [
        ("How are you?", "card_payment"), ("12 34", "56"), ("x", " leading space"), ("été", "Größe 2024 €"),
        ("q", "\n\nnew"), ("tab", "\ttab"), ("日本", "語"), ("b", "42"),
    ]

    /// Whatever tokens are chosen at the borders, the text is the whole text's and begins with what generation is given.
    @Test(arguments: tokenizers)
    func theTextSurvivesTheBorders(_ name: String) throws {
        let tokenizer = try loadTokenizer(at: Fixture.path("tokenizers/" + name))
        let encoder = ExampleEncoder(
            tokenizer: tokenizer, renderer: PlainTurns(), stopTokens: [], maximumLength: 10_000)
        for (question, answer) in pairs {
            let texts = [question, answer, "More? " + question, answer + " " + answer]
            let conversation = Conversation(
                messages: texts.enumerated().map { index, text in
                    Message(
                        role: index % 2 == 0 ? "user" : "assistant", content: text, isSupervised: index % 2 == 1)
                })
            let example = try #require(try encoder.encode(conversation)).example
            let whole = tokenizer.encode(
                try PlainTurns().render(conversation, addingGenerationPrompt: false).text, addingSpecialTokens: false,
                recognizingSpecialTokens: true)
            let text = tokenizer.decode(example.tokens, skippingSpecialTokens: false)
            #expect(text.utf8.elementsEqual(tokenizer.decode(whole, skippingSpecialTokens: false).utf8))
            #expect(example.tokens.starts(with: try encoder.promptTokens(conversation.prompt)))
            let first = Conversation(messages: [conversation.messages[0]])
            #expect(example.tokens.starts(with: try encoder.promptTokens(first)))
        }
    }

    @Test(arguments: ["bytelevel_llama3/tokenizer.json", "sentencepiece_bpe/tokenizer.model"])
    func anyNumberOfThreadsGivesTheSameData(_ name: String) throws {
        let tokenizer = try loadTokenizer(at: Fixture.path("tokenizers/" + name))
        let encoder = ExampleEncoder(
            tokenizer: tokenizer, renderer: PlainTurns(), stopTokens: [], maximumLength: 60, tooLong: .drop)
        let rows = (0..<300).map { row in
            let (question, answer) = pairs[row % pairs.count]
            return
                #"{"q": "\#(question.count)\#(row)\#(String(repeating: " more", count: row % 25))", "a": "\#(answer.count)"}"#
        }
        let mapping = RecordMapping(
            form: .texts(
                system: nil, prompt: try TextTemplate(parsing: "{q}"), completion: try TextTemplate(parsing: "{a}")))
        let file = RecordFile(bytes: Array(rows.joined(separator: "\n").utf8), name: "rows.jsonl", format: .jsonl)
        let set = try ConversationSet(files: [file], mapping: mapping)
        let expected = try Dataset(set, encoder: encoder)
        #expect(expected.examples.count > 100 && expected.examples.count < 300)
        for threads in [1, 2, 3, 7] {
            let dataset = try Dataset(set, encoder: encoder, threads: Workspace(threadCount: threads).threads)
            #expect(dataset.examples == expected.examples && dataset.ledger == expected.ledger)
        }
        // The first record that is wrong is named, whichever thread meets it first.
        let strict = ExampleEncoder(tokenizer: tokenizer, renderer: PlainTurns(), stopTokens: [], maximumLength: 40)
        let errors = try [nil, Workspace(threadCount: 7).threads].map { threads in
            try #require(throws: Diagnostic.self) { try Dataset(set, encoder: strict, threads: threads) }
        }
        #expect(errors[0].place != nil && errors[0].place == errors[1].place)
    }
}
