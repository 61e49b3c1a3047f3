import Autograd
import Diagnostics

extension Architecture {
    /// ModernBERT: no biases, a gated feed-forward, one layer that sees everything for two with a window to both
    /// sides, and a rotary base for each kind.
    static func modernBERT(_ config: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        let config = config.with(defaults: [
            "vocab_size": 50_368, "hidden_size": 768, "intermediate_size": 1152, "num_hidden_layers": 22,
            "num_attention_heads": 12, "max_position_embeddings": 8192, "local_attention": 128,
            "global_attn_every_n_layers": 3,
        ])
        let common = try CommonConfig(config, readsHeadDim: false)
        var spec = try common.layerNormSpec("norm_eps", tied: true, layers: try modernBERTLayers(common))
        spec.isCausal = false
        spec.normsEmbedding = true
        spec.feedForwardForm = .gated
        spec.activation = try common.activation("hidden_activation", default: "gelu").activation
        let attentionBias = try config.bool("attention_bias", default: false)
        spec.bias = DecoderSpec.Biases(
            queryKeyValue: attentionBias, attentionOutput: attentionBias,
            feedForward: try config.bool("mlp_bias", default: false),
            norm: try config.bool("norm_bias", default: false))
        spec.names = CheckpointNames(
            embedding: "embeddings.tok_embeddings", embeddingNorm: "embeddings.norm", finalNorm: "final_norm",
            attention: "attn", queryKeyValue: .stacked("Wqkv"), attentionOutput: "Wo", gateUp: .stacked("Wi"),
            down: "Wo", attentionNorm: "attn_norm", feedForwardNorm: "mlp_norm")
        try setTask(&spec, config, try modernBERTHeads(common))
        return spec
    }

    private static func modernBERTLayers(_ common: CommonConfig) throws(Diagnostic) -> [DecoderSpec.LayerSpec] {
        let config = common.config
        func rotary(_ kind: String, _ thetaKey: String, _ theta: Double) throws(Diagnostic) -> RotarySpec {
            var reader = common.rotaryConfig
            (reader.thetaKey, reader.defaultTheta) = (thetaKey, theta)
            return try reader.spec(layerType: kind)
        }
        let global = try rotary("full_attention", "global_rope_theta", 160_000)
        let local = try rotary("sliding_attention", "local_rope_theta", 10_000)
        // The key counts both sides; a window counts one, and the token itself.
        let window = try config.requiredExtent("local_attention") / 2 + 1
        let period = try config.requiredExtent("global_attn_every_n_layers")
        let types = try common.layerTypes()
        return (0..<common.layerCount).map { index in
            let isLocal = types.map { $0[index] == "sliding_attention" } ?? (index % period != 0)
            return DecoderSpec.LayerSpec(
                window: isLocal ? window : nil, rotary: isLocal ? local : global, skipsAttentionNorm: index == 0)
        }
    }

    private static func modernBERTHeads(_ common: CommonConfig) throws(Diagnostic) -> EncoderHeads {
        let config = common.config
        let dense = TaskSpec.Dense(
            name: "head.dense", hasBias: try config.bool("classifier_bias", default: false),
            activation: try common.activation("classifier_activation", default: "gelu").activation,
            norm: "head.norm")
        var masked = TaskSpec(.maskedToken)
        masked.output = "decoder"
        masked.outputBias = try config.bool("decoder_bias", default: true) ? ["decoder.bias"] : []
        var sequence = TaskSpec(.sequence)
        switch try config.string("classifier_pooling") ?? "cls" {
        case "cls": sequence.pooling = .first
        case "mean": sequence.pooling = .mean
        default: throw config.unsupported("classifier_pooling", supported: "cls or mean")
        }
        var token = TaskSpec(.token)
        (masked.dense, sequence.dense, token.dense) = (dense, dense, dense)
        return EncoderHeads(
            maskedToken: masked, sequence: sequence, token: token, parts: ["head.", "decoder.", "classifier."])
    }
}
