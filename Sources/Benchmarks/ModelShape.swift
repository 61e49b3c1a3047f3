package import Diagnostics
package import Models
import StrictJSON

/// The extents of a known model, for measurements without its weights.
package struct ModelShape: Sendable {
    package let name: String
    private let config: JSONObject

    /// - Throws: never for the shapes below.
    package func spec() throws(Diagnostic) -> DecoderSpec {
        try Architecture.spec(ConfigReader(config, file: name))
    }

    package static let all = [
        llama(
            "smollm2-135m", layers: 30, hidden: 576, feedForward: 1536, heads: 9, keyValueHeads: 3, vocabulary: 49_152,
            isTied: true, theta: 100_000),
        llama(
            "llama-1.1b", layers: 22, hidden: 2048, feedForward: 5632, heads: 32, keyValueHeads: 4, vocabulary: 32_000,
            isTied: false, theta: 10_000),
    ]

    /// A model in Llama's form.
    package static func llama(
        _ name: String, layers: Int, hidden: Int, feedForward: Int, heads: Int, keyValueHeads: Int, vocabulary: Int,
        isTied: Bool, theta: Double
    ) -> ModelShape {
        ModelShape(
            name: name,
            config: [
                "model_type": .string("llama"), "num_hidden_layers": .integer(layers), "hidden_size": .integer(hidden),
                "intermediate_size": .integer(feedForward), "num_attention_heads": .integer(heads),
                "num_key_value_heads": .integer(keyValueHeads), "vocab_size": .integer(vocabulary),
                "tie_word_embeddings": .bool(isTied), "rope_theta": .number(theta), "rms_norm_eps": .number(1e-5),
                "max_position_embeddings": .integer(1 << 20),
            ])
    }
}
