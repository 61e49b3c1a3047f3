import Autograd
import Batches
import Foundation
import Models
import StrictJSON
import TestSupport
import Testing
import Tokenization

/// Real models against the reference's numbers; `make test` fetches nothing, so each runs where a variable names the GGUF
/// file that `make fetch-base` or `make fetch-gemma` has fetched.
@Suite(.enabled(if: !RealModel.all.isEmpty, "set ESPALIER_SMOLLM2 or ESPALIER_GEMMA3 to the GGUF file"), .serialized)
struct RealModelTests {
    let workspace = Workspace(threadCount: 2)

    func vectors(_ real: RealModel) throws -> JSONValue {
        try JSONValue(parsing: Array(Fixture.data("real/\(real.name)/vectors.json")))
    }

    @Test(arguments: RealModel.all) func logitsAndGreedyText(_ real: RealModel) throws {
        let model = try BaseModel(real.path, in: workspace)
        let generator = Generator(model.decoder, in: workspace)
        for prompt in try #require(vectors(real)["prompts"]?.array) {
            let ids = try #require(prompt["ids"]?.array).compactMap(\.integer).map { Int32($0) }
            // Rendered by the template, or plain text behind the start token.
            let rendered = prompt["rendered"]?.string
            let text = try #require(rendered ?? prompt["text"]?.string)
            #expect(
                model.tokenizer.encode(
                    text, addingSpecialTokens: rendered == nil, recognizingSpecialTokens: true) == ids)
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

    @Test(arguments: RealModel.all) func batchedDecodingEqualsOneByOne(_ real: RealModel) throws {
        let model = try BaseModel(real.path, in: workspace)
        let generator = Generator(model.decoder, in: workspace)
        let prompts = try #require(vectors(real)["prompts"]?.array).map { prompt in
            (prompt["ids"]?.array ?? []).compactMap(\.integer).map { Int32($0) }
        }
        let together = generator.generate(prompts, maximumTokens: 12, stopTokens: model.stopTokens)
        for (prompt, expected) in zip(prompts, together) {
            #expect(generator.generate([prompt], maximumTokens: 12, stopTokens: model.stopTokens)[0] == expected)
        }
    }

    @Test(arguments: RealModel.all) func negativeLogLikelihoods(_ real: RealModel) throws {
        let model = try BaseModel(real.path, in: workspace)
        for (name, text) in try #require(vectors(real)["texts"]?.object).members {
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

struct RealModel: Sendable, CustomTestStringConvertible {
    let name: String
    let path: String

    var testDescription: String { name }

    static let all = [("smollm2_135m_instruct", "ESPALIER_SMOLLM2"), ("gemma3_270m", "ESPALIER_GEMMA3")]
        .compactMap { name, variable in
            ProcessInfo.processInfo.environment[variable].map { RealModel(name: name, path: $0) }
        }
}
