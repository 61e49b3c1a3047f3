package import Autograd
package import Formats
package import NN

/// The adapter that is attached to a model: its configuration, its factors by module path, and what it trains in full.
package struct AttachedAdapter {
    package let config: PEFTConfig
    /// In the order of the model.
    package let modules: [(path: String, adapter: LowRankAdapter)]
    /// The base's parameters whose values are the adapter's own, in the order of the model.
    package let saved: [(path: String, parameter: Parameter)]

    /// The trained parameters, A before B, in the order of the model; then those that are trained in full.
    package var parameters: [Parameter] { modules.flatMap { [$0.adapter.a, $0.adapter.b] } + saved.map(\.parameter) }

    package var parameterCount: Int { parameters.reduce(0) { $0 + $1.shape.count } }

    /// The parameters under the names that PEFT gives them in a file.
    package var namedParameters: [(name: String, parameter: Parameter)] {
        modules.flatMap { path, adapter in
            [(Self.name(path + ".lora_A.weight"), adapter.a), (Self.name(path + ".lora_B.weight"), adapter.b)]
        } + saved.map { (Self.name($0.path), $0.parameter) }
    }

    /// The tensors of the adapter file, f32.
    package func tensors() -> [OutgoingTensor] {
        namedParameters.map { name, parameter in
            OutgoingTensor(
                name: name, shape: (0..<parameter.shape.rank).map { parameter.shape[$0] },
                values: parameter.floats?.elements ?? [])
        }
    }

    private static func name(_ path: String) -> String { "base_model.model." + path }
}
