package import Autograd
package import Diagnostics

/// Everything that tells one transformer from another, as data: a decoder, or with `isCausal` off an encoder.
///
/// A family is read from its config.json or GGUF metadata into this value; the model then knows no families. The
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
    package var norm: NormKind = .rms(offset: 0)
    package var residual: Residual = .sequential
    package var queryKeyNorm: QueryKeyNorm = .none
    package var feedForwardForm: FeedForwardForm = .gated
    package var activation: Activation = .silu
    package var bias = Biases()

    /// Tokens see only what came before them.
    package var isCausal = true
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
    package var positions: Positions = .rotary
    /// Rows of a table that is added to the embedding by the part of the text that a token is in; nil: there is none.
    package var tokenTypes: Int?
    /// The embedding is normed before the first layer.
    package var normsEmbedding = false
    /// Attention whose keys and values come from a latent; `headDim` is then that of the wider of both.
    package var latent: Latent?
    /// The experts of the layers that are mixtures.
    package var mixture: Mixture?
    /// What is made of the states; nil: the head for the next token.
    package var task: TaskSpec?
    package var names: CheckpointNames

    package struct LayerSpec: Sendable {
        /// Tokens that a query sees including itself, on both sides where attention is not causal; nil: all.
        package var window: Int?
        /// nil: no rotation.
        package var rotary: RotarySpec?
        /// Instead of the decoder's `attentionScale`.
        package var attentionScale: Float?
        /// The feed-forward part is the decoder's mixture of experts.
        package var isMixture = false
        /// The attention's input is not normed, whatever the other layers do.
        package var skipsAttentionNorm = false
    }

    package struct Latent: Sendable {
        /// Of the queries' own latent; nil: they have none.
        package var queryRank: Int?
        package var rank: Int
        /// Elements of a head's query and key that are not rotated, those that are, and those of its value.
        package var plainDim: Int
        package var rotatedDim: Int
        package var valueDim: Int
        /// Of the norms on the latents, whatever the other norms have.
        package var normEpsilon: Float { 1e-6 }
    }

    package struct Mixture: Sendable {
        package var experts: Int
        /// Of one expert.
        package var width: Int
        /// Of the expert that all tokens pass; nil: there is none.
        package var sharedWidth: Int?
        /// A correction of the scores is stored with the router.
        package var hasCorrection: Bool
        package var routing: RoutingSettings
    }

    /// What tells tokens apart by their place, besides the rotary embedding of single layers.
    package enum Positions: Sendable {
        case rotary
        /// A table with a row for each of `maximumPositions`, added to the embedding. With a `padding` token p counting
        /// begins at p + 1 and leaves out the tokens p, which are all at position p (RoBERTa).
        case learned(padding: Int? = nil)
        /// Every score grows by slope · position of the key (Press et al. 2022); one slope a head.
        case linearBias([Float])
    }

    package enum NormKind: Sendable {
        /// The gain is stored less `offset`: 1 in Gemma's checkpoints.
        case rms(offset: Float)
        /// LayerNorm with gain and, unless `Biases.norm` is off, bias.
        case layer
    }

    package enum Residual: Sendable {
        /// h += attention(norm(h)); h += feedForward(norm(h))
        case sequential
        /// h += attention(norm(h)) + feedForward(otherNorm(h))
        case parallel
        /// As sequential, but what is added to is norm(h).
        case sequentialFromNorm
        /// h = norm(h + attention(h)); h = norm(h + feedForward(h)), with the norms that stand after the sublayers.
        case normedSum
    }

    package enum FeedForwardForm: Sendable {
        /// down(act(gate x) · up x)
        case gated
        /// down(act(up x))
        case plain
        /// down(xIELU(up x)), whose shape each layer has learned
        case xielu
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
        package var norm = true
    }
}

extension DecoderSpec {
    /// The most tokens that a sequence can have; nil where nothing in the model ends.
    package var positionLimit: Int? {
        guard case .learned(let padding) = positions else { return nil }
        return maximumPositions - (padding.map { $0 + 1 } ?? 0)
    }

    /// - Throws: `prompt` for one that leaves no position for an answer.
    package func checkPrompt(_ tokens: [Int32]) throws(Diagnostic) {
        guard let limit = positionLimit, tokens.count > limit else { return }
        throw Diagnostic(
            ModelsCode.prompt, found: "a prompt of \(tokens.count) tokens",
            expected: "at most the \(limit) positions of the base model", fix: "Shorten it")
    }
}
