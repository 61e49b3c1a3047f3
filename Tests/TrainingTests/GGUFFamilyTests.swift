import Autograd
import Diagnostics
import Formats
import Foundation
import Models
import TestSupport
import Testing
import Training

/// Models written as llama.cpp's converter writes them, against the numbers of the folders that they were made of.
@Suite struct GGUFFamilyTests {
    let workspace = Workspace(threadCount: 2)

    static let models: [(name: String, conversion: GGUFConversion)] = [
        ("llama_gqa", .init(architecture: "llama")), ("llama_tied_mqa", .init(architecture: "llama")),
        ("llama_rope_llama3", .init(architecture: "llama")), ("llama_rope_linear", .init(architecture: "llama")),
        ("llama_rope_yarn", .init(architecture: "llama")), ("mistral_sw", .init(architecture: "llama")),
        ("mixtral", .init(architecture: "llama")), ("qwen2_sharded", .init(architecture: "qwen2")),
        ("qwen3", .init(architecture: "qwen3")), ("gemma3_text", .init(architecture: "gemma3")),
        ("gemma3_text", .init(architecture: "gemma3", listsWindows: true)),
    ]

    private func withConverted<R>(
        _ name: String, _ conversion: GGUFConversion, _ body: (String) throws -> R
    ) throws -> R {
        let path = FileManager.default.temporaryDirectory.appending(path: "\(UUID().uuidString).gguf").path
        defer { try? FileManager.default.removeItem(atPath: path) }
        try conversion.write(Fixture.path("models/\(name)"), to: path)
        return try body(path)
    }

    private func report(_ name: String, _ conversion: GGUFConversion) throws -> ParityReport {
        try withConverted(name, conversion) { path in
            let decoder = try BaseFiles(path).makeDecoder(in: workspace)
            let expected = try SafetensorsFile(Fixture.path("models/\(name)/expected.safetensors")).source
            return try Parity(decoder, adapter: nil, tolerance: 1e-4, in: workspace)
                .compare(expected: expected, inputs: nil)
        }
    }

    @Test(arguments: models.indices) func agreesWithTheFolder(_ index: Int) throws {
        let (name, conversion) = Self.models[index]
        let report = try report(name, conversion)
        #expect(report.compared.contains { $0.tensor == "logits" } && report.isOK, "\(report.notCompared)")
        for row in report.compared {
            // Gemma's norms lose a bit where 1 is added before they are stored.
            #expect(row.relative <= (row.tensor.contains("loss") ? 1e-5 : 2e-5), "\(name): \(row)")
        }
    }

    @Test func theConventionsMatter() throws {
        for (name, conversion) in [
            ("llama_gqa", GGUFConversion(architecture: "llama", permutesHeads: false)),
            ("gemma3_text", GGUFConversion(architecture: "gemma3", addsToNorms: false)),
            ("qwen2_sharded", GGUFConversion(architecture: "qwen2", permutesHeads: true)),
        ] {
            #expect(try !report(name, conversion).isOK, "\(name)")
        }
    }

    @Test func anAdapterOfTheFolderFits() throws {
        try withConverted("mixtral", .init(architecture: "llama")) { path in
            let decoder = try BaseFiles(path).makeDecoder(in: workspace)
            let adapter = try decoder.attach(
                PEFTAdapter(Fixture.path("variants/mixtral_experts/adapter")), trainable: true, in: workspace)
            let expected = try SafetensorsFile(Fixture.path("variants/mixtral_experts/expected.safetensors")).source
            let report = try Parity(decoder, adapter: adapter, tolerance: 1e-3, in: workspace)
                .compare(expected: expected, inputs: nil)
            #expect(report.isOK && report.compared.contains { $0.tensor.hasPrefix("grad.") })
        }
    }

    /// What is not computed is refused by its key, and so is what contradicts itself.
    @Test func otherFilesAreRefusedByTheirKey() throws {
        let cases: [(String, String, [(key: String, value: GGUFValue)], String)] = [
            ("llama_gqa", "deepseek2", [], "general.architecture"),
            ("llama_gqa", "qwen3moe", [], "general.architecture"),
            ("qwen3", "qwen3", [("qwen3.expert_count", .uint32(4))], "qwen3.expert_count"),
            ("llama_gqa", "llama", [("llama.expert_count", .uint32(4))], "llama.expert_used_count"),
            (
                "llama_gqa", "llama", [("llama.expert_count", .uint32(2)), ("llama.expert_used_count", .uint32(3))],
                "llama.expert_used_count"
            ),
            ("llama_gqa", "llama", [("llama.rope.scaling.type", .string("longrope"))], "llama.rope.scaling.type"),
            (
                "llama_gqa", "llama",
                [
                    ("llama.rope.scaling.type", .string("yarn")),
                    ("llama.rope.scaling.yarn_ext_factor", .float32(0.5)),
                ], "llama.rope.scaling.yarn_ext_factor"
            ),
            (
                "qwen3", "gemma3", [("gemma3.attention.sliding_window_pattern", .array(GGUFArray([1, 0] as [Int32])))],
                "gemma3.attention.sliding_window_pattern"
            ),
        ]
        for (name, architecture, extra, key) in cases {
            let error = try withConverted(name, .init(architecture: architecture, extra: extra)) { path in
                #expect(throws: Diagnostic.self, "\(key)") { try BaseFiles(path) }
            }
            #expect(
                error?.place?.contains("\"\(key)\"") == true && error?.code.exit == .badData, "\(key): \(error as Any)")
        }
    }
}
