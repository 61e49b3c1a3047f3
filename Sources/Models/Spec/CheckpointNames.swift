/// Where the parts of a transformer stand in a checkpoint, and how its linear layers are stored; the defaults are
/// Llama's. A name may be a path of several parts; an empty one adds none.
package struct CheckpointNames: Sendable {
    /// The model without its head; empty where the model has none.
    package var body = "model"
    /// The same in files of models that have a head.
    package var storedBody = "model"
    package var embedding = "embed_tokens"
    package var positions = "wpe"
    package var tokenTypes = "embeddings.token_type_embeddings"
    package var embeddingNorm = "word_embeddings_layernorm"
    package var layers = "layers"
    /// nil: the states of the last layer are final.
    package var finalNorm: String? = "norm"
    package var head = "lm_head"

    package var attention = "self_attn"
    package var queryKeyValue: QueryKeyValue = .separate
    package var query = "q_proj"
    package var key = "k_proj"
    package var value = "v_proj"
    package var attentionOutput = "o_proj"
    package var feedForward = "mlp"
    package var gateUp: GateUp = .separate
    package var gate = "gate_proj"
    package var up = "up_proj"
    package var down = "down_proj"

    /// Norms of a layer, in the order of their use.
    package var attentionNorm: String? = "input_layernorm"
    package var attentionOutputNorm: String?
    package var feedForwardNorm: String? = "post_attention_layernorm"
    package var feedForwardOutputNorm: String?

    /// Weights of linear layers are stored as [in, out]: GPT-2's Conv1D.
    package var storesTransposed = false
    /// Endings of stored tensors that are no weights.
    package var buffers = ["rotary_emb.inv_freq"]
    /// Beginnings of stored tensors that belong to something else.
    package var otherParts = [
        "vision_tower.", "multi_modal_projector.", "model.vision_tower.", "model.multi_modal_projector.",
    ]
    /// What stands in the file in place of a part of a path: files keep the names of older code.
    package var storedNames: [(path: String, stored: String)] = []
    /// What may stand in place of the end of a path: some files have one name, some the other.
    package var olderEndings: [(ending: String, older: String)] = []

    package enum QueryKeyValue: Sendable {
        /// A layer for each.
        case separate
        /// One layer, whose output rows are first all of q, then all of k, then all of v.
        case stacked(String)
        /// One layer, whose output rows are q, k and v of the first head, then of the next.
        case byHead(String)
    }

    package enum GateUp: Sendable {
        /// A layer for each.
        case separate
        /// One layer, whose output rows are first the gate's.
        case stacked(String)
    }

    /// The norms of a layer that exist.
    var layerNorms: [String] {
        [attentionNorm, attentionOutputNorm, feedForwardNorm, feedForwardOutputNorm].compactMap(\.self)
    }

    /// The names that the file may have for the tensor at `path`, likeliest first.
    func storedNames(of path: String) -> [String] {
        let name = storedNames.reduce(path) { $0.replacing($1.path, with: $1.stored) }
        return [name]
            + olderEndings.filter { name.hasSuffix($0.ending) }.map { name.dropLast($0.ending.count) + $0.older }
    }

    /// The path of the part `name` of what is at `path`; either may be empty.
    static func join(_ path: String, _ name: String) -> String {
        path.isEmpty || name.isEmpty ? path + name : path + "." + name
    }

    /// The path of a part of the body.
    func inBody(_ name: String) -> String { Self.join(body, name) }

    /// These names for a model without a head, whose body is all there is.
    mutating func dropHead() {
        storedBody = body
        body = ""
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
    /// GPT-NeoX and Bloom: one layer for q, k and v, and the feed-forward layers named after their widths.
    static let neox = CheckpointNames(
        attention: "attention", queryKeyValue: .byHead("query_key_value"), attentionOutput: "dense",
        up: "dense_h_to_4h", down: "dense_4h_to_h")
}
