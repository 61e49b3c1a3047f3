package import Autograd
import NN

/// In what form a base's matrices are multiplied, and so what an adapter is trained against.
package enum BaseEncoding: String, Sendable, CaseIterable {
    /// As fast as can be: bf16 as it lies, anything else through a bf16 copy where products are in bf16.
    case automatic = "auto"
    /// As the file has them, decoded some rows at a time: slower, in the least memory that the file allows.
    case stored
    /// Every linear layer inside the blocks in fewer bits, in memory; the rest as `automatic`.
    case int8, nf4
    case nf4Double = "nf4-double"

    var lowBit: LowBitEncoding? { LowBitEncoding(rawValue: rawValue) }
}

extension LanguageModel {
    /// The matrices that a base in fewer bits has in them.
    var reducibleMatrices: Set<ObjectIdentifier> { Set(reducible.map { ObjectIdentifier($0) }) }

    private var reducible: [Parameter] {
        let blocks = spec.names.inBody(spec.names.layers) + "."
        let layers = descendants(ofType: Linear.self).filter { $0.path.hasPrefix(blocks) }.map(\.module.weight)
        return layers + descendants(ofType: Experts.self).flatMap { $0.module.parameters.map(\.parameter) }
    }

    /// Keeps every linear layer inside the blocks, and experts, in fewer bits. Embedding, norms, routers and heads stay.
    ///
    /// - Returns: the matrices that were changed.
    func reduce(to encoding: LowBitEncoding, in workspace: Workspace) -> Set<ObjectIdentifier> {
        var changed: Set<ObjectIdentifier> = []
        for parameter in reducible where changed.insert(ObjectIdentifier(parameter)).inserted {
            parameter.replace(with: EncodedMatrix(parameter, as: encoding, in: workspace))
        }
        return changed
    }
}
