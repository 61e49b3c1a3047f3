import Autograd
import Formats
import Models
import TestSupport
import Testing
import Training

/// Training against a base in four bits: every number of a model that holds the four bits' values.
@Suite struct QuantizedBaseTests {
    func report(adapted: Bool, encoding: BaseEncoding, prefix: String, _ workspace: Workspace) throws -> ParityReport {
        let model = try BaseFiles(Fixture.path("models/llama_gqa")).makeModel(in: workspace, encoding: encoding)
        var adapter: AttachedAdapter?
        if adapted {
            adapter = try model.attach(
                PEFTAdapter(Fixture.path("models/llama_gqa/lora")), trainable: true, in: workspace)
        }
        let source = try SafetensorsFile(Fixture.path("quant/nf4_model_llama_gqa.safetensors")).source
        let tensors = source.tensors.compactMap { tensor -> WeightTensor? in
            if tensor.name.hasPrefix(prefix) { return tensor.renamed(String(tensor.name.dropFirst(prefix.count))) }
            return tensor.name.hasPrefix("base.") || tensor.name.hasPrefix("lora.")
                || (!adapted && tensor.name.hasPrefix("grad.")) ? nil : tensor
        }
        return try Parity(model, adapter: adapter, tolerance: 1e-3, in: workspace)
            .compare(expected: WeightSource(tensors), inputs: nil)
    }

    @Test func everyNumberOfTheFourBitModel() throws {
        let workspace = Workspace(threadCount: 2)
        for (adapted, prefix, count) in [(false, "base.", 2), (true, "lora.", 2 + 42)] {
            let report = try report(adapted: adapted, encoding: .nf4, prefix: prefix, workspace)
            #expect(report.compared.count == count && report.isOK, "\(report.notCompared)")
            for row in report.compared {
                #expect(row.relative <= (row.tensor.contains("grad") ? 1e-4 : 2e-5), "\(row)")
            }
        }
        // The control: the base as it is gives other numbers.
        let other = try report(adapted: false, encoding: .automatic, prefix: "base.", workspace)
        #expect(other.compared.contains { $0.relative > 1e-3 })
    }

    /// Products in bf16 decode the same values.
    @Test(.enabled(if: InstructionSet.selected == .avx512BF16)) func inBF16() throws {
        let workspace = Workspace(threadCount: 2, precision: .bf16)
        let report = try report(adapted: true, encoding: .nf4, prefix: "lora.", workspace)
        #expect(report.compared.count == 2 + 42)
        for row in report.compared {
            #expect(row.relative <= (row.tensor.contains("grad") ? 0.1 : 0.05), "\(row)")
        }
    }

    /// A GGUF base that is decoded as it is used gives what its bf16 copy gives, up to the copy's rounding.
    @Test func storedBlocksAreTrainedAgainst() throws {
        let workspace = Workspace(threadCount: 2, precision: .bf16)
        let base = try BaseFiles(Fixture.path("gguf/tiny_llama.gguf"))
        let (copied, stored) = (
            try base.makeDecoder(in: workspace), try base.makeDecoder(in: workspace, encoding: .stored)
        )
        let expected = try SafetensorsFile(Fixture.path("gguf/tiny_llama_expected.safetensors")).source
        for decoder in [copied, stored] {
            decoder.settleWeights(in: workspace)
            let report = try Parity(decoder, adapter: nil, tolerance: 0.1, in: workspace)
                .compare(expected: expected, inputs: nil)
            let logits = try #require(report.compared.first { $0.tensor == "logits" })
            #expect(logits.relative < (workspace.precision == .bf16 ? 0.02 : 2e-5), "\(logits)")
        }
    }
}
