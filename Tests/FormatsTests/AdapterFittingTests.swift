import Diagnostics
import Formats
import Foundation
import StrictJSON
import TestSupport
import Testing

/// Adapters whose configuration and tensors do not fit each other.
@Suite struct AdapterFittingTests {
    private static let q = "base_model.model.model.layers.0.self_attn.q_proj"

    private static func config(_ change: (inout PEFTConfig) -> Void = { _ in }) -> PEFTConfig {
        var config = PEFTConfig()
        config.r = 2
        config.targetModules = .names(["q_proj"])
        change(&config)
        return config
    }

    private static func tensor(
        _ ending: String, _ shape: [Int], _ type: ElementType = .f32, module: String = q, value: Float = 0.5
    ) -> OutgoingTensor {
        let values = [Float](repeating: value, count: shape.reduce(1, *))
        return OutgoingTensor(name: module + ending, shape: shape, values: values, as: type)
    }

    private static let a = tensor(".lora_A.weight", [2, 6])
    private static let b = tensor(".lora_B.weight", [5, 2])

    static let cases: [(rule: String, config: PEFTConfig, tensors: [OutgoingTensor], fits: Bool)] = [
        ("a pair", config(), [a, b], true),
        ("nothing", config(), [], false),
        ("no A", config(), [b], false), ("no B", config(), [a], false),
        ("A and B swapped", config(), [tensor(".lora_A.weight", [6, 2]), tensor(".lora_B.weight", [2, 5])], false),
        ("another r", config { $0.r = 3 }, [a, b], false),
        ("A of rank 3", config(), [tensor(".lora_A.weight", [3, 6]), b], false),
        ("B of rank 3", config(), [a, tensor(".lora_B.weight", [5, 3])], false),
        ("three dimensions", config(), [tensor(".lora_A.weight", [2, 6, 1]), b], false),
        ("empty", config(), [tensor(".lora_A.weight", [2, 0]), b], false),
        ("rank pattern misses", config { $0.rankPattern = [("q_proj", 3)] }, [a, b], false),
        (
            "rank pattern fits",
            config {
                $0.r = 9; $0.rankPattern = [("q_proj", 2)]
            }, [a, b], true
        ),
        ("two types", config(), [a, tensor(".lora_B.weight", [5, 2], .bf16)], false),
        ("integers", config(), [a, b, OutgoingTensor(name: q + ".lora_C.weight", shape: [0], values: [])], false),
        ("NaN in B", config(), [a, tensor(".lora_B.weight", [5, 2], value: .nan)], false),
        ("infinity in A", config(), [tensor(".lora_A.weight", [2, 6], value: .infinity), b], false),
        (
            "NaN as bf16", config(),
            [tensor(".lora_A.weight", [2, 6], .bf16, value: .nan), tensor(".lora_B.weight", [5, 2], .bf16)], false
        ),
        ("a target that is not there", config { $0.targetModules = .names(["k_proj"]) }, [a, b], false),
        ("an expression that does not match", config { $0.targetModules = .regex(".*k_proj") }, [a, b], false),
        ("an excluded module", config { $0.excludeModules = .names(["q_proj"]) }, [a, b], false),
        ("another layer", config { $0.layersToTransform = [1] }, [a, b], false),
        ("dora without magnitudes", config { $0.useDoRA = true }, [a, b], false),
        ("magnitudes without dora", config(), [a, b, tensor(".lora_magnitude_vector", [5])], false),
        ("dora", config { $0.useDoRA = true }, [a, b, tensor(".lora_magnitude_vector", [5])], true),
        ("dora of old", config { $0.useDoRA = true }, [a, b, tensor(".lora_magnitude_vector.weight", [5])], true),
        (
            "magnitudes twice", config { $0.useDoRA = true },
            [a, b, tensor(".lora_magnitude_vector", [5]), tensor(".lora_magnitude_vector.weight", [5])], false
        ),
        ("short magnitudes", config { $0.useDoRA = true }, [a, b, tensor(".lora_magnitude_vector", [4])], false),
        ("bias of B", config { $0.loraBias = true }, [a, b, tensor(".lora_B.bias", [5])], true),
        ("no bias of B", config { $0.loraBias = true }, [a, b], false),
        ("bias of B unasked", config(), [a, b, tensor(".lora_B.bias", [5])], false),
        ("extra parameter", config(), [a, b, tensor(".weight", [1], module: "base_model.model.lm_head")], false),
        (
            "saved module", config { $0.modulesToSave = ["lm_head"] },
            [a, b, tensor(".weight", [1], module: "base_model.model.lm_head")], true
        ),
        (
            "saved module of like name", config { $0.modulesToSave = ["head"] },
            [a, b, tensor(".weight", [1], module: "base_model.model.lm_head")], false
        ),
        ("bias unasked", config(), [a, b, tensor(".bias", [5], module: "base_model.model.x")], false),
        ("all biases", config { $0.bias = .all }, [a, b, tensor(".bias", [5], module: "base_model.model.x")], true),
        (
            "name without the prefix", config(), [a, b, tensor(".lora_A.weight", [2, 6], module: "model.q_proj")], false
        ),
        ("name with the adapter's", config(), [tensor(".lora_A.default.weight", [2, 6]), b], false),
        ("unknown part", config(), [a, b, tensor(".lora_E.weight", [2, 6])], false),
        (
            "linear and embedding", config(),
            [a, b, tensor(".lora_embedding_A", [2, 6]), tensor(".lora_embedding_B", [5, 2])], false
        ),
        ("tokens unasked", config(), [a, b, tensor(".token_adapter.trainable_tokens_delta", [1, 6])], false),
        (
            "tokens", config { $0.trainableTokenIndices = .tokens([3]) },
            [a, b, tensor(".token_adapter.trainable_tokens_delta", [1, 6])], true
        ),
    ]

    @Test(arguments: cases.indices) func tensorsMustFitTheConfiguration(_ index: Int) throws {
        let (rule, config, tensors, fits) = Self.cases[index]
        let scratch = try ScratchFolder()
        try PEFTAdapter.write(config: config, tensors: tensors, in: scratch.path)
        let found = code { () throws(Diagnostic) in _ = try PEFTAdapter(scratch.path) }
        #expect(found == (fits ? nil : "E-ADAPTER-TENSORS"), "\(rule)")
    }

    @Test func aPickledAdapterIsRefusedWithAdvice() throws {
        let scratch = try ScratchFolder()
        try scratch.write(Self.config().serialized, as: "adapter_config.json")
        try scratch.write("PK", as: "adapter_model.bin")
        let error = try failure { () throws(Diagnostic) in _ = try PEFTAdapter(scratch.path) }
        #expect(error.code.rawValue == "E-ADAPTER-PICKLE" && error.fix != nil)
    }

    @Test func aFolderWithoutTheFilesIsMissingThem() throws {
        let scratch = try ScratchFolder()
        #expect(code { () throws(Diagnostic) in _ = try PEFTAdapter(scratch.path) } == "E-FILE-MISSING")
        #expect(code { () throws(Diagnostic) in _ = try PEFTAdapter(scratch.file("none")) } == "E-FILE-MISSING")
    }

    @Test func publishingReplacesOnlyWhenAsked() throws {
        let scratch = try ScratchFolder()
        let out = scratch.file("deep/er/adapter")
        let write = { (config: PEFTConfig, replacing: Bool) throws(Diagnostic) in
            try PEFTAdapter.write(config: config, tensors: [Self.a, Self.b], to: out, replacing: replacing)
        }
        try write(Self.config { $0.alpha = 1 }, false)
        let error = try failure { () throws(Diagnostic) in try write(Self.config { $0.alpha = 2 }, false) }
        #expect(error.code.rawValue == "E-FILE-CREATE")
        #expect(try PEFTAdapter(out).config.alpha == 1)
        try write(Self.config { $0.alpha = 3 }, true)
        #expect(try PEFTAdapter(out).config.alpha == 3)
        let bad = OutgoingTensor(name: "x", shape: [2], values: [1])
        let failed = code { () throws(Diagnostic) in
            try PEFTAdapter.write(config: Self.config(), tensors: [bad], to: out, replacing: true)
        }
        #expect(failed == "E-WEIGHTS-SIZE")
        #expect(try PEFTAdapter(out).config.alpha == 3)
        #expect(try FileManager.default.contentsOfDirectory(atPath: scratch.file("deep/er")) == ["adapter"])
    }
}
