import Autograd
import Diagnostics

extension Architecture {
    /// Qwen 2 and 2.5: Llama with biases on q, k and v.
    static func qwen2(_ config: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        let common = try CommonConfig(config, maximumPositions: 32_768)
        var spec = try common.spec(missingKeyValueHeads: 32, layers: try qwenLayers(common))
        spec.bias.queryKeyValue = true
        spec.activation = try common.activation("hidden_act", default: "silu").activation
        return spec
    }

    /// Qwen 3: a norm on every head's query and key, no biases unless asked for.
    static func qwen3(_ config: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        let common = try CommonConfig(config, maximumPositions: 32_768, headDim: 128)
        var spec = try common.spec(missingKeyValueHeads: 32, layers: try qwenLayers(common))
        let bias = try config.bool("attention_bias", default: false)
        spec.bias.queryKeyValue = bias
        spec.bias.attentionOutput = bias
        spec.queryKeyNorm = .perHead
        spec.activation = try common.activation("hidden_act", default: "silu").activation
        return spec
    }

    /// A window only if `use_sliding_window` says so, and then in the layers from `max_window_layers` on.
    private static func qwenLayers(_ common: CommonConfig) throws(Diagnostic) -> [DecoderSpec.LayerSpec] {
        let config = common.config
        let rotary = try common.rotary()
        let slides = try config.bool("use_sliding_window", default: false)
        let window = slides ? try config.extent("sliding_window") ?? 4096 : nil
        let types = try common.layerTypes()
        let firstWindowed = try config.count("max_window_layers") ?? 28
        return (0..<common.layerCount).map { index in
            let isSliding = types.map { $0[index] == "sliding_attention" } ?? (index >= firstWindowed)
            return DecoderSpec.LayerSpec(window: isSliding ? window : nil, rotary: rotary)
        }
    }
}
