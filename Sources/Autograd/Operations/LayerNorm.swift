import CKernels

/// y = (x - mean(x)) / sqrt(variance(x) + epsilon) · gain + bias over the last axis.
///
/// x: [T, C]; gain, bias: [C] or none. Source: Ba, Kiros, Hinton 2016.
package func layerNorm(_ x: Variable, gain: Parameter?, bias: Parameter?, epsilon: Float) -> Variable {
    let workspace = x.tape.workspace
    let (rows, width) = (x.value.shape[0], x.value.shape[1])
    for parameter in [gain, bias] {
        precondition(parameter.map { $0.shape.count == width } ?? true, "x \(x.value.shape) for another width")
    }
    let (gains, biases) = (gain?.asFloats(in: workspace), bias?.asFloats(in: workspace))
    let grain = rowGrain(width: width)
    // Written with y, row by row.
    var means = Tensor(Shape(rows), in: workspace) { _ in }
    var inverses = Tensor(Shape(rows), in: workspace) { _ in }
    let y = Tensor(x.value.shape, in: workspace) { y in
        means.update(in: workspace) { means in
            inverses.update(in: workspace) { inverses in
                workspace.threads.forEachRange(rows, grain: grain) { range, _ in
                    let start = range.lowerBound
                    workspace.kernels.layer_norm_forward(
                        y + start * width, means + start, inverses + start, x.value.pointer + start * width,
                        gains?.pointer, biases?.pointer, range.count, width, epsilon)
                }
            }
        }
    }
    guard x.tape.isRecording, x.node != nil || gain?.isTrainable == true || bias?.isTrainable == true else {
        return x.tape.constant(y)
    }
    let (savedX, slot, centres, scales) = (x.kept, x.slot, means, inverses)
    return x.tape.record(y, from: x, parameters: [gain, bias]) { dy, adjoints in
        workspace.reserveScratch(count: grain * width)
        adjoints.add(to: slot) { dx, accumulate in
            workspace.threads.forEachRange(rows, grain: grain) { range, worker in
                let start = range.lowerBound
                let x = savedX.floats(
                    start * width..<range.upperBound * width, scratch: workspace.scratch(worker: worker),
                    workspace.kernels)
                workspace.kernels.layer_norm_backward(
                    dx + start * width, nil, nil, dy.pointer + start * width, x, gains?.pointer,
                    centres.pointer + start, scales.pointer + start, range.count, width,
                    accumulate ? 1 : 0)
            }
        }
        func accumulate(_ parameter: Parameter?, isGain: Bool) {
            parameter?.accumulateGradient(in: workspace) { sums, accumulate in
                let x = savedX.floats(in: workspace)
                if !accumulate { sums.initialize(repeating: 0, count: width) }
                workspace.kernels.layer_norm_backward(
                    nil, isGain ? sums : nil, isGain ? nil : sums, dy.pointer, x.pointer, nil, centres.pointer,
                    scales.pointer, rows, width, 0)
                withExtendedLifetime(x) {}
            }
        }
        accumulate(gain, isGain: true)
        accumulate(bias, isGain: false)
    }
}
