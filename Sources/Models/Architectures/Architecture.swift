package import Diagnostics

/// The families that can be read, by the name in `model_type` or in GGUF's `general.architecture`.
package enum Architecture {
    private typealias Reader = @Sendable (ConfigReader) throws(Diagnostic) -> DecoderSpec

    /// One entry a family; adding one is adding a file with its reader.
    private static let readers: [(name: String, read: Reader)] = [
        ("llama", llama), ("mistral", mistral), ("qwen2", qwen2), ("qwen3", qwen3), ("olmo2", olmo2),
        ("granite", granite), ("smollm3", smollm3), ("gemma2", gemma2), ("gemma3_text", gemma3), ("gemma3", gemma3),
        ("phi3", phi3), ("apertus", apertus), ("pharia-v1", pharia), ("gpt2", gpt2), ("gpt_neox", gptNeoX),
        ("bloom", bloom), ("mixtral", mixtral), ("deepseek_v2", deepseekV2), ("deepseek_v3", deepseekV3),
        ("bert", bert), ("roberta", roberta), ("xlm-roberta", roberta), ("camembert", roberta),
        ("modernbert", modernBERT), ("eurobert", euroBERT),
    ]

    package static var supported: [String] { readers.map(\.name) }

    /// The spec that a config.json describes.
    ///
    /// - Throws: `unsupported` with the families that are, `config` for a key that is missing or out of range.
    package static func spec(_ config: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        guard let name = try config.string("model_type") else {
            throw config.wrong("model_type", expected: "one of " + supported.joined(separator: ", "))
        }
        guard let reader = readers.first(where: { $0.name == name }) else {
            var fix: String?
            if config.has("auto_map") { fix = "It names remote code, which is never run" }
            throw Diagnostic(
                ModelsCode.unsupported, file: config.file, at: "key \"model_type\"",
                found: "the architecture \"\(name)\"", expected: "one of " + supported.joined(separator: ", "),
                fix: fix ?? "Use a base model of a supported family")
        }
        // Such weights stand under other names and in other shapes: say so here rather than at the first tensor.
        if try config.nested("quantization_config") != nil {
            throw Diagnostic(
                ModelsCode.unsupported, file: config.file, at: "key \"quantization_config\"",
                found: "weights that are quantised in a folder", expected: "weights as they are, or a GGUF file",
                fix: "Use the model's original weights, or a GGUF file of it")
        }
        var spec = try reader.read(config)
        if spec.isCausal { try setDecoderTask(&spec, config) }
        try spec.validate(config)
        return spec
    }
}

extension DecoderSpec {
    /// What every decoder must satisfy whatever its family, so that no later arithmetic can fail.
    fileprivate func validate(_ config: ConfigReader) throws(Diagnostic) {
        guard heads % keyValueHeads == 0 else {
            throw config.wrong("num_key_value_heads", expected: "a divisor of num_attention_heads (\(heads))")
        }
        for (key, value, limit) in [
            ("vocab_size", vocabulary, 1 << 24), ("hidden_size", hidden, 1 << 20),
            ("intermediate_size", feedForward, 1 << 22),
            ("head_dim", headDim, 1 << 12),
        ] where value > limit {
            throw config.wrong(key, expected: "at most \(limit)")
        }
    }
}

/// The keys that nearly all families share.
struct CommonConfig {
    let config: ConfigReader
    let hidden: Int
    let heads: Int
    let layerCount: Int
    let maximumPositions: Int
    let headDim: Int

    /// - Parameters:
    ///   - headDim: where the key is missing; nil: hidden / heads.
    ///   - readsHeadDim: false where the family has no `head_dim`, or means something else by it.
    init(
        _ config: ConfigReader, maximumPositions: Int = 2048, headDim: Int? = nil, readsHeadDim: Bool = true
    ) throws(Diagnostic) {
        self.config = config
        hidden = try config.requiredExtent("hidden_size")
        heads = try config.requiredExtent("num_attention_heads")
        layerCount = try config.requiredExtent("num_hidden_layers")
        // Before anything is made for each of them.
        for (key, value, limit) in [("num_hidden_layers", layerCount, 1024), ("num_attention_heads", heads, 1 << 12)]
        where value > limit {
            throw config.wrong(key, expected: "at most \(limit)")
        }
        self.maximumPositions = try config.extent("max_position_embeddings") ?? maximumPositions
        if !readsHeadDim, let headDim {
            self.headDim = headDim
        } else if readsHeadDim, let given = try config.extent("head_dim") {
            self.headDim = given
        } else if let headDim, !config.has("head_dim") {
            self.headDim = headDim
        } else {
            guard hidden % heads == 0 else {
                throw config.wrong("hidden_size", expected: "a multiple of num_attention_heads (\(heads))")
            }
            self.headDim = hidden / heads
        }
    }

    func rotary(defaultTheta: Double = 10_000, layerType: String? = nil) throws(Diagnostic) -> RotarySpec {
        var reader = rotaryConfig
        reader.defaultTheta = defaultTheta
        return try reader.spec(layerType: layerType)
    }

    /// For a family whose rotary settings stand elsewhere.
    var rotaryConfig: RotaryConfig {
        RotaryConfig(config, maximumPositions: maximumPositions, headDim: headDim)
    }

    /// The spec of a Llama with these extents; a family then changes what it does differently.
    ///
    /// - Parameters:
    ///   - epsilonKey: of the norms' epsilon, with its default.
    ///   - missingKeyValueHeads: the default where the key is absent; null always means one for every head.
    ///   - feedForward: the width where `intermediate_size` is missing or null; nil: it must be there.
    func spec(
        epsilonKey: String = "rms_norm_eps", epsilon: Double = 1e-6, tied: Bool = false,
        missingKeyValueHeads: Int? = nil, feedForward: Int? = nil, layers: [DecoderSpec.LayerSpec]
    ) throws(Diagnostic) -> DecoderSpec {
        let given = try config.extent("intermediate_size") ?? feedForward
        let width = if let given { given } else { try config.requiredExtent("intermediate_size") }
        let fallback = config.has("num_key_value_heads") ? heads : missingKeyValueHeads ?? heads
        return DecoderSpec(
            architecture: try config.string("model_type") ?? "llama",
            vocabulary: try config.requiredExtent("vocab_size"), hidden: hidden, heads: heads,
            keyValueHeads: try config.extent("num_key_value_heads") ?? fallback, headDim: headDim,
            feedForward: width,
            layers: layers, normEpsilon: Float(try config.positive(epsilonKey) ?? epsilon),
            attentionScale: 1 / Float(headDim).squareRoot(),
            isTied: try config.bool("tie_word_embeddings", default: tied), maximumPositions: maximumPositions,
            names: .llama)
    }

    /// The kinds of the layers where the config lists them (`full_attention`, `sliding_attention`).
    func layerTypes() throws(Diagnostic) -> [String]? {
        guard let types = try config.strings("layer_types") else { return nil }
        guard types.count == layerCount else {
            throw config.wrong("layer_types", expected: "\(layerCount) entries")
        }
        for type in types where type != "full_attention" && type != "sliding_attention" {
            throw config.unsupported("layer_types", supported: "full_attention and sliding_attention")
        }
        return types
    }

    /// The activation of the feed-forward layers.
    func activation(_ key: String, default fallback: String) throws(Diagnostic) -> ActivationName {
        let name = try config.string(key) ?? fallback
        guard let activation = ActivationName(rawValue: name) else {
            throw config.unsupported(key, supported: ActivationName.allCases.map(\.rawValue).joined(separator: ", "))
        }
        return activation
    }

    /// All layers alike.
    func layers(_ layer: DecoderSpec.LayerSpec) -> [DecoderSpec.LayerSpec] {
        Array(repeating: layer, count: layerCount)
    }
}
