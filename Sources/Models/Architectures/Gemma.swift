import Autograd
import Diagnostics

extension Architecture {
    /// Gemma 2: norms around each sublayer, soft caps, every other layer with a window.
    static func gemma2(_ config: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        let common = try CommonConfig(config, maximumPositions: 8192, headDim: 256)
        let rotary = try common.rotary()
        let window = try config.extent("sliding_window") ?? 4096
        let types = try common.layerTypes()
        let layers = (0..<common.layerCount).map { index in
            let isSliding = types.map { $0[index] == "sliding_attention" } ?? (index % 2 == 0)
            return DecoderSpec.LayerSpec(window: isSliding ? window : nil, rotary: rotary)
        }
        var spec = try gemma(common, layers: layers)
        spec.attentionSoftcap = try softcap(config, "attn_logit_softcapping", default: 50)
        spec.logitSoftcap = try softcap(config, "final_logit_softcapping", default: 30)
        return spec
    }

    /// Gemma 3's text model, also where the config is the multimodal wrapper's: norms on heads, five layers with a
    /// window for one without, and a rotary base for each kind.
    static func gemma3(_ outer: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        let config = try outer.nested("text_config") ?? outer
        let common = try CommonConfig(config, maximumPositions: 131_072, headDim: 256)
        let window = try config.extent("sliding_window") ?? 4096
        let pattern = try config.extent("sliding_window_pattern") ?? 6
        let types = try common.layerTypes()
        let global = try common.rotary(defaultTheta: 1_000_000, layerType: "full_attention")
        var local = try common.rotary(defaultTheta: 10_000, layerType: "sliding_attention")
        if !config.has("rope_parameters") {
            // In the older spelling the scaling is for the global layers only.
            local = RotarySpec(
                theta: try config.positive("rope_local_base_freq") ?? 10_000, rotatedDim: local.rotatedDim)
        }
        let layers = (0..<common.layerCount).map { index in
            let isSliding = types.map { $0[index] == "sliding_attention" } ?? ((index + 1) % pattern != 0)
            return DecoderSpec.LayerSpec(window: isSliding ? window : nil, rotary: isSliding ? local : global)
        }
        var spec = try gemma(common, layers: layers)
        spec.queryKeyNorm = .perHead
        spec.attentionSoftcap = try softcap(config, "attn_logit_softcapping", default: nil)
        spec.logitSoftcap = try softcap(config, "final_logit_softcapping", default: nil)
        return spec
    }

    private static func gemma(
        _ common: CommonConfig, layers: [DecoderSpec.LayerSpec]
    ) throws(Diagnostic) -> DecoderSpec {
        let config = common.config
        var spec = try common.spec(tied: true, missingKeyValueHeads: 4, layers: layers)
        let bias = try config.bool("attention_bias", default: false)
        spec.bias.queryKeyValue = bias
        spec.bias.attentionOutput = bias
        spec.norm = .rms(offset: 1)
        spec.names = .sandwich
        spec.activation = try common.activation("hidden_activation", default: "gelu_pytorch_tanh").activation
        spec.attentionScale = 1 / Float(try config.positive("query_pre_attn_scalar") ?? 256).squareRoot()
        spec.embeddingScale = Float(common.hidden).squareRoot()
        return spec
    }

    private static func softcap(
        _ config: ConfigReader, _ key: String, default fallback: Float?
    ) throws(Diagnostic) -> Float? {
        config.has(key) ? try config.positive(key).map { Float($0) } : fallback
    }
}
