import Autograd
import NN

/// A norm of one of the kinds that transformers have, with its gain and, if it has one, its bias.
final class Norm: Module {
    /// [C] or [D]
    let gain: Parameter
    let bias: Parameter?
    private let kind: DecoderSpec.NormKind
    private let epsilon: Float

    init(_ kind: DecoderSpec.NormKind, gain: Parameter, bias: Parameter?, epsilon: Float) {
        self.kind = kind
        self.gain = gain
        self.bias = bias
        self.epsilon = epsilon
    }

    func callAsFunction(_ x: Variable) -> Variable {
        switch kind {
        case .rms(let offset): rmsNorm(x, gain: gain, offset: offset, epsilon: epsilon)
        case .layer: layerNorm(x, gain: gain, bias: bias, epsilon: epsilon)
        }
    }

    var parameters: [(name: String, parameter: Parameter)] {
        [("weight", gain)] + (bias.map { [("bias", $0)] } ?? [])
    }
}
