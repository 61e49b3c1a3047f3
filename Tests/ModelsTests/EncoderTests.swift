import Autograd
import Batches
import Diagnostics
import Formats
import Models
import NN
import TestSupport
import Testing

/// What encoders and heads for labels do beyond the numbers of single inputs.
@Suite struct EncoderTests {
    let workspace = Workspace(threadCount: 2)

    static let encoders = ["bert_tokcls", "roberta_mlm", "modernbert_tokcls", "modernbert_cls", "eurobert_mean"]

    func model(_ name: String, in workspace: Workspace? = nil) throws -> any LanguageModel {
        try BaseFiles(Fixture.path("models/\(name)")).makeModel(in: workspace ?? self.workspace)
    }

    /// Texts of these lengths with a label where one is asked for.
    func texts(_ lengths: [Int], _ spec: DecoderSpec) -> [LabelledExample] {
        lengths.enumerated().map { index, length in
            let tokens = (0..<length).map { Int32(($0 * 7 + index * 13) % 90 + 4) }
            let scores = Int32(spec.scoreCount ?? 1)
            let types = spec.tokenTypes.map { types in tokens.map { $0 % Int32(types) } }
            return LabelledExample(
                tokens: tokens, tokenTypes: types,
                labels: spec.task?.kind == .sequence
                    ? .sequence(Int32(index) % scores) : .tokens(tokens.map { $0 % 3 == 0 ? nil : $0 % scores }))
        }
    }

    /// Longer than a block of attention, and a text of one token.
    @Test(arguments: encoders) func packedRowsAreTheSameAsRowsAlone(_ name: String) throws {
        let model = try model(name)
        let texts = texts(model.spec.positionLimit == 28 ? [28, 1, 17] : [64, 1, 17, 50], model.spec)
        let packed = model.trace(PackedBatch(labelled: texts), paddedLength: nil, in: workspace)
        var alone: (final: [Float], logits: [Float]) = ([], [])
        for text in texts {
            let trace = model.trace(PackedBatch(labelled: [text]), paddedLength: nil, in: workspace)
            alone.final += trace.final.elements
            alone.logits += trace.logits?.elements ?? []
        }
        // The same products over fewer rows may add up in another order.
        expectClose(packed.final.elements, alone.final, relative: 2e-6)
        expectClose(try #require(packed.logits).elements, alone.logits, relative: 2e-6)
    }

    @Test(arguments: encoders + ["llama_seqcls"]) func sameBitsOnAnyNumberOfThreads(_ name: String) throws {
        let results = try [1, 3].map { threads -> [[UInt32]] in
            let workspace = Workspace(threadCount: threads)
            let model = try model(name, in: workspace)
            let adapter = try model.attach(
                PEFTAdapter(Fixture.path("models/\(name)/lora")), trainable: true, in: workspace)
            let batch = PackedBatch(labelled: texts([25, 20, 1, 17], model.spec))
            let tape = Tape(workspace, recording: true)
            let loss = model.loss(
                batch, on: tape, dropoutKey: nil, paddedLength: nil, economy: MemoryEconomy(recomputesLayers: true))
            tape.backward(from: loss.sum)
            return adapter.parameters.map { ($0.gradient?.elements ?? []).map(\.bitPattern) }
                + [loss.perPrediction.map(\.bitPattern)]
        }
        #expect(results[0] == results[1])
        #expect(results[0].allSatisfy { !$0.isEmpty })
    }

    /// Products in bf16 move scores by a few hundredths of their spread, and gradients hardly turn.
    @Test(
        .enabled(if: InstructionSet.avx512BF16.isAvailable),
        arguments: ["bert_seqcls", "modernbert_seqcls", "eurobert_seqcls", "llama_seqcls"])
    func bf16IsNearF32(_ name: String) throws {
        let results = try [Precision.f32, .bf16].map { precision -> (logits: [Float], gradient: [Float]) in
            let workspace = Workspace(threadCount: 2, precision: precision)
            let model = try BaseFiles(Fixture.path("models/\(name)")).makeModel(
                in: workspace, cache: DigestCache(path: nil))
            let adapter = try model.attach(
                PEFTAdapter(Fixture.path("models/\(name)/lora")), trainable: true, in: workspace)
            let batch = PackedBatch(labelled: texts([25, 20, 1, 17, 9, 30], model.spec))
            let logits = try #require(model.trace(batch, paddedLength: nil, in: workspace).logits).elements
            let tape = Tape(workspace, recording: true)
            tape.backward(
                from: model.loss(
                    batch, on: tape, dropoutKey: nil, paddedLength: nil, economy: MemoryEconomy()
                ).sum)
            return (logits, adapter.parameters.flatMap { $0.gradient?.elements ?? [] })
        }
        let (exact, half) = (results[0], results[1])
        expectClose(half.logits, exact.logits, relative: 0.05)
        #expect(half.logits != exact.logits)
        func dot(_ x: [Float], _ y: [Float]) -> Double { zip(x, y).reduce(0) { $0 + Double($1.0) * Double($1.1) } }
        let lengths = dot(exact.gradient, exact.gradient) * dot(half.gradient, half.gradient)
        #expect(dot(exact.gradient, half.gradient) / lengths.squareRoot() > 0.99)
    }

    @Test func recomputedLayersGiveTheSameGradients() throws {
        let gradients = try [false, true].map { recomputes -> [[Float]] in
            let model = try model("modernbert_tokcls")
            let adapter = try model.attach(
                PEFTAdapter(Fixture.path("models/modernbert_tokcls/lora")), trainable: true, in: workspace)
            let tape = Tape(workspace, recording: true)
            let batch = PackedBatch(labelled: texts([25, 20], model.spec))
            let economy = MemoryEconomy(recomputesLayers: recomputes)
            tape.backward(
                from: model.loss(batch, on: tape, dropoutKey: nil, paddedLength: nil, economy: economy).sum)
            return adapter.parameters.map { $0.gradient?.elements ?? [] }
        }
        #expect(gradients[0] == gradients[1])
    }

    /// The last token counts that is not padding, and the first if there is none.
    @Test func aDecoderPoolsTheLastTokenThatIsNoPadding() throws {
        let model = try model("llama_seqcls")
        func logits(_ tokens: [Int32]) throws -> [Float] {
            let batch = PackedBatch(labelled: [LabelledExample(tokens: tokens)])
            return try #require(model.trace(batch, paddedLength: nil, in: workspace).logits).elements
        }
        expectClose(try logits([5, 9, 17, 0, 0]), try logits([5, 9, 17]), relative: 1e-6)
        expectClose(try logits([0, 0, 0]), try logits([0]), relative: 1e-6)
    }

    @Test func positionsAfterPaddingCountOnlyTokens() throws {
        let spec = try model("xlm_roberta_states").spec
        #expect(spec.positionLimit == 60)
        let batch = PackedBatch(labelled: [LabelledExample(tokens: [0, 3, 9, 9]), LabelledExample(tokens: [3, 5])])
        #expect(spec.positionRows(of: batch) == [4, 3, 5, 6, 3, 4])
    }

    @Test func vectorsOfLengthOne() throws {
        let model = try model("xlm_roberta_states")
        let batch = PackedBatch(labelled: texts([9, 4, 1], model.spec))
        for pooling in [TaskSpec.Pooling.first, .mean, .last()] {
            let plain = model.embeddings(of: batch, pooling: pooling, in: workspace)
            let unit = model.embeddings(of: batch, pooling: pooling, normalizing: true, in: workspace)
            #expect(unit.shape == Shape(3, 32))
            for row in 0..<3 {
                let (x, y) = (plain.elements[row * 32..<row * 32 + 32], unit.elements[row * 32..<row * 32 + 32])
                let length = x.reduce(0) { $0 + Double($1) * Double($1) }.squareRoot()
                expectClose(Array(y), x.map { Double($0) / length }, relative: 1e-6)
            }
        }
    }

    @Test func anEncoderIsNoDecoder() throws {
        for (name, words) in [
            ("bert_tokcls", "bert, an encoder for token classification"),
            ("llama_seqcls", "llama, a decoder for sequence classification"),
            ("xlm_roberta_states", "xlm-roberta, an encoder for embeddings"),
        ] {
            do throws(Diagnostic) {
                _ = try BaseFiles(Fixture.path("models/\(name)")).makeDecoder(in: workspace)
                Issue.record("\(name) was taken for a decoder")
            } catch { #expect(error.description.contains(words), "\(error)") }
        }
    }

    @Test func aModelWithoutScoresHasNoLoss() throws {
        #expect(throws: Diagnostic.self) { try model("xlm_roberta_states").spec.checkLoss() }
        var spec = try model("llama_seqcls").spec
        try spec.checkLoss()
        spec.task?.problem = .number
        #expect(throws: Diagnostic.self) { try spec.checkLoss() }
    }
}
