import Autograd
import Batches
import Formats
import Models
import TestSupport
import Testing

/// Decoding with a cache against the full forward pass, for a model of every kind of attention and position.
@Suite struct GenerationTests {
    let workspace = Workspace(threadCount: 2)

    static let models = [
        "llama_gqa", "mistral_sw", "gemma3_text", "smollm3", "phi3", "apertus", "gpt2", "gpt_neox", "bloom",
        "pharia", "mixtral", "deepseek_v2_greedy", "deepseek_v3",
    ]

    /// Two prompts that share their beginning, and a third.
    static let prompts: [[Int32]] = [[5, 9, 17, 90, 3], [5, 9, 17, 44, 61, 8, 12], [70, 71]]

    /// The token that the full pass over `tokens` finds likeliest, and by how much.
    func likeliest(after tokens: [Int32], _ decoder: Decoder) -> (token: Int32, margin: Float) {
        let batch = PackedBatch([Example(tokens: tokens, weights: tokens.map { _ in 0 })], sharingPrefixes: false)
        let all = decoder.trace(batch, in: workspace).logits?.elements ?? []
        let logits = all.suffix(decoder.spec.vocabulary)
        let ranked = logits.enumerated().sorted { $0.element > $1.element }
        return (Int32(ranked[0].offset), ranked[0].element - ranked[1].element)
    }

    @Test(arguments: models) func cachedDecodingEqualsTheFullPass(_ name: String) throws {
        let decoder = try BaseFiles(Fixture.path("models/\(name)")).makeDecoder(in: workspace)
        _ = try decoder.attach(PEFTAdapter(Fixture.path("models/\(name)/lora")), trainable: false, in: workspace)
        let answers = Generator(decoder, in: workspace).generate(Self.prompts, maximumTokens: 24, stopTokens: [])
        for (prompt, answer) in zip(Self.prompts, answers) {
            #expect(answer.count == 24)
            for index in answer.indices {
                let full = likeliest(after: prompt + answer[..<index], decoder)
                // Closer than the tolerance of logits, either may be said.
                #expect(full.token == answer[index] || full.margin < 1e-4, "token \(index) of \(answer)")
            }
        }
    }

    /// Prompts and answers on both sides of the length where the rotation changes, which is 16 for both models.
    @Test(arguments: ["phi3_longrope", "llama_rope_dynamic"])
    func rotationGoesByTheWholeLength(_ name: String) throws {
        let decoder = try BaseFiles(Fixture.path("models/\(name)")).makeDecoder(in: workspace)
        #expect(decoder.spec.rotationDiffers(16, 17) && !decoder.spec.rotationDiffers(3, 16))
        let long = (3..<23).map { Int32($0) }
        let prompts = [Array(long.prefix(12)), long, Array(long.prefix(5))]
        let answers = Generator(decoder, in: workspace).generate(prompts, maximumTokens: 9, stopTokens: [])
        for (prompt, answer) in zip(prompts, answers) {
            #expect(answer.count == 9)
            for index in answer.indices {
                let full = likeliest(after: prompt + answer[..<index], decoder)
                #expect(full.token == answer[index] || full.margin < 1e-4, "token \(index) of \(answer)")
            }
        }
    }

    @Test(arguments: ["phi3_longrope", "llama_rope_dynamic", "bloom", "gpt2", "mixtral", "deepseek_v3"])
    func sharedPrefixesChangeNoLogit(_ name: String) throws {
        let decoder = try BaseFiles(Fixture.path("models/\(name)")).makeDecoder(in: workspace)
        let long = (3..<23).map { Int32($0) }
        let texts = [long, Array(long.prefix(9)) + [70, 71], Array(long.prefix(9)) + [80, 81, 82]]
        let examples = texts.map { Example(tokens: $0, weights: $0.indices.map { $0 == 0 ? 0 : 1 }) }
        let alone = examples.map { example in
            decoder.loss(decoder.spec.pack([example], sharingPrefixes: false), on: Tape(workspace, recording: false))
                .perPrediction
        }
        let batch = decoder.spec.pack(examples, sharingPrefixes: true)
        let together = decoder.loss(batch, on: Tape(workspace, recording: false)).perPrediction
        var byExample: [[Float]] = texts.map { _ in [] }
        for (example, loss) in zip(batch.predictionExamples, together) { byExample[Int(example)].append(loss) }
        for (a, b) in zip(alone, byExample) {
            #expect(a.count == b.count)
            for (a, b) in zip(a.sorted(), b.sorted()) { #expect(abs(a - b) < 2e-5 * max(1, abs(a))) }
        }
        let depends = decoder.spec.layers.contains { $0.rotary?.dependsOnLength == true }
        #expect(depends ? batch.savedTokenCount == 0 : batch.savedTokenCount == 18)
    }

    @Test func endsWhereLearnedPositionsEnd() throws {
        let decoder = try BaseFiles(Fixture.path("models/gpt2")).makeDecoder(in: workspace)
        #expect(decoder.spec.positionLimit == 64)
        let prompt = (0..<60).map { Int32($0) }
        let answer = Generator(decoder, in: workspace).generate([prompt], maximumTokens: 20, stopTokens: [])[0]
        // The last token needs no position of its own: nothing is asked after it.
        #expect(answer.count == 5)
        #expect(throws: (any Error).self) { try decoder.spec.checkPrompt(Array(repeating: 1, count: 65)) }
    }
}
