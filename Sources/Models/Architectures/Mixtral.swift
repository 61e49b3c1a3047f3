import Autograd
import Diagnostics

extension Architecture {
    /// Mixtral, EuroMoE: Mistral with experts, whose weights are the softmax over the chosen ones.
    static func mixtral(_ config: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        let config = config.with(
            defaults: [
                "vocab_size": 32_000, "hidden_size": 4096, "intermediate_size": 14_336, "num_hidden_layers": 32,
                "num_attention_heads": 32, "max_position_embeddings": 131_072, "num_experts_per_tok": 2,
                "num_experts": 8,
            ], ownNames: ["num_experts": "num_local_experts"])
        let common = try CommonConfig(config)
        if try config.bool("output_router_logits", default: false) {
            throw config.unsupported("output_router_logits", supported: "false: the loss of the router is not computed")
        }
        if try config.nonnegative("router_jitter_noise") ?? 0 > 0 {
            throw config.unsupported("router_jitter_noise", supported: "0")
        }
        let layer = DecoderSpec.LayerSpec(
            window: try config.extent("sliding_window"), rotary: try common.rotary(defaultTheta: 1_000_000),
            isMixture: true)
        var spec = try common.spec(epsilon: 1e-5, missingKeyValueHeads: 8, layers: common.layers(layer))
        spec.activation = try common.activation("hidden_act", default: "silu").activation
        spec.mixture = try DecoderSpec.Mixture(
            config, experts: config.requiredExtent("num_experts"), width: spec.feedForward, sharedWidth: nil,
            routing: RoutingSettings(
                perToken: config.requiredExtent("num_experts_per_tok"), scores: .softmax, normalizes: true))
        spec.names.storedNames = [
            (".mlp.", ".block_sparse_moe."), (".gate_proj.", ".w1."), (".down_proj.", ".w2."), (".up_proj.", ".w3."),
        ]
        return spec
    }
}

extension DecoderSpec.Mixture {
    /// - Throws: `config` for extents that do not fit each other.
    init(
        _ config: ConfigReader, experts: Int, width: Int, sharedWidth: Int?, hasCorrection: Bool = false,
        routing: RoutingSettings
    ) throws(Diagnostic) {
        var candidates = experts
        if let groups = routing.groups {
            guard experts % groups.count == 0, experts / groups.count >= (groups.countsTopTwo ? 2 : 1) else {
                throw config.wrong("n_group", expected: "a divisor of the \(experts) experts that leaves groups of 2")
            }
            guard groups.chosen <= groups.count else {
                throw config.wrong("topk_group", expected: "at most the \(groups.count) groups")
            }
            candidates = experts / groups.count * groups.chosen
        }
        guard routing.perToken <= candidates else {
            throw config.wrong("num_experts_per_tok", expected: "at most the \(candidates) experts to choose from")
        }
        guard experts <= 1 << 14 else { throw config.wrong("num_experts", expected: "at most \(1 << 14)") }
        self.init(
            experts: experts, width: width, sharedWidth: sharedWidth, hasCorrection: hasCorrection, routing: routing)
    }
}
