import Autograd
import Diagnostics
import Formats

/// Reads a decoder's spec from GGUF metadata and maps Hugging Face's tensor names to GGUF's.
struct GGUFSpec {
    private let header: GGUFFile
    private let weights: WeightSource
    private let architecture: String

    static let supported = ["llama", "qwen2", "qwen3", "gemma3"]

    init(_ model: GGUFModel) throws(Diagnostic) {
        header = model.header
        weights = model.weights
        guard let name = try model.header.string("general.architecture") else {
            throw Diagnostic(
                ModelsCode.config, file: header.file.path, at: "key \"general.architecture\"", found: "nothing",
                expected: "one of " + Self.supported.joined(separator: ", "))
        }
        guard Self.supported.contains(name) else {
            throw Diagnostic(
                ModelsCode.unsupported, file: header.file.path, at: "key \"general.architecture\"",
                found: "the architecture \"\(name)\"", expected: "one of " + Self.supported.joined(separator: ", "),
                fix: "Use a base model of a supported family")
        }
        architecture = name
    }

    func spec() throws(Diagnostic) -> DecoderSpec {
        let hidden = try required("embedding_length", in: 1...(1 << 20))
        let heads = try required("attention.head_count", in: 1...(1 << 12))
        let keyValueHeads = try integer("attention.head_count_kv", in: 1...(1 << 12)) ?? heads
        guard heads % keyValueHeads == 0 else {
            throw wrong("attention.head_count_kv", found: "\(keyValueHeads)", expected: "a divisor of \(heads)")
        }
        let layerCount = try required("block_count", in: 1...512)
        let headDim = try integer("attention.key_length", in: 2...(1 << 12)) ?? (hidden / heads)
        guard headDim >= 2, headDim % 2 == 0 else {
            throw wrong("attention.key_length", found: "\(headDim)", expected: "an even number")
        }
        if let valueLength = try integer("attention.value_length", in: 1...(1 << 12)), valueLength != headDim {
            throw wrong("attention.value_length", found: "\(valueLength)", expected: "\(headDim), as the keys have")
        }
        guard let table = weights["token_embd.weight"], table.shape.count == 2 else {
            throw Diagnostic(
                ModelsCode.tensor, file: header.file.path, at: "tensor \"token_embd.weight\"", found: "no matrix",
                expected: "the embedding table")
        }
        let mixture = try mixture()
        var spec = DecoderSpec(
            architecture: architecture, vocabulary: table.shape[0], hidden: hidden, heads: heads,
            keyValueHeads: keyValueHeads, headDim: headDim,
            feedForward: try required("feed_forward_length", in: 1...(1 << 22)),
            layers: try layers(count: layerCount, headDim: headDim, isMixture: mixture != nil),
            normEpsilon: Float(try number("attention.layer_norm_rms_epsilon") ?? 1e-5),
            attentionScale: Float(try number("attention.scale") ?? 1 / Double(headDim).squareRoot()),
            isTied: weights["output.weight"] == nil,
            maximumPositions: try required("context_length", in: 1...(1 << 24)),
            names: .llama)
        spec.mixture = mixture
        // A bias is what the file holds: GGUF's metadata does not say.
        spec.bias.queryKeyValue = weights["blk.0.attn_q.bias"] != nil
        spec.bias.attentionOutput = weights["blk.0.attn_output.bias"] != nil
        spec.bias.feedForward = weights["blk.0.ffn_up.bias"] != nil
        if architecture == "qwen3" || architecture == "gemma3" { spec.queryKeyNorm = .perHead }
        if architecture == "gemma3" {
            // The stored gains have Gemma's 1 already added.
            spec.names = .sandwich
            spec.activation = .geluTanh
            spec.embeddingScale = Float(hidden).squareRoot()
            spec.logitSoftcap = try number("final_logit_softcapping").map { Float($0) }
            // Gemma 3 27B alone scales by its width over its heads; llama.cpp knows it by its layers too.
            if layerCount == 62 { spec.attentionScale = 1 / Float(hidden / heads).squareRoot() }
        }
        return spec
    }

    /// Mixtral is a llama with experts, each as wide as a feed-forward layer; nil for a model without.
    private func mixture() throws(Diagnostic) -> DecoderSpec.Mixture? {
        guard let experts = try integer("expert_count", in: 0...(1 << 14)), experts > 0 else { return nil }
        guard architecture == "llama" else {
            throw Diagnostic(
                ModelsCode.unsupported, file: header.file.path, at: "key \"\(architecture).expert_count\"",
                found: "\(experts) experts", expected: "none, or the architecture llama",
                fix: "Use the Hugging Face folder of the model")
        }
        var width = try integer("expert_feed_forward_length", in: 1...(1 << 22))
        if width == nil { width = try integer("feed_forward_length", in: 1...(1 << 22)) }
        return DecoderSpec.Mixture(
            experts: experts, width: try header.required("\(architecture).feed_forward_length", width),
            sharedWidth: nil, hasCorrection: false,
            routing: RoutingSettings(
                perToken: try required("expert_used_count", in: 1...experts), scores: .softmax, normalizes: true))
    }

    private func layers(count: Int, headDim: Int, isMixture: Bool) throws(Diagnostic) -> [DecoderSpec.LayerSpec] {
        let rotated = try integer("rope.dimension_count", in: 2...headDim) ?? headDim
        guard rotated % 2 == 0 else {
            throw wrong("rope.dimension_count", found: "\(rotated)", expected: "an even number")
        }
        let isGemma = architecture == "gemma3"
        var global = RotarySpec(theta: try number("rope.freq_base") ?? (isGemma ? 1e6 : 1e4), rotatedDim: rotated)
        global.scaling = try scaling()
        if let factors = weights["rope_freqs.weight"] {
            guard factors.count == rotated / 2 else {
                throw Diagnostic(
                    ModelsCode.tensor, file: header.file.path, at: "tensor \"rope_freqs.weight\"",
                    found: "\(factors.count) elements", expected: "\(rotated / 2)")
            }
            global.scaling = .divisors(try factors.floats())
        }
        let window = try integer("attention.sliding_window", in: 0...Int(Int32.max)).flatMap { $0 == 0 ? nil : $0 }
        guard isGemma else {
            return Array(repeating: .init(window: window, rotary: global, isMixture: isMixture), count: count)
        }
        // The scaling is for the global layers only. Files may leave out the base of the others.
        let local = RotarySpec(theta: try number("rope.freq_base_swa") ?? 10_000, rotatedDim: rotated)
        return try hasWindow(count: count).map {
            .init(window: $0 ? window : nil, rotary: $0 ? local : global)
        }
    }

    /// Which layers have a window: as a list, or all but each so-manieth. Without a word Gemma 3's pattern is meant.
    private func hasWindow(count: Int) throws(Diagnostic) -> [Bool] {
        let key = "attention.sliding_window_pattern"
        guard case .array? = header["\(architecture).\(key)"] else {
            let period = try integer(key, in: 1...(1 << 16)) ?? 6
            return (0..<count).map { ($0 + 1) % period != 0 }
        }
        let name = "\(architecture).\(key)"
        let flags: [Bool]
        if let bools = try? header.bools(name) {
            flags = bools
        } else {
            flags = try (header.integers(name) ?? []).map { $0 != 0 }
        }
        guard flags.count == count else {
            throw wrong(key, found: "\(flags.count) layers", expected: "\(count)")
        }
        return flags
    }

    private func scaling() throws(Diagnostic) -> RotarySpec.Scaling {
        let kind = try header.string("\(architecture).rope.scaling.type") ?? "none"
        switch kind {
        case "none": return .none
        case "linear": return .linear(factor: try number("rope.scaling.factor") ?? 1)
        case "yarn": return .yarn(try yarn())
        default:
            throw Diagnostic(
                ModelsCode.unsupported, file: header.file.path, at: "key \"\(architecture).rope.scaling.type\"",
                found: "\"\(kind)\"", expected: "none, linear or yarn")
        }
    }

    /// YaRN with llama.cpp's defaults; its attention factor comes on top of what attention grows by.
    private func yarn() throws(Diagnostic) -> RotarySpec.Yarn {
        let factor = try number("rope.scaling.factor") ?? 1
        for key in ["rope.scaling.yarn_ext_factor", "rope.scaling.yarn_attn_factor"] {
            guard let value = try header.number("\(architecture).\(key)"), value != 1 else { continue }
            throw wrong(key, found: "\(value)", expected: "1 or nothing")
        }
        var trained = try integer("rope.scaling.original_context_length", in: 1...(1 << 24))
        if trained == nil { trained = try integer("context_length", in: 1...(1 << 24)) }
        return RotarySpec.Yarn(
            factor: factor, trainedLength: try header.required("\(architecture).context_length", trained),
            betaFast: try number("rope.scaling.yarn_beta_fast") ?? 32,
            betaSlow: try number("rope.scaling.yarn_beta_slow") ?? 1,
            attentionFactor: (try number("rope.scaling.attn_factor") ?? 1) * RotarySpec.Yarn.magnitude(factor, 1),
            truncates: true)
    }

    /// The heads whose rows the converter to GGUF permuted in the tensor of `path`.
    func permutedHeads(_ spec: DecoderSpec) -> (String) -> Int? {
        guard architecture == "llama" else { return { _ in nil } }
        let (heads, keyValueHeads) = (spec.heads, spec.keyValueHeads)
        return { path in
            if path.contains(".self_attn.q_proj.") { return heads }
            if path.contains(".self_attn.k_proj.") { return keyValueHeads }
            return nil
        }
    }

    /// GGUF's name of the tensor that Hugging Face calls `path`.
    static func name(of path: String, spec: DecoderSpec) -> String {
        switch path {
        case "model.embed_tokens.weight": return "token_embd.weight"
        case "model.norm.weight": return "output_norm.weight"
        case "lm_head.weight": return "output.weight"
        default: break
        }
        let parts = path.split(separator: ".", omittingEmptySubsequences: false)
        guard parts.count >= 5, parts[0] == "model", parts[1] == "layers", let kind = parts.last else { return path }
        let module = parts[3..<(parts.count - 1)].joined(separator: ".")
        let names = [
            "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
            "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
            "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
            "mlp.gate": "ffn_gate_inp",
        ]
        if parts.count == 8, module.hasPrefix("mlp.experts."), let name = names["mlp.\(parts[6])"] {
            return expertName("blk.\(parts[2]).\(name)_exps.\(kind)", Int(parts[5]) ?? 0)
        }
        let norms: [(String?, String)] = [
            (spec.names.attentionNorm, "attn_norm"), (spec.names.attentionOutputNorm, "post_attention_norm"),
            (spec.names.feedForwardNorm, "ffn_norm"), (spec.names.feedForwardOutputNorm, "post_ffw_norm"),
        ]
        guard let name = names[module] ?? norms.first(where: { $0.0 == module })?.1 else { return path }
        return "blk.\(parts[2]).\(name).\(kind)"
    }

    /// The weights with each tensor that stacks all experts of a layer cut into one for each, bytes where they are.
    static func separatingExperts(_ source: WeightSource) -> WeightSource {
        let isStack = { (tensor: WeightTensor) in tensor.shape.count == 3 && tensor.name.contains("_exps.") }
        guard source.tensors.contains(where: isStack) else { return source }
        return WeightSource(
            source.tensors.flatMap { tensor -> [WeightTensor] in
                guard isStack(tensor), tensor.shape[0] <= 1 << 14 else { return [tensor] }
                return (0..<tensor.shape[0]).map { tensor.slice($0, name: expertName(tensor.name, $0)) }
            })
    }

    private static func expertName(_ stack: String, _ expert: Int) -> String { "\(stack)/\(expert)" }

    private func integer(_ key: String, in range: ClosedRange<Int>) throws(Diagnostic) -> Int? {
        try header.integer("\(architecture).\(key)", in: range)
    }

    private func required(_ key: String, in range: ClosedRange<Int>) throws(Diagnostic) -> Int {
        try header.required("\(architecture).\(key)", integer(key, in: range))
    }

    private func number(_ key: String) throws(Diagnostic) -> Double? {
        guard let value = try header.number("\(architecture).\(key)") else { return nil }
        guard value > 0, value.isFinite else {
            throw wrong(key, found: "\(value)", expected: "a number above 0")
        }
        return value
    }

    private func wrong(_ key: String, found: String, expected: String) -> Diagnostic {
        Diagnostic(
            ModelsCode.config, file: header.file.path, at: "key \"\(architecture).\(key)\"", found: found,
            expected: expected, fix: "Convert the model again")
    }
}
