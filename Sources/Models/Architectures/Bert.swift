import Autograd
import Diagnostics

// Encoders of BERT's form: learned positions, a norm after each sum, biases everywhere.
extension Architecture {
    /// BERT: three tables make the embedding, and a dense layer on the first token stands before the classifier.
    static func bert(_ config: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        var spec = try bertBody(config, body: "bert")
        spec.positions = .learned()
        var masked = TaskSpec(.maskedToken)
        masked.output = "cls.predictions.decoder"
        let biases = ["cls.predictions.bias", "cls.predictions.decoder.bias"]
        masked.outputBias = spec.isTied ? biases : biases.reversed()
        masked.dense = TaskSpec.Dense(
            name: "cls.predictions.transform.dense", activation: spec.activation,
            norm: "cls.predictions.transform.LayerNorm")
        var sequence = TaskSpec(.sequence)
        sequence.dense = TaskSpec.Dense(name: "bert.pooler.dense", activation: .tanh)
        let parts = ["cls.predictions.", "cls.seq_relationship.", "bert.pooler.", "pooler.", "classifier."]
        try setTask(
            &spec, config,
            EncoderHeads(
                maskedToken: masked, sequence: sequence, token: TaskSpec(.token), states: bertStates, parts: parts))
        return spec
    }

    /// RoBERTa, XLM-RoBERTa, CamemBERT: positions count from behind the padding token, other heads.
    static func roberta(_ config: ConfigReader) throws(Diagnostic) -> DecoderSpec {
        var spec = try bertBody(config, body: "roberta")
        guard let padding = try config.has("pad_token_id") ? config.count("pad_token_id") : 1,
            padding < spec.vocabulary, padding < spec.maximumPositions - 1
        else {
            throw config.wrong("pad_token_id", expected: "a token below vocab_size and max_position_embeddings - 1")
        }
        spec.positions = .learned(padding: padding)
        var masked = TaskSpec(.maskedToken)
        masked.output = "lm_head.decoder"
        let biases = ["lm_head.bias", "lm_head.decoder.bias"]
        masked.outputBias = spec.isTied ? biases : biases.reversed()
        masked.dense = TaskSpec.Dense(name: "lm_head.dense", activation: .gelu, norm: "lm_head.layer_norm")
        var sequence = TaskSpec(.sequence)
        sequence.dense = TaskSpec.Dense(name: "classifier.dense", activation: .tanh)
        sequence.output = "classifier.out_proj"
        sequence.outputBias = ["classifier.out_proj.bias"]
        try setTask(
            &spec, config,
            EncoderHeads(
                maskedToken: masked, sequence: sequence, token: TaskSpec(.token), states: bertStates,
                parts: ["lm_head.", "roberta.pooler.", "pooler.", "classifier."]))
        return spec
    }

    /// BERT without a head keeps the dense layer on the first token.
    private static var bertStates: TaskSpec {
        var states = TaskSpec(.states)
        states.dense = TaskSpec.Dense(name: "pooler.dense", activation: .tanh)
        return states
    }

    private static func bertBody(_ config: ConfigReader, body: String) throws(Diagnostic) -> DecoderSpec {
        let config = config.with(defaults: [
            "vocab_size": try config.string("model_type") == "roberta" ? 50_265 : 30_522, "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12, "intermediate_size": 3072, "max_position_embeddings": 512,
            "type_vocab_size": 2,
        ])
        for key in ["is_decoder", "add_cross_attention"] { try config.requireFalse(key) }
        try config.require("position_embedding_type", "absolute")
        let common = try CommonConfig(config, readsHeadDim: false)
        var spec = try common.layerNormSpec(
            "layer_norm_eps", epsilon: 1e-12, tied: true, layers: common.layers(.init()))
        spec.isCausal = false
        spec.residual = .normedSum
        spec.normsEmbedding = true
        spec.tokenTypes = try config.requiredExtent("type_vocab_size")
        spec.activation = try common.activation("hidden_act", default: "gelu").activation
        spec.names = CheckpointNames(
            body: body, embedding: "embeddings.word_embeddings", positions: "embeddings.position_embeddings",
            embeddingNorm: "embeddings.LayerNorm", layers: "encoder.layer", finalNorm: nil, attention: "attention",
            query: "self.query", key: "self.key", value: "self.value", attentionOutput: "output.dense",
            feedForward: "", up: "intermediate.dense", down: "output.dense", attentionNorm: nil,
            attentionOutputNorm: "attention.output.LayerNorm", feedForwardNorm: nil,
            feedForwardOutputNorm: "output.LayerNorm",
            buffers: ["embeddings.position_ids", "embeddings.token_type_ids"],
            olderEndings: [("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta")])
        return spec
    }
}
