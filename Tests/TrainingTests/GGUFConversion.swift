import Formats
import Glibc
import StrictJSON

/// Writes a Hugging Face folder as a GGUF file with llama.cpp's names and conventions.
struct GGUFConversion {
    var architecture: String
    /// Conventions that can be left out, so that a test shows that they matter.
    var permutesHeads: Bool?
    var addsToNorms = true
    /// Gemma 3's layers as a list instead of a period.
    var listsWindows = false
    /// Keys that are added to the metadata.
    var extra: [(key: String, value: GGUFValue)] = []

    private static let modules = [
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
        "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "block_sparse_moe.gate": "ffn_gate_inp",
    ]
    private static let gemmaModules = [
        "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
        "post_feedforward_layernorm": "post_ffw_norm",
    ]

    func write(_ folder: String, to path: String) throws {
        let folder = try ModelFolder(folder)
        let config = try readJSON(folder.configPath, maximumBytes: 1 << 20)
        let heads = config["num_attention_heads"]?.integer ?? 0
        let keyValueHeads = config["num_key_value_heads"]?.integer ?? heads
        let weights = try folder.openWeights()
        var tensors: [OutgoingTensor] = []
        var experts: [String: [WeightTensor]] = [:]
        for tensor in weights.tensors {
            if let stack = stackName(of: tensor.name) {
                experts[stack.name, default: []].append(tensor.renamed(stack.expert))
                continue
            }
            var values = try tensor.floats()
            if architecture == "gemma3", addsToNorms, tensor.name.hasSuffix("norm.weight") {
                values = values.map { $0 + 1 }
            }
            if permutesHeads ?? (architecture == "llama") {
                if tensor.name.contains(".q_proj.") { values = permuted(values, tensor.shape, heads: heads) }
                if tensor.name.contains(".k_proj.") { values = permuted(values, tensor.shape, heads: keyValueHeads) }
            }
            tensors.append(OutgoingTensor(name: name(of: tensor.name), shape: tensor.shape, values: values))
        }
        for (name, parts) in experts.sorted(by: { $0.key < $1.key }) {
            let ordered = parts.sorted { $0.name < $1.name }
            let values = try ordered.flatMap { try $0.floats() }
            tensors.append(OutgoingTensor(name: name, shape: [parts.count] + ordered[0].shape, values: values))
        }
        if let factors = rotaryDivisors(config) {
            tensors.append(OutgoingTensor(name: "rope_freqs.weight", shape: [factors.count], values: factors))
        }
        try GGUFFile.write(metadata: metadata(config), tensors: tensors, to: path)
    }

    // MARK: Tensors

    private func name(of name: String) -> String {
        switch name {
        case "model.embed_tokens.weight": return "token_embd.weight"
        case "model.norm.weight": return "output_norm.weight"
        case "lm_head.weight": return "output.weight"
        default: break
        }
        let parts = name.split(separator: ".")
        let module = parts[3..<parts.count - 1].joined(separator: ".")
        let own = architecture == "gemma3" ? Self.gemmaModules[module] : nil
        return "blk.\(parts[2]).\(own ?? Self.modules[module] ?? module).\(parts[parts.count - 1])"
    }

    /// The stack that an expert's matrix belongs to, and the expert's number.
    private func stackName(of name: String) -> (name: String, expert: String)? {
        let parts = name.split(separator: ".")
        guard parts.count == 8, parts[4] == "experts",
            let kind = ["w1": "gate", "w2": "down", "w3": "up"][String(parts[6])]
        else { return nil }
        return ("blk.\(parts[2]).ffn_\(kind)_exps.weight", String(parts[5]))
    }

    /// Rows of a head in turn from its first and its second half.
    private func permuted(_ values: [Float], _ shape: [Int], heads: Int) -> [Float] {
        let (rows, columns) = (shape[0], values.count / shape[0])
        let headDim = rows / heads
        return (0..<rows).flatMap { row in
            let (head, inHead) = (row / headDim, row % headDim)
            let source = head * headDim + inHead % 2 * (headDim / 2) + inHead / 2
            return values[source * columns..<(source + 1) * columns]
        }
    }

    /// Llama 3's scaling, which the converter bakes into divisors of the frequencies.
    private func rotaryDivisors(_ config: JSONValue) -> [Float]? {
        guard let scaling = config["rope_scaling"], scaling["rope_type"]?.string == "llama3",
            let factor = scaling["factor"]?.number, let low = scaling["low_freq_factor"]?.number,
            let high = scaling["high_freq_factor"]?.number,
            let trained = scaling["original_max_position_embeddings"]?.number
        else { return nil }
        let dim = headDim(config)
        return (0..<dim / 2).map { pair in
            let frequency = 1 / pow(theta(config), Double(2 * pair) / Double(dim))
            let wavelength = 2 * Double.pi / frequency
            if wavelength < trained / high { return 1 }
            if wavelength > trained / low { return Float(factor) }
            let smooth = (trained / wavelength - low) / (high - low)
            return Float(1 / ((1 - smooth) / factor + smooth))
        }
    }

    // MARK: Metadata

    private func headDim(_ config: JSONValue) -> Int {
        config["head_dim"]?.integer
            ?? (config["hidden_size"]?.integer ?? 0) / (config["num_attention_heads"]?.integer ?? 1)
    }

    private func theta(_ config: JSONValue) -> Double {
        config["rope_theta"]?.number ?? config["rope_parameters"]?["rope_theta"]?.number ?? 10_000
    }

    private func metadata(_ config: JSONValue) -> [(key: String, value: GGUFValue)] {
        var result: [(key: String, value: GGUFValue)] = [("general.architecture", .string(architecture))]
        func add(_ key: String, _ value: GGUFValue) { result.append(("\(architecture).\(key)", value)) }
        func add(_ key: String, integer name: String) {
            if let value = config[name]?.integer { add(key, .uint32(UInt32(value))) }
        }
        add("block_count", integer: "num_hidden_layers")
        add("context_length", integer: "max_position_embeddings")
        add("embedding_length", integer: "hidden_size")
        add("feed_forward_length", integer: "intermediate_size")
        add("attention.head_count", integer: "num_attention_heads")
        add("attention.head_count_kv", integer: "num_key_value_heads")
        add("attention.layer_norm_rms_epsilon", .float32(Float(config["rms_norm_eps"]?.number ?? 0)))
        add("rope.freq_base", .float32(Float(theta(config))))
        add("expert_count", integer: "num_local_experts")
        add("expert_used_count", integer: "num_experts_per_tok")
        add("attention.key_length", integer: "head_dim")
        add("attention.value_length", integer: "head_dim")
        if architecture == "llama" { add("rope.dimension_count", .uint32(UInt32(headDim(config)))) }
        if architecture == "gemma3" || config["model_type"]?.string == "mistral" {
            add("attention.sliding_window", integer: "sliding_window")
        }
        if let period = config["sliding_window_pattern"]?.integer {
            let layers = config["num_hidden_layers"]?.integer ?? 0
            let flags = (0..<layers).map { Int32(($0 + 1) % period == 0 ? 0 : 1) }
            add(
                "attention.sliding_window_pattern",
                listsWindows ? .array(GGUFArray(flags)) : .uint32(UInt32(period)))
        }
        let scaling = config["rope_scaling"] ?? config["rope_parameters"]
        let kind = scaling?["rope_type"]?.string ?? scaling?["type"]?.string
        if let scaling, let kind, kind == "linear" || kind == "yarn" {
            add("rope.scaling.type", .string(kind))
            add("rope.scaling.factor", .float32(Float(scaling["factor"]?.number ?? 1)))
            if let trained = scaling["original_max_position_embeddings"]?.integer {
                add("rope.scaling.original_context_length", .uint32(UInt32(trained)))
            }
            for (key, name) in [("yarn_beta_fast", "beta_fast"), ("yarn_beta_slow", "beta_slow")] {
                if let value = scaling[name]?.number { add("rope.scaling.\(key)", .float32(Float(value))) }
            }
        }
        return result + extra
    }
}
