package import Autograd
package import Formats
package import NN

/// The adapter that is attached to a model: its configuration, its factors by module path, and what it trains in full.
package struct AttachedAdapter {
    package let config: PEFTConfig
    /// In the order of the model.
    package let modules: [Module]
    /// The base's parameters whose values are the adapter's own, in the order of the model: modules that are trained in
    /// full, and biases.
    package let saved: [(path: String, parameter: Parameter)]
    /// Tokens whose rows of the embedding, or of the head, are the adapter's own.
    package let tokens: [(path: String, rows: TokenRows)]

    package struct Module {
        /// In the base model: `model.layers.0.self_attn.q_proj`.
        package let path: String
        package let kind: PEFTAdapter.Kind
        package let adapter: LowRankAdapter
    }

    /// The trained parameters, in the order of the model; then those that are trained in full.
    package var parameters: [Parameter] { namedParameters.map(\.parameter) }

    package var parameterCount: Int { parameters.reduce(0) { $0 + $1.shape.count } }

    /// The parameters under the names that PEFT gives them in a file.
    package var namedParameters: [(name: String, parameter: Parameter)] {
        let adapted = Set(modules.map(\.path))
        let parts = modules.flatMap { module in module.parameters.map { (module.path + $0.ending, $0.parameter) } }
        let full = saved.map { path, parameter in
            // PEFT wraps an adapted layer, so that its own bias stands one level down.
            let owner = path.hasSuffix(".bias") ? String(path.dropLast(".bias".count)) : ""
            return (adapted.contains(owner) ? owner + ".base_layer.bias" : path, parameter)
        }
        let rows = tokens.map { ($0.path + ".token_adapter.trainable_tokens_delta", $0.rows.values) }
        return (parts + full + rows).map { ("base_model.model." + $0.0, $0.1) }
    }

    /// The tensors of the adapter file, f32.
    package func tensors() -> [OutgoingTensor] {
        namedParameters.map { name, parameter in
            OutgoingTensor(
                name: name, shape: (0..<parameter.shape.rank).map { parameter.shape[$0] },
                values: parameter.floats?.elements ?? [])
        }
    }
}

extension AttachedAdapter.Module {
    /// What is trained, with the endings of its names.
    var parameters: [(ending: String, parameter: Parameter)] {
        let isEmbedding = kind == .embedding
        var parts = [
            (isEmbedding ? ".lora_embedding_A" : ".lora_A.weight", adapter.a),
            (isEmbedding ? ".lora_embedding_B" : ".lora_B.weight", adapter.b),
        ]
        if let bias = adapter.bias { parts.append((".lora_B.bias", bias)) }
        if let magnitude = adapter.magnitude { parts.append((".lora_magnitude_vector", magnitude)) }
        return parts
    }
}
