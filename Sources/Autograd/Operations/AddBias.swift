import CKernels

/// y[t] = x[t] + scale · bias, with x and y [T, out] and bias [out].
package func addBias(_ x: Variable, _ bias: Parameter, scale: Float) -> Variable {
    let workspace = x.tape.workspace
    let (rows, width) = (x.value.shape[0], x.value.shape[1])
    precondition(bias.shape.count == width, "bias \(bias.shape) for \(x.value.shape)")
    let y = Tensor(x.value.shape, in: workspace) { y in
        bias.withFloats(in: workspace) { bias in
            workspace.threads.forEachRange(rows, grain: rowGrain(width: width)) { range, _ in
                for row in range {
                    let offset = row * width
                    workspace.kernels.sum(y + offset, x.value.pointer + offset, bias, scale, width)
                }
            }
        }
    }
    let slot = x.slot
    return x.tape.record(y, from: x, parameters: [bias]) { dy, adjoints in
        accumulateColumnSums(of: dy, into: bias, scale: scale, in: workspace)
        adjoints.give(dy, to: slot)
    }
}

/// Adds scale times the sum over the rows of `dy` to the gradient of `bias`.
func accumulateColumnSums(of dy: Tensor, into bias: Parameter, scale: Float = 1, in workspace: Workspace) {
    let (rows, width) = (dy.shape[0], dy.shape[1])
    bias.accumulateGradient(in: workspace) { sums, accumulate in
        workspace.threads.forEachRange(width, grain: 64) { columns, _ in
            let (first, count) = (columns.lowerBound, columns.count)
            if !accumulate { (sums + first).initialize(repeating: 0, count: count) }
            for row in 0..<rows {
                workspace.kernels.add_scaled(sums + first, dy.pointer + row * width + first, scale, count, 1)
            }
        }
    }
}
