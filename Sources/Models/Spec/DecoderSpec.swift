package import Autograd

/// Everything that tells one decoder-only transformer from another, as data.
///
/// A family is read from its config.json or GGUF metadata into this value; the decoder then knows no families. The
/// defaults are those of Llama.
package struct DecoderSpec: Sendable {
    /// The architecture's name as the config or the GGUF metadata spells it.
    package var architecture: String
    package var vocabulary: Int
    package var hidden: Int
    package var heads: Int
    package var keyValueHeads: Int
    package var headDim: Int
    package var feedForward: Int
    package var layers: [LayerSpec]

    package var normEpsilon: Float
    /// Added to every norm's gain: 1 for Gemma's checkpoints.
    package var normOffset: Float = 0
    package var normPlacement: NormPlacement = .before
    package var queryKeyNorm: QueryKeyNorm = .none
    package var activation: Activation = .silu
    package var bias = Biases()

    package var attentionScale: Float
    package var attentionSoftcap: Float?
    package var logitSoftcap: Float?
    /// Factors on the embedding, on what every sublayer adds, and on the logits.
    package var embeddingScale: Float = 1
    package var residualScale: Float = 1
    package var logitScale: Float = 1
    /// The head is the embedding table.
    package var isTied: Bool
    package var maximumPositions: Int
    package var names: CheckpointNames

    package struct LayerSpec: Sendable {
        /// Tokens that a query sees including itself; nil: all.
        package var window: Int?
        /// nil: no positions at all (NoPE).
        package var rotary: RotarySpec?
    }

    package enum NormPlacement: Sendable {
        /// h += f(norm(h))
        case before
        /// h += norm(f(norm(h)))
        case beforeAndAfter
        /// h += norm(f(h))
        case after
    }

    package enum QueryKeyNorm: Sendable {
        case none
        /// One gain of headDim for all heads.
        case perHead
        /// One gain over the whole projection.
        case fullProjection
    }

    package struct Biases: Sendable {
        package var queryKeyValue = false
        package var attentionOutput = false
        package var feedForward = false
        package var head = false
    }
}

/// Where the parts of a decoder stand in a checkpoint.
package struct CheckpointNames: Sendable {
    /// Norms of a layer, in the order of their use.
    package var attentionNorm: String? = "input_layernorm"
    package var attentionOutputNorm: String?
    package var feedForwardNorm: String? = "post_attention_layernorm"
    package var feedForwardOutputNorm: String?

    /// The norms of a layer that exist.
    var layerNorms: [String] {
        [attentionNorm, attentionOutputNorm, feedForwardNorm, feedForwardOutputNorm].compactMap(\.self)
    }

    package static let llama = CheckpointNames()
    /// Gemma 2 and 3: a norm before and after each sublayer.
    package static let sandwich = CheckpointNames(
        attentionNorm: "input_layernorm", attentionOutputNorm: "post_attention_layernorm",
        feedForwardNorm: "pre_feedforward_layernorm", feedForwardOutputNorm: "post_feedforward_layernorm")
    /// OLMo 2: norms after the sublayers only.
    package static let after = CheckpointNames(
        attentionNorm: nil, attentionOutputNorm: "post_attention_layernorm", feedForwardNorm: nil,
        feedForwardOutputNorm: "post_feedforward_layernorm")
}
