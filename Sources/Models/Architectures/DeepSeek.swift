import Autograd
import Diagnostics

extension Architecture {
    /// DeepSeek-V2: latent attention, and experts that are chosen by the softmax of their scores.
    static func deepseekV2(_ config: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        let config = config.with(defaults: [
            "vocab_size": 102_400, "hidden_size": 4096, "intermediate_size": 11_008, "num_hidden_layers": 32,
            "num_attention_heads": 32, "first_k_dense_replace": 0, "kv_lora_rank": 512, "q_lora_rank": 1536,
            "n_routed_experts": 64, "n_shared_experts": 2, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
            "v_head_dim": 128, "moe_intermediate_size": 1407,
        ])
        try config.require("scoring_func", "softmax")
        var groups: RoutingSettings.Groups?
        let method = try config.string("topk_method") ?? "greedy"
        switch method {
        case "greedy": break
        case "group_limited_greedy":
            groups = .init(
                count: try config.requiredExtent("n_group"), chosen: try config.requiredExtent("topk_group"),
                countsTopTwo: false)
        default: throw config.unsupported("topk_method", supported: "greedy or group_limited_greedy")
        }
        var spec = try deepseek(
            config, maximumPositions: 2048, hasCorrection: false,
            routing: RoutingSettings(
                perToken: config.requiredExtent("num_experts_per_tok"), scores: .softmax, groups: groups,
                normalizes: false, scale: Float(config.positive("routed_scaling_factor") ?? 1)))
        spec.bias.feedForward = try config.bool("mlp_bias", default: false)
        return spec
    }

    /// DeepSeek-V3 and R1: scores are sigmoids, and a learned correction takes part in the choice alone.
    static func deepseekV3(_ config: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        let config = config.with(
            defaults: [
                "vocab_size": 129_280, "hidden_size": 7168, "intermediate_size": 18_432, "num_hidden_layers": 61,
                "num_attention_heads": 128, "first_k_dense_replace": 3, "kv_lora_rank": 512, "q_lora_rank": 1536,
                "n_routed_experts": 256, "n_shared_experts": 1, "num_experts_per_tok": 8, "n_group": 8,
                "topk_group": 4, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
                "moe_intermediate_size": 2048, "num_mtp_layers": 1,
            ], ownNames: ["num_mtp_layers": "num_nextn_predict_layers"])
        try config.require("scoring_func", "sigmoid")
        try config.require("topk_method", "noaux_tc")
        var spec = try deepseek(
            config, maximumPositions: 4096, hasCorrection: true,
            routing: RoutingSettings(
                perToken: config.requiredExtent("num_experts_per_tok"), scores: .sigmoid,
                groups: .init(
                    count: config.requiredExtent("n_group"), chosen: config.requiredExtent("topk_group"),
                    countsTopTwo: true),
                normalizes: config.bool("norm_topk_prob", default: true),
                scale: Float(config.positive("routed_scaling_factor") ?? 2.5)))
        if try !config.bool("rope_interleave", default: true) {
            for index in spec.layers.indices { spec.layers[index].rotary?.pairing = .half }
        }
        // Layers behind the last one predict further tokens; transformers leaves them out as well.
        let extra = min(try config.count("num_mtp_layers") ?? 0, 64)
        spec.names.otherParts += (0..<extra).map { "model.layers.\(spec.layers.count + $0)." }
        return spec
    }

    private static func deepseek(
        _ config: ConfigReader, maximumPositions: Int, hasCorrection: Bool, routing: RoutingSettings
    ) throws(Diagnostic) -> DecoderSpec {
        if let frequency = try config.extent("moe_layer_freq"), frequency != 1 {
            throw config.unsupported("moe_layer_freq", supported: "1")
        }
        let latent = DecoderSpec.Latent(
            queryRank: try config.extent("q_lora_rank"), rank: try config.requiredExtent("kv_lora_rank"),
            plainDim: try config.requiredExtent("qk_nope_head_dim"),
            rotatedDim: try config.requiredExtent("qk_rope_head_dim"),
            valueDim: try config.requiredExtent("v_head_dim"))
        for (key, value) in [
            ("kv_lora_rank", latent.rank), ("q_lora_rank", latent.queryRank ?? 1),
            ("qk_nope_head_dim", latent.plainDim), ("qk_rope_head_dim", latent.rotatedDim),
            ("v_head_dim", latent.valueDim),
        ] where value > 1 << 16 { throw config.wrong(key, expected: "at most \(1 << 16)") }
        let queryDim = latent.plainDim + latent.rotatedDim
        let common = try CommonConfig(
            config, maximumPositions: maximumPositions, headDim: max(queryDim, latent.valueDim), readsHeadDim: false)
        let rotaryConfig = RotaryConfig(
            config, maximumPositions: common.maximumPositions, headDim: latent.rotatedDim)
        var rotary = try rotaryConfig.spec()
        rotary.pairing = .interleaved
        let dense = try config.count("first_k_dense_replace") ?? 0
        let layers = (0..<common.layerCount).map {
            DecoderSpec.LayerSpec(rotary: rotary, isMixture: $0 >= dense)
        }
        var spec = try common.spec(layers: layers)
        guard spec.keyValueHeads == spec.heads else {
            throw config.unsupported("num_key_value_heads", supported: "as many as num_attention_heads")
        }
        spec.latent = latent
        spec.attentionScale = Float(try attentionGrowth(rotaryConfig) / Double(queryDim).squareRoot())
        spec.bias.attentionOutput = try config.bool("attention_bias", default: false)
        spec.activation = try common.activation("hidden_act", default: "silu").activation
        let width = try config.requiredExtent("moe_intermediate_size")
        let shared = try config.requiredExtent("n_shared_experts")
        guard width <= 1 << 22, shared <= 1 << 10 else {
            throw config.wrong("moe_intermediate_size", expected: "at most \(1 << 22)")
        }
        spec.mixture = try DecoderSpec.Mixture(
            config, experts: config.requiredExtent("n_routed_experts"), width: width, sharedWidth: width * shared,
            hasCorrection: hasCorrection, routing: routing)
        return spec
    }

    /// What scores grow by where texts were stretched and `mscale_all_dim` says so.
    private static func attentionGrowth(_ rotary: RotaryConfig) throws(Diagnostic) -> Double {
        guard let section = try rotary.section() else { return 1 }
        var kind = try section.string("rope_type")
        if kind == nil { kind = try section.string("type") }
        guard let kind, kind != "default", let all = try section.nonnegative("mscale_all_dim"), all > 0 else {
            return 1
        }
        guard let factor = try section.positive("factor") else {
            throw section.wrong("factor", expected: "a number above 0")
        }
        let magnitude = RotarySpec.Yarn.magnitude(factor, all)
        return magnitude * magnitude
    }
}
