import Autograd
import Diagnostics

extension Architecture {
    /// EuroBERT: Llama's layers, in which every token sees every other.
    static func euroBERT(_ config: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        let config = config.with(defaults: [
            "vocab_size": 128_256, "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12,
            "num_attention_heads": 12, "max_position_embeddings": 8192,
        ])
        let common = try CommonConfig(config)
        var spec = try common.spec(epsilon: 1e-5, layers: common.layers(.init(rotary: try common.rotary())))
        spec.isCausal = false
        let attentionBias = try config.bool("attention_bias", default: false)
        spec.bias.queryKeyValue = attentionBias
        spec.bias.attentionOutput = attentionBias
        spec.bias.feedForward = try config.bool("mlp_bias", default: false)
        spec.activation = try common.activation("hidden_act", default: "silu").activation

        var masked = TaskSpec(.maskedToken)
        masked.output = "lm_head"
        masked.outputBias = spec.bias.feedForward ? ["lm_head.bias"] : []
        var sequence = TaskSpec(.sequence)
        sequence.dense = TaskSpec.Dense(name: "dense", activation: .gelu)
        switch try config.string("classifier_pooling") ?? "late" {
        case "bos": sequence.pooling = .first
        case "mean": sequence.pooling = .mean
        case "late": (sequence.pooling, sequence.poolsLate) = (.mean, true)
        default: throw config.unsupported("classifier_pooling", supported: "bos, mean or late")
        }
        try setTask(
            &spec, config,
            EncoderHeads(
                maskedToken: masked, sequence: sequence, token: TaskSpec(.token),
                parts: ["lm_head.", "dense.", "classifier."]))
        return spec
    }
}
