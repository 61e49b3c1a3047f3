import CKernels

/// The angles of a rotary embedding for the rows of a batch: cos and sin, [T, rotated / 2] each.
package struct RotaryTable: Sendable {
    package enum Pairing: Sendable {
        /// x[i] turns with x[i + rotated/2], as in Hugging Face's checkpoints.
        case half
        /// x[2i] turns with x[2i + 1], as in the original paper and GGUF's llama files.
        case interleaved
    }

    package let cosines: Tensor
    package let sines: Tensor
    package let pairing: Pairing

    package init(cosines: Tensor, sines: Tensor, pairing: Pairing) {
        precondition(cosines.shape == sines.shape, "cos \(cosines.shape), sin \(sines.shape)")
        self.cosines = cosines
        self.sines = sines
        self.pairing = pairing
    }

    /// y (+)= x turned by direction · angle; x, y: [T, heads, D].
    fileprivate func turn(
        _ x: UnsafePointer<Float>, into y: UnsafeMutablePointer<Float>, rows: Int, heads: Int, headDim: Int,
        direction: Float, accumulating: Bool, in workspace: Workspace
    ) {
        let half = cosines.shape[1]
        let width = heads * headDim
        workspace.threads.forEachRange(rows, grain: rowGrain(width: width)) { range, _ in
            let start = range.lowerBound
            workspace.kernels.rotate(
                y + start * width, x + start * width, cosines.pointer + start * half, sines.pointer + start * half,
                range.count, heads, headDim, half, pairing == .interleaved ? 1 : 0, direction, accumulating ? 1 : 0)
        }
    }
}

/// Rotates the pairs of the first `2 · table width` elements of every head by the row's angles; the rest passes.
///
/// x: [T, heads · D]. Source: Su et al. 2021. Rotates in place where nobody else holds x.
package func rotary(_ x: consuming Variable, table: RotaryTable, headDim: Int) -> Variable {
    let tape = x.tape
    let workspace = tape.workspace
    let slot = x.slot
    let (rows, heads) = (x.value.shape[0], x.value.shape[1] / headDim)
    precondition(table.cosines.shape[0] == rows, "angles \(table.cosines.shape) for x \(x.value.shape)")
    let needsGradient = x.node != nil
    var y = consume x
    y.value.update(in: workspace) {
        table.turn(
            $0, into: $0, rows: rows, heads: heads, headDim: headDim, direction: 1, accumulating: false, in: workspace)
    }
    guard needsGradient else { return tape.constant(y.value) }
    return tape.record(y.value, from: y) { dy, adjoints in
        adjoints.add(to: slot) { dx, accumulate in
            table.turn(
                dy.pointer, into: dx, rows: rows, heads: heads, headDim: headDim, direction: -1,
                accumulating: accumulate, in: workspace)
        }
    }
}
