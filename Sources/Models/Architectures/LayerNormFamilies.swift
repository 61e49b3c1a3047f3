import Autograd
import Diagnostics
import Glibc

// Families that norm with LayerNorm, have biases, and whose feed-forward layers have no gate.
extension Architecture {
    /// GPT-2, GPT-SW3: learned positions, weights stored as [in, out].
    static func gpt2(_ config: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        let config = config.with(
            defaults: [
                "vocab_size": 50_257, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
                "max_position_embeddings": 1024,
            ],
            ownNames: [
                "hidden_size": "n_embd", "max_position_embeddings": "n_positions", "num_attention_heads": "n_head",
                "num_hidden_layers": "n_layer", "intermediate_size": "n_inner",
            ])
        try config.requireFalse("add_cross_attention")
        let common = try CommonConfig(config)
        let scale: Float =
            try config.bool("scale_attn_weights", default: true) ? 1 / Float(common.headDim).squareRoot() : 1
        let isScaledByLayer = try config.bool("scale_attn_by_inverse_layer_idx", default: false)
        let layers = (0..<common.layerCount).map { index in
            DecoderSpec.LayerSpec(attentionScale: isScaledByLayer ? scale / Float(index + 1) : scale)
        }
        var spec = try common.layerNormSpec("layer_norm_epsilon", tied: true, layers: layers)
        spec.positions = .learned()
        spec.activation = try common.activation("activation_function", default: "gelu_new").activation
        spec.names = CheckpointNames(
            body: "transformer", embedding: "wte", layers: "h", finalNorm: "ln_f", attention: "attn",
            queryKeyValue: .stacked("c_attn"), attentionOutput: "c_proj", up: "c_fc", down: "c_proj",
            attentionNorm: "ln_1", feedForwardNorm: "ln_2", storesTransposed: true,
            buffers: [".attn.bias", ".attn.masked_bias"])
        return spec
    }

    /// GPT-NeoX, Pythia: attention and feed-forward side by side, part of each head rotated.
    static func gptNeoX(_ config: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        let config = config.with(defaults: [
            "vocab_size": 50_432, "hidden_size": 6144, "intermediate_size": 24_576, "num_hidden_layers": 44,
            "num_attention_heads": 64,
        ])
        let common = try CommonConfig(config)
        var rotary = common.rotaryConfig
        rotary.thetaKey = "rotary_emb_base"
        rotary.partialKey = "rotary_pct"
        rotary.defaultPartial = 0.25
        var spec = try common.layerNormSpec(
            "layer_norm_eps", tied: false, layers: common.layers(.init(rotary: try rotary.spec())))
        let bias = try config.bool("attention_bias", default: true)
        spec.bias.queryKeyValue = bias
        spec.bias.attentionOutput = bias
        spec.residual = try config.bool("use_parallel_residual", default: true) ? .parallel : .sequential
        spec.activation = try common.activation("hidden_act", default: "gelu").activation
        spec.names = .neox
        spec.names.body = "gpt_neox"
        spec.names.embedding = "embed_in"
        spec.names.finalNorm = "final_layer_norm"
        spec.names.head = "embed_out"
        spec.names.buffers += [".attention.bias", ".attention.masked_bias"]
        return spec
    }

    /// Bloom, Poro-34B: positions as biases of the scores, a norm on the embedding.
    static func bloom(_ config: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        let config = config.with(
            defaults: [
                "vocab_size": 250_880, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 8,
                "max_position_embeddings": 2048,
            ],
            ownNames: [
                "hidden_size": "n_embed", "num_attention_heads": "n_head", "num_hidden_layers": "n_layer",
                "max_position_embeddings": "seq_length",
            ])
        let common = try CommonConfig(config)
        var spec = try common.layerNormSpec("layer_norm_epsilon", tied: true, layers: common.layers(.init()))
        spec.positions = .linearBias(linearBiasSlopes(heads: common.heads))
        spec.normsEmbedding = true
        spec.activation = .geluTanh
        if try config.bool("apply_residual_connection_post_layernorm", default: false) {
            spec.residual = .sequentialFromNorm
        }
        spec.names = .neox
        spec.names.body = "transformer"
        spec.names.embedding = "word_embeddings"
        spec.names.layers = "h"
        spec.names.finalNorm = "ln_f"
        spec.names.attention = "self_attention"
        return spec
    }

    /// Pharia-1 of Aleph Alpha: Llama's attention between LayerNorms, biases everywhere but in the head.
    static func pharia(_ config: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        let common = try CommonConfig(config, maximumPositions: 8192)
        var spec = try common.layerNormSpec(
            "layer_norm_eps", tied: false,
            layers: common.layers(.init(rotary: try common.rotary(defaultTheta: 1_000_000))))
        spec.keyValueHeads = try config.extent("num_key_value_heads") ?? common.heads
        let bias = try config.bool("attention_bias", default: true)
        spec.bias.queryKeyValue = bias
        spec.bias.attentionOutput = bias
        spec.bias.feedForward = try config.bool("mlp_bias", default: true)
        spec.activation = try common.activation("hidden_act", default: "gelu").activation
        return spec
    }

    /// The slopes of Press et al. 2022: powers of 2^(-8/n) for the next lower power of two n, and between them every
    /// second power for 2n for the heads that are left.
    static func linearBiasSlopes(heads: Int) -> [Float] {
        var power = 1
        while power * 2 <= heads { power *= 2 }
        return (0..<heads).map { head in
            let exponent =
                head < power
                ? -8 * Double(head + 1) / Double(power) : -4 * Double(2 * (head - power) + 1) / Double(power)
            return Float(exp2(exponent))
        }
    }
}

extension CommonConfig {
    /// LayerNorm before each sublayer, biases everywhere but in the head, no gate; one key/value head for each head.
    func layerNormSpec(
        _ epsilonKey: String, epsilon: Double = 1e-5, tied: Bool, layers: [DecoderSpec.LayerSpec]
    ) throws(Diagnostic) -> DecoderSpec {
        var spec = try spec(
            epsilonKey: epsilonKey, epsilon: epsilon, tied: tied, feedForward: 4 * hidden, layers: layers)
        spec.keyValueHeads = heads
        spec.norm = .layer
        spec.feedForwardForm = .plain
        spec.bias = DecoderSpec.Biases(queryKeyValue: true, attentionOutput: true, feedForward: true)
        return spec
    }
}
