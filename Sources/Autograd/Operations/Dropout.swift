import CKernels

/// Inverted dropout (Srivastava et al. 2014) whose mask follows from a key, so it is never stored: element i is kept
/// if hash(key, i) says so, and multiplied by 1 / (1 − rate).
package struct Dropout: Sendable {
    /// 0 ≤ rate < 1
    package let rate: Float
    package let key: UInt64

    package init(rate: Float, key: UInt64) {
        precondition(rate >= 0 && rate < 1, "a dropout rate of \(rate)")
        self.rate = rate
        self.key = key
    }

    func applied(to x: Tensor, in workspace: Workspace) -> Tensor {
        Tensor(x.shape, in: workspace) { apply(to: x, into: $0, accumulating: false, in: workspace) }
    }

    func apply(to x: Tensor, into y: UnsafeMutablePointer<Float>, accumulating: Bool, in workspace: Workspace) {
        workspace.threads.forEachRange(x.shape.count, grain: elementGrain) { range, _ in
            workspace.kernels.dropout(
                y + range.lowerBound, x.pointer + range.lowerBound, range.count, key, UInt64(range.lowerBound), rate,
                accumulating ? 1 : 0)
        }
    }
}

/// y = dropout(x); the backward pass draws the same mask again.
package func dropout(_ x: Variable, _ dropout: Dropout) -> Variable {
    let workspace = x.tape.workspace
    let slot = x.slot
    return x.tape.record(dropout.applied(to: x.value, in: workspace), from: x) { dy, adjoints in
        adjoints.add(to: slot) { dx, accumulate in
            dropout.apply(to: dy, into: dx, accumulating: accumulate, in: workspace)
        }
    }
}
