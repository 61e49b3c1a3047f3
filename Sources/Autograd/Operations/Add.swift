import CKernels

/// y = a + scale · b, with a and b of one shape; the residual connection.
package func add(_ a: Variable, _ b: Variable, scale: Float = 1) -> Variable {
    let workspace = a.tape.workspace
    precondition(a.value.shape == b.value.shape, "\(a.value.shape) + \(b.value.shape)")
    let count = a.value.shape.count
    let y = Tensor(a.value.shape, in: workspace) { y in
        workspace.threads.forEachRange(count, grain: elementGrain) { range, _ in
            let start = range.lowerBound
            workspace.kernels.sum(y + start, a.value.pointer + start, b.value.pointer + start, scale, range.count)
        }
    }
    let (da, db) = (a.slot, b.slot)
    return a.tape.record(y, from: a, b) { dy, adjoints in
        if scale == 1 {
            adjoints.give(dy, to: db)
        } else {
            adjoints.add(to: db) { d, accumulate in
                workspace.threads.forEachRange(count, grain: elementGrain) { range, _ in
                    let start = range.lowerBound
                    workspace.kernels.add_scaled(
                        d + start, dy.pointer + start, scale, range.count, accumulate ? 1 : 0)
                }
            }
        }
        adjoints.give(dy, to: da)
    }
}
