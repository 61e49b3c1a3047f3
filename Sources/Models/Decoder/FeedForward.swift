import Autograd
import NN

/// The feed-forward part of a layer, in the forms of `DecoderSpec.FeedForwardForm`.
final class FeedForward: FeedForwardLayer {
    let up: Up
    let down: Linear
    private let names: CheckpointNames

    enum Up {
        case gated(gate: Linear, up: Linear)
        /// Gate and up in one layer: all of the gate first.
        case stacked(name: String, Linear)
        case plain(Linear)
        case xielu(Linear, XIELU)
    }

    init(up: Up, down: Linear, names: CheckpointNames) {
        self.up = up
        self.down = down
        self.names = names
    }

    func callAsFunction(_ x: Variable, spec: DecoderSpec, dropoutKey: UInt64?) -> Variable {
        down(activated(x, spec: spec, dropoutKey: dropoutKey), dropoutKey: dropoutKey)
    }

    private func activated(_ x: Variable, spec: DecoderSpec, dropoutKey: UInt64?) -> Variable {
        switch up {
        case .gated(let gate, let up):
            return gatedActivation(gate(x, dropoutKey: dropoutKey), up(x, dropoutKey: dropoutKey), spec.activation)
        case .stacked(_, let linear):
            let both = linear(x, dropoutKey: dropoutKey)
            let width = linear.weight.shape[0] / 2
            return gatedActivation(
                columns([.init(both, from: 0, count: width)]), columns([.init(both, from: width, count: width)]),
                spec.activation)
        case .plain(let up): return gatedActivation(up(x, dropoutKey: dropoutKey), nil, spec.activation)
        case .xielu(let up, let shape): return Autograd.xielu(up(x, dropoutKey: dropoutKey), shape)
        }
    }

    var children: [(name: String, module: any Module)] {
        let first: [(name: String, module: any Module)] =
            switch up {
            case .gated(let gate, let up): [(names.gate, gate), (names.up, up)]
            case .stacked(let name, let linear): [(name, linear)]
            case .plain(let up): [(names.up, up)]
            case .xielu(let up, let shape): [(names.up, up), ("act_fn", LearnedActivation(shape))]
            }
        return first + [(names.down, down)]
    }
}

/// The parameters of an xIELU under their names.
private final class LearnedActivation: Module {
    private let shape: XIELU

    init(_ shape: XIELU) { self.shape = shape }

    var parameters: [(name: String, parameter: Parameter)] {
        [("alpha_p", shape.positive), ("alpha_n", shape.negative)]
    }
}
