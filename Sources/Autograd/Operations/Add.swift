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
            adjoints.add(to: db) { d, accumulate in workspace.addScaled(dy, scale, to: d, accumulating: accumulate) }
        }
        adjoints.give(dy, to: da)
    }
}

extension Workspace {
    /// y (+)= scale · x, element by element; y may be x.
    func addScaled(
        _ x: UnsafePointer<Float>, count: Int, _ scale: Float, to y: UnsafeMutablePointer<Float>, accumulating: Bool
    ) {
        threads.forEachRange(count, grain: elementGrain) { range, _ in
            kernels.add_scaled(y + range.lowerBound, x + range.lowerBound, scale, range.count, accumulating ? 1 : 0)
        }
    }

    func addScaled(_ x: Tensor, _ scale: Float, to y: UnsafeMutablePointer<Float>, accumulating: Bool) {
        addScaled(x.pointer, count: x.shape.count, scale, to: y, accumulating: accumulating)
    }
}
