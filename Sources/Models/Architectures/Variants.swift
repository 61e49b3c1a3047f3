import Autograd
import Diagnostics

extension Architecture {
    /// OLMo 2: norms after the sublayers, and over the whole query and key.
    static func olmo2(_ config: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        var spec = try llamaWithBias(config, epsilon: 1e-5)
        spec.names = .after
        spec.queryKeyNorm = .fullProjection
        return spec
    }

    /// Granite 3: Llama with four multipliers.
    static func granite(_ config: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        var spec = try llamaWithBias(config, epsilon: 1e-6)
        spec.bias.feedForward = try config.bool("mlp_bias", default: false)
        spec.embeddingScale = Float(try config.positive("embedding_multiplier") ?? 1)
        spec.residualScale = Float(try config.positive("residual_multiplier") ?? 1)
        spec.attentionScale = Float(try config.positive("attention_multiplier") ?? 1)
        spec.logitScale = Float(1 / (try config.positive("logits_scaling") ?? 1))
        return spec
    }

    /// SmolLM3: every fourth layer has no positions.
    static func smollm3(_ config: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        let common = try CommonConfig(config, maximumPositions: 32_768)
        let rotary = try common.rotary(defaultTheta: 2_000_000)
        let interval = try config.extent("no_rope_layer_interval") ?? 4
        let listed = try config.integers("no_rope_layers")
        if let listed, listed.count != common.layerCount {
            throw config.wrong("no_rope_layers", expected: "\(common.layerCount) entries")
        }
        let window =
            try config.bool("use_sliding_window", default: false) ? try config.extent("sliding_window") : nil
        let types = try common.layerTypes()
        let layers = (0..<common.layerCount).map { index in
            let hasRotary = listed.map { $0[index] != 0 } ?? ((index + 1) % interval != 0)
            let isSliding = types.map { $0[index] == "sliding_attention" } ?? false
            return DecoderSpec.LayerSpec(window: isSliding ? window : nil, rotary: hasRotary ? rotary : nil)
        }
        var spec = try common.spec(tied: true, missingKeyValueHeads: 4, layers: layers)
        let bias = try config.bool("attention_bias", default: false)
        spec.bias.queryKeyValue = bias
        spec.bias.attentionOutput = bias
        spec.bias.feedForward = try config.bool("mlp_bias", default: false)
        spec.activation = try common.activation("hidden_act", default: "silu").activation
        return spec
    }

    private static func llamaWithBias(_ config: ConfigReader, epsilon: Double) throws(Diagnostic) -> DecoderSpec {
        let common = try CommonConfig(config)
        let layer = DecoderSpec.LayerSpec(window: nil, rotary: try common.rotary())
        var spec = try common.spec(epsilon: epsilon, layers: Array(repeating: layer, count: common.layerCount))
        let bias = try config.bool("attention_bias", default: false)
        spec.bias.queryKeyValue = bias
        spec.bias.attentionOutput = bias
        spec.activation = try common.activation("hidden_act", default: "silu").activation
        return spec
    }
}
