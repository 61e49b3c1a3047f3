import Autograd
import Batches
import Foundation
import Models
import StrictJSON
import TestSupport
import Testing
import Tokenization

/// The real SmolLM2-135M-Instruct against llama's reference numbers; `make test` fetches nothing, so this runs where
/// ESPALIER_SMOLLM2 names the GGUF file that `make quickstart` has fetched.
@Suite(.enabled(if: RealModel.path != nil, "set ESPALIER_SMOLLM2 to the GGUF file"), .serialized)
struct RealModelTests {
    let workspace = Workspace(threadCount: 2)

    func vectors() throws -> JSONValue {
        try JSONValue(parsing: Array(Fixture.data("real/smollm2_135m_instruct/vectors.json")))
    }

    func model() throws -> BaseModel { try BaseModel(#require(RealModel.path), in: workspace) }

    @Test func logitsAndGreedyText() throws {
        let model = try model()
        let generator = Generator(model.decoder, in: workspace)
        for prompt in try #require(vectors()["prompts"]?.array) {
            let ids = try #require(prompt["ids"]?.array).compactMap(\.integer).map { Int32($0) }
            let rendered = try #require(prompt["rendered"]?.string)
            #expect(
                model.tokenizer.encode(rendered, addingSpecialTokens: false, recognizingSpecialTokens: true) == ids)
            let batch = PackedBatch(
                [Example(tokens: ids, weights: ids.map { _ in 0 })], sharingPrefixes: false)
            let logits = try #require(model.decoder.trace(batch, in: workspace).logits).elements
            let last = Array(logits.suffix(model.decoder.spec.vocabulary))
            let top = try #require(prompt["last_token_top10_ids"]?.array).compactMap(\.integer)
            let values = try #require(prompt["last_token_top10_logits"]?.array).compactMap(\.number)
            for (id, value) in zip(top, values) { #expect(abs(Double(last[id]) - value) < 2e-3) }

            let greedy = try #require(prompt["greedy_32"]?.array).compactMap(\.integer).map { Int32($0) }
            let margins = try #require(prompt["greedy_margins"]?.array).compactMap(\.number)
            let clear = margins.firstIndex { $0 < 0.05 } ?? margins.count
            let tokens = generator.generate([ids], maximumTokens: 32, stopTokens: [])[0]
            #expect(Array(tokens.prefix(clear)) == Array(greedy.prefix(clear)))
        }
    }

    @Test func batchedDecodingEqualsOneByOne() throws {
        let model = try model()
        let generator = Generator(model.decoder, in: workspace)
        let prompts = try #require(vectors()["prompts"]?.array).map { prompt in
            (prompt["ids"]?.array ?? []).compactMap(\.integer).map { Int32($0) }
        }
        let together = generator.generate(prompts, maximumTokens: 12, stopTokens: model.stopTokens)
        for (prompt, expected) in zip(prompts, together) {
            #expect(generator.generate([prompt], maximumTokens: 12, stopTokens: model.stopTokens)[0] == expected)
        }
    }

    @Test func negativeLogLikelihoods() throws {
        let model = try model()
        for (name, text) in try #require(vectors()["texts"]?.object).members {
            guard let expected = text["mean"]?.number else { continue }
            let ids = (text["ids"]?.array ?? []).compactMap(\.integer).map { Int32($0) }
            let batch = PackedBatch(
                [Example(tokens: ids, weights: ids.indices.map { $0 == 0 ? 0 : 1 })], sharingPrefixes: false)
            let loss = model.decoder.loss(batch, on: Tape(workspace, recording: false))
            let mean = Double(loss.sum.value[0]) / Double(ids.count - 1)
            #expect(abs(mean - expected) < 1e-4 * expected, "\(name): \(mean), expected \(expected)")
        }
    }
}

enum RealModel {
    static let path = ProcessInfo.processInfo.environment["ESPALIER_SMOLLM2"]
}
