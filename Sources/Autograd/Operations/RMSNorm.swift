import CKernels

/// y = x / sqrt(mean(x²) + epsilon) · (gain + offset) over the last axis, as wide as `gain`.
///
/// x: any shape whose count is a multiple of the width, so that one call norms rows or heads. offset is 1 for Gemma.
/// Source: Zhang, Sennrich 2019.
package func rmsNorm(_ x: Variable, gain: Parameter, offset: Float = 0, epsilon: Float) -> Variable {
    let workspace = x.tape.workspace
    let width = gain.shape.count
    let rows = x.value.shape.count / width
    precondition(rows * width == x.value.shape.count, "x \(x.value.shape) for a norm of width \(width)")
    let gains = gain.asFloats(in: workspace)
    var inverses = Tensor(Shape(rows), in: workspace) { _ in }  // written with y, row by row
    var y = Tensor(x.value.shape, in: workspace) { _ in }
    inverses.update(in: workspace) { inverses in
        y.update(in: workspace) { y in
            workspace.threads.forEachRange(rows, grain: rowGrain(width: width)) { range, _ in
                let start = range.lowerBound
                workspace.kernels.rms_norm_forward(
                    y + start * width, inverses + start, x.value.pointer + start * width, gains.pointer, offset,
                    range.count, width, epsilon)
            }
        }
    }
    guard x.tape.isRecording, x.node != nil || gain.isTrainable else { return x.tape.constant(y) }
    let (savedX, slot, scales) = (x.kept, x.slot, inverses)
    return x.tape.record(y, from: x, parameters: [gain]) { dy, adjoints in
        let grain = rowGrain(width: width)
        workspace.reserveScratch(count: grain * width)
        adjoints.add(to: slot) { dx, accumulate in
            workspace.threads.forEachRange(rows, grain: grain) { range, worker in
                let start = range.lowerBound
                let x = savedX.floats(
                    start * width..<range.upperBound * width, scratch: workspace.scratch(worker: worker),
                    workspace.kernels)
                workspace.kernels.rms_norm_backward(
                    dx + start * width, nil, dy.pointer + start * width, x, gains.pointer, offset,
                    scales.pointer + start, range.count, width, accumulate ? 1 : 0)
            }
        }
        gain.accumulateGradient(in: workspace) { dgain, accumulate in
            let x = savedX.floats(in: workspace)
            if !accumulate { dgain.initialize(repeating: 0, count: width) }
            workspace.kernels.rms_norm_backward(
                nil, dgain, dy.pointer, x.pointer, gains.pointer, offset, scales.pointer, rows, width, 0)
            withExtendedLifetime(x) {}
        }
    }
}

extension Parameter {
    /// The values as a tensor of floats; a copy only where they are encoded.
    func asFloats(in workspace: Workspace) -> Tensor {
        floats ?? Tensor(shape, in: workspace) { decode(rows: 0..<shape[0], to: $0) }
    }
}
