import Diagnostics

extension Architecture {
    /// Llama 1 to 3 and the many models in its form: OpenEuroLLM, EuroLLM, Teuken, Viking, Salamandra, Lucie, SmolLM2.
    static func llama(_ config: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        let common = try CommonConfig(config)
        var spec = try common.spec(layers: common.layers(.init(window: nil, rotary: try common.rotary())))
        let attentionBias = try config.bool("attention_bias", default: false)
        spec.bias.queryKeyValue = attentionBias
        spec.bias.attentionOutput = attentionBias
        spec.bias.feedForward = try config.bool("mlp_bias", default: false)
        spec.activation = try common.activation("hidden_act", default: "silu").activation
        return spec
    }

    /// Mistral, Occiglot, Minerva: Llama with a window, which is 4096 where the key is absent and none where it is null.
    static func mistral(_ config: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        let common = try CommonConfig(config, maximumPositions: 131_072)
        let window = try config.extent("sliding_window") ?? (config.has("sliding_window") ? nil : 4096)
        var spec = try common.spec(
            missingKeyValueHeads: 8, layers: common.layers(.init(window: window, rotary: try common.rotary())))
        spec.activation = try common.activation("hidden_act", default: "silu").activation
        return spec
    }
}
