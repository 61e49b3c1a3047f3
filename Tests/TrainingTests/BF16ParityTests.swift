import Autograd
import Batches
import Formats
import Models
import TestSupport
import Testing
import Training

/// A decoder that computes its products in bf16, against the reference's bf16 run.
///
/// The reference rounds every intermediate result to bf16, this engine only the factors of its products, so the two
/// differ by what bf16 is: 2 % of the logits' spread on average, after Tests/Fixtures/README.md.
@Suite(.enabled(if: InstructionSet.avx512BF16.isAvailable)) struct BF16ParityTests {
    let workspace = Workspace(threadCount: 2, precision: .bf16)

    @Test func logitsOfABF16Model() throws {
        let folder = "models/llama_bf16"
        let decoder = try BaseFiles(Fixture.path(folder)).makeDecoder(in: workspace)
        let expected = try SafetensorsFile(Fixture.path("\(folder)/expected.safetensors")).source
        let ids = try #require(expected["input_ids"]), mask = try #require(expected["attention_mask"]).floats()
        let tokens = try ids.floats().map { Int32($0) }
        let rows = (0..<ids.shape[0]).map { row in
            (row * ids.shape[1]..<(row + 1) * ids.shape[1]).filter { mask[$0] == 1 }
        }
        let examples = rows.map { Example(tokens: $0.map { tokens[$0] }, weights: $0.map { _ in 0 }) }
        let batch = PackedBatch(examples, sharingPrefixes: false)
        let logits = try #require(decoder.trace(batch, in: workspace).logits)
        func realRows(_ name: String) throws -> [Float] {
            let (values, width) = (try #require(expected[name]).floats(), decoder.spec.vocabulary)
            return rows.joined().flatMap { values[$0 * width..<($0 + 1) * width] }
        }
        let exact = try realRows("logits"), half = try realRows("logits_bf16")
        let spread = standardDeviation(exact)
        let toHalf = meanDistance(logits.elements, half) / spread
        let toExact = meanDistance(logits.elements, exact) / spread
        #expect(toHalf < 0.02, "\(toHalf)")
        // Nearer to f32 than the reference's own bf16, and yet not f32.
        #expect(toExact < meanDistance(half, exact) / spread, "\(toExact)")
        #expect(toExact > 1e-4, "\(toExact)")
    }

    @Test func lossOfABF16Model() throws {
        let folder = "models/llama_bf16"
        let decoder = try BaseFiles(Fixture.path(folder)).makeDecoder(in: workspace)
        let expected = try SafetensorsFile(Fixture.path("\(folder)/expected.safetensors")).source
        let report = try Parity(decoder, adapter: nil, tolerance: 5e-3, in: workspace)
            .compare(expected: expected, inputs: nil)
        let loss = try #require(report.compared.first { $0.tensor == "loss" })
        #expect(loss.relative < 5e-3, "\(loss)")
    }

    /// The random model amplifies the rounding of its logits, 1 % of their spread, some four times on the way back, and
    /// what the backward pass keeps is rounded as well.
    @Test func adapterGradients() throws {
        let folder = "models/llama_bf16"
        let decoder = try BaseFiles(Fixture.path(folder)).makeDecoder(in: workspace)
        let adapter = try decoder.attach(PEFTAdapter(Fixture.path("\(folder)/lora")), trainable: true, in: workspace)
        let report = try Parity(decoder, adapter: adapter, tolerance: 1e-1, in: workspace).compare(
            expected: SafetensorsFile(Fixture.path("\(folder)/lora_expected.safetensors")).source,
            inputs: SafetensorsFile(Fixture.path("\(folder)/expected.safetensors")).source)
        let gradients = report.compared.filter { $0.tensor.hasPrefix("grad.") }
        #expect(gradients.count == adapter.parameters.count)
        for row in gradients { #expect(row.relative < 1e-1, "\(row)") }
    }

    private func meanDistance(_ a: [Float], _ b: [Float]) -> Double {
        precondition(a.count == b.count, "\(a.count) and \(b.count) elements")
        return zip(a, b).reduce(0) { $0 + abs(Double($1.0) - Double($1.1)) } / Double(a.count)
    }

    private func standardDeviation(_ values: [Float]) -> Double {
        let mean = values.reduce(0) { $0 + Double($1) } / Double(values.count)
        return (values.reduce(0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / Double(values.count)).squareRoot()
    }
}
