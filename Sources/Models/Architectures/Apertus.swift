import Diagnostics

extension Architecture {
    /// Apertus: a norm on every head's query and key, and feed-forward layers without a gate that bend with xIELU.
    static func apertus(_ config: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        let config = config.with(defaults: [
            "vocab_size": 131_072, "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32,
            "num_attention_heads": 32, "max_position_embeddings": 65_536,
        ])
        let common = try CommonConfig(config)
        var spec = try common.spec(
            epsilon: 1e-5, layers: common.layers(.init(window: nil, rotary: try apertusRotary(common))))
        let bias = try config.bool("attention_bias", default: false)
        spec.bias.queryKeyValue = bias
        spec.bias.attentionOutput = bias
        spec.queryKeyNorm = .perHead
        if try config.string("hidden_act") ?? "xielu" == "xielu" {
            spec.feedForwardForm = .xielu
        } else {
            spec.feedForwardForm = .plain
            spec.activation = try common.activation("hidden_act", default: "xielu").activation
        }
        spec.names.attentionNorm = "attention_layernorm"
        spec.names.feedForwardNorm = "feedforward_layernorm"
        return spec
    }

    /// Without any section the scaling is that of the released models, and `rope_theta` beside it is not read.
    private static func apertusRotary(_ common: CommonConfig) throws(Diagnostic) -> RotarySpec {
        var reader = common.rotaryConfig
        reader.defaultTheta = 12_000_000
        guard try reader.section() == nil else { return try reader.spec() }
        var spec = RotarySpec(theta: reader.defaultTheta, rotatedDim: common.headDim)
        spec.scaling = .llama3(factor: 8, lowFrequency: 1, highFrequency: 4, trainedLength: 8192)
        return spec
    }
}
