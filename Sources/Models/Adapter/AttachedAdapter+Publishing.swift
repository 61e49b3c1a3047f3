import Autograd
package import Formats
import NN

extension AttachedAdapter {
    /// The adapter as other programs can read it: configuration and tensors, f32.
    ///
    /// An adapter that started from the weights' principal directions (PiSSA) becomes an ordinary one of twice the rank
    /// for the base as it is, A and A₀ on each other and B beside −B₀: that is B·A − B₀·A₀.
    package var published: (config: PEFTConfig, tensors: [OutgoingTensor]) {
        guard modules.contains(where: { $0.adapter.start != nil }) else { return (config, tensors()) }
        var config = config
        let alphaFactor = config.useRSLoRA ? 2.0.squareRoot() : 2
        config.r *= 2
        config.alpha *= alphaFactor
        config.rankPattern = config.rankPattern.map { ($0.pattern, 2 * $0.rank) }
        config.alphaPattern = config.alphaPattern.map { ($0.pattern, alphaFactor * $0.alpha) }
        config.initialization = .standard
        var starts: [ObjectIdentifier: Parameter] = [:]
        for case (let adapter, let start?) in modules.map({ ($0.adapter, $0.adapter.start) }) {
            starts[ObjectIdentifier(adapter.a)] = start.a
            starts[ObjectIdentifier(adapter.b)] = start.b
        }
        let tensors = namedParameters.map { name, parameter in
            let values = parameter.floats?.elements ?? []
            guard let start = starts[ObjectIdentifier(parameter)]?.floats?.elements else {
                return OutgoingTensor(
                    name: name, shape: (0..<parameter.shape.rank).map { parameter.shape[$0] }, values: values)
            }
            let (rows, columns) = (parameter.shape[0], parameter.shape[1])
            guard name.hasSuffix("lora_B.weight") else {
                return OutgoingTensor(name: name, shape: [2 * rows, columns], values: values + start)
            }
            let wide = (0..<rows * 2 * columns).map { index in
                let (row, column) = (index / (2 * columns), index % (2 * columns))
                return column < columns ? values[row * columns + column] : -start[row * columns + column - columns]
            }
            return OutgoingTensor(name: name, shape: [rows, 2 * columns], values: wide)
        }
        return (config, tensors)
    }
}
