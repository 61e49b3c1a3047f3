package import Autograd
package import Formats
package import NN

/// The adapter that is attached to a decoder: its configuration and its factors by module path.
package struct AttachedAdapter {
    package let config: PEFTConfig
    /// In the order of the model.
    package let modules: [(path: String, adapter: LowRankAdapter)]

    /// The trained parameters, A before B, in the order of the model.
    package var parameters: [Parameter] { modules.flatMap { [$0.adapter.a, $0.adapter.b] } }

    package var parameterCount: Int { parameters.reduce(0) { $0 + $1.shape.count } }

    /// The parameters under the names that PEFT gives them in a file.
    package var namedParameters: [(name: String, parameter: Parameter)] {
        modules.flatMap { path, adapter in
            [(Self.name(path, "lora_A"), adapter.a), (Self.name(path, "lora_B"), adapter.b)]
        }
    }

    /// The tensors of the adapter file, f32.
    package func tensors() -> [OutgoingTensor] {
        namedParameters.map { name, parameter in
            OutgoingTensor(
                name: name, shape: [parameter.shape[0], parameter.shape[1]], values: parameter.floats?.elements ?? [])
        }
    }

    private static func name(_ path: String, _ factor: String) -> String {
        "base_model.model.\(path).\(factor).weight"
    }
}
