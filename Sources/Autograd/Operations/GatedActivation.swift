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
    guard gate.tape.isRecording else { return gate.tape.constant(y) }
    let (savedGate, savedUp) = (gate.kept, up?.kept)
    let (gateSlot, upSlot) = (gate.slot, up?.slot)
    return gate.tape.record(y, from: gate, up ?? gate) { dy, adjoints in
        let gradients = gatedGradients(
            dy, gate: savedGate, up: savedUp, activation, needsUp: upSlot?.isNeeded == true, in: workspace)
        adjoints.give(gradients.dgate, to: gateSlot)
        if let dup = gradients.dup, let upSlot { adjoints.give(dup, to: upSlot) }
    }
}

private func gatedGradients(
    _ dy: Tensor, gate: KeptActivation, up: KeptActivation?, _ activation: Activation, needsUp: Bool,
    in workspace: Workspace
) -> (dgate: Tensor, dup: Tensor?) {
    let grain = elementGrain
    workspace.reserveScratch(count: 2 * grain)
    var dgate = Tensor(dy.shape, in: workspace) { _ in }  // written with dup, element by element
    var dup = needsUp ? Tensor(dy.shape, in: workspace) { _ in } : nil
    func run(_ dgate: UnsafeMutablePointer<Float>, _ dup: UnsafeMutablePointer<Float>?) {
        workspace.threads.forEachRange(dy.shape.count, grain: grain) { range, worker in
            let (start, scratch) = (range.lowerBound, workspace.scratch(worker: worker))
            let gate = gate.floats(range, scratch: scratch, workspace.kernels)
            let up = up?.floats(range, scratch: scratch + grain, workspace.kernels)
            workspace.kernels.gated_backward(
                dgate + start, dup.map { $0 + start }, dy.pointer + start, gate, up, range.count, activation.kernel,
                0, 0)
        }
    }
    dgate.update(in: workspace) { dgate in
        guard needsUp else { return run(dgate, nil) }
        dup?.update(in: workspace) { run(dgate, $0) }
    }
    return (dgate, dup)
}
