import Diagnostics

extension Architecture {
    /// Phi-3 and Phi-4-mini: Llama with one layer for q, k and v, one for gate and up, and LongRoPE.
    static func phi3(_ config: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        let config = config.with(defaults: [
            "vocab_size": 32064, "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 32,
            "num_attention_heads": 32, "max_position_embeddings": 4096, "original_max_position_embeddings": 4096,
        ])
        let common = try CommonConfig(config)
        var rotary = common.rotaryConfig
        rotary.trainedLength = try config.extent("original_max_position_embeddings")
        rotary.renamed = ["su": "longrope", "yarn": "longrope"]
        let layer = DecoderSpec.LayerSpec(window: try config.extent("sliding_window"), rotary: try rotary.spec())
        var spec = try common.spec(epsilon: 1e-5, layers: common.layers(layer))
        spec.activation = try common.activation("hidden_act", default: "silu").activation
        spec.names.queryKeyValue = .stacked("qkv_proj")
        spec.names.gateUp = .stacked("gate_up_proj")
        return spec
    }
}
