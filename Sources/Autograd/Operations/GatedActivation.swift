package import CKernels

/// The elementwise functions of feed-forward layers.
package enum Activation: Sendable {
    case silu
    /// With the Gaussian distribution function itself.
    case gelu
    /// The tanh approximation.
    case geluTanh
    case reluSquared
    case relu
    case tanh
    /// x · sigmoid(1.702 x)
    case quickGELU

    package var kernel: ek_activation {
        switch self {
        case .silu: EK_SILU
        case .gelu: EK_GELU
        case .geluTanh: EK_GELU_TANH
        case .reluSquared: EK_RELU2
        case .relu: EK_RELU
        case .tanh: EK_TANH
        case .quickGELU: EK_QUICK_GELU
        }
    }
}

/// y = act(gate) · up, element by element; with silu this is SwiGLU (Shazeer 2020). Without `up`, y = act(gate).
package func gatedActivation(_ gate: Variable, _ up: Variable?, _ activation: Activation) -> Variable {
    let workspace = gate.tape.workspace
    let count = gate.value.shape.count
    precondition(up.map { $0.value.shape == gate.value.shape } ?? true, "gate and up differ in shape")
    let y = Tensor(gate.value.shape, in: workspace) { y in
        workspace.threads.forEachRange(count, grain: elementGrain) { range, _ in
            let start = range.lowerBound
            workspace.kernels.gated_forward(
                y + start, gate.value.pointer + start, up.map { $0.value.pointer + start }, range.count,
                activation.kernel)
        }
    }
    let (savedGate, savedUp) = (gate.value, up?.value)
    let (gateSlot, upSlot) = (gate.slot, up?.slot)
    return gate.tape.record(y, from: gate, up ?? gate) { dy, adjoints in
        adjoints.add(to: gateSlot) { dgate, accumulate in
            workspace.threads.forEachRange(count, grain: elementGrain) { range, _ in
                let start = range.lowerBound
                workspace.kernels.gated_backward(
                    dgate + start, nil, dy.pointer + start, savedGate.pointer + start,
                    savedUp.map { $0.pointer + start }, range.count, activation.kernel, accumulate ? 1 : 0, 0)
            }
        }
        guard let upSlot else { return }
        adjoints.add(to: upSlot) { dup, accumulate in
            workspace.threads.forEachRange(count, grain: elementGrain) { range, _ in
                let start = range.lowerBound
                workspace.kernels.gated_backward(
                    nil, dup + start, dy.pointer + start, savedGate.pointer + start,
                    savedUp.map { $0.pointer + start }, range.count, activation.kernel, 0, accumulate ? 1 : 0)
            }
        }
    }
}
