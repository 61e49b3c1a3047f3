import Autograd
import Diagnostics

/// Activations by transformers' names.
enum GatedActivationName: String, CaseIterable {
    case silu, swish, gelu
    case geluTanh = "gelu_pytorch_tanh"
    case geluNew = "gelu_new"
    case relu
    case reluSquared = "relu2"

    var activation: Activation {
        switch self {
        case .silu, .swish: .silu
        case .gelu: .gelu
        case .geluTanh, .geluNew: .geluTanh
        case .relu: .relu
        case .reluSquared: .reluSquared
        }
    }
}

extension Architecture {
    /// Llama 1 to 3 and the many models in its form: OpenEuroLLM, EuroLLM, Teuken, Viking, Salamandra, Lucie, SmolLM2.
    static func llama(_ config: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        let common = try CommonConfig(config)
        let layer = DecoderSpec.LayerSpec(window: nil, rotary: try common.rotary())
        var spec = try common.spec(layers: Array(repeating: layer, count: common.layerCount))
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
        let layer = DecoderSpec.LayerSpec(window: window, rotary: try common.rotary())
        var spec = try common.spec(
            missingKeyValueHeads: 8, layers: Array(repeating: layer, count: common.layerCount))
        spec.activation = try common.activation("hidden_act", default: "silu").activation
        return spec
    }
}
