import CKernels

/// y[t, o] = x[t, o] · magnitude[o] / length[o] + bias[o]: what a layer gives whose weight's rows, of these lengths, are
/// stretched to these magnitudes. With x and y [T, out].
///
/// The lengths are constants to the gradient, as in DoRA (Liu et al. 2024, section 4.3).
package func scaleColumns(
    _ x: Variable, by magnitude: Parameter, over lengths: Tensor, bias: Parameter? = nil
) -> Variable {
    let workspace = x.tape.workspace
    let (rows, width) = (x.value.shape[0], x.value.shape[1])
    precondition(magnitude.shape.count == width && lengths.shape.count == width, "magnitudes of another width")
    let factors = Tensor(Shape(width), in: workspace) { factors in
        magnitude.withFloats(in: workspace) { magnitude in
            workspace.threads.forEachRange(width, grain: elementGrain) { range, _ in
                // A row of zeros has no direction, and gives nothing whatever its magnitude.
                for o in range { factors[o] = lengths.pointer[o] > 0 ? magnitude[o] / lengths.pointer[o] : 0 }
            }
        }
    }
    let y = Tensor(x.value.shape, in: workspace) { y in
        multiplyColumns(of: x.value, by: factors, into: y, accumulating: false, in: workspace)
        if let bias { addBias(bias, to: y, rows: rows, in: workspace) }
    }
    let saved = x.tape.isRecording && magnitude.isTrainable ? x.kept : nil
    let slot = x.slot
    return x.tape.record(y, from: x, parameters: [magnitude, bias]) { dy, adjoints in
        if let bias { accumulateColumnSums(of: dy, into: bias, in: workspace) }
        if let saved {
            let x = saved.floats(in: workspace)
            magnitude.accumulateGradient(in: workspace) { gradient, accumulate in
                workspace.threads.forEachRange(width, grain: 64) { columns, _ in
                    addProducts(
                        of: dy, x, rows: rows, columns, over: lengths, into: gradient, accumulating: accumulate)
                }
            }
        }
        adjoints.add(to: slot) { dx, accumulate in
            multiplyColumns(of: dy, by: factors, into: dx, accumulating: accumulate, in: workspace)
        }
    }
}

/// The Euclidean length of every row of w + Σ scale · b·a, [out]: w decoded some rows at a time.
package func rowLengths(of w: Parameter, plus terms: [LowRankTerm], in workspace: Workspace) -> Tensor {
    let (outputs, inputs) = (w.shape[0], w.shape[1])
    let a = terms.map { $0.a.floatTensor(in: workspace) }
    let b = terms.map { term in
        Tensor(term.b.shape, in: workspace) {
            workspace.addScaled(term.b.floatTensor(in: workspace), term.scale, to: $0, accumulating: false)
        }
    }
    let grain = min(outputs, max(1, 65_536 / max(1, inputs)))
    workspace.reserveScratch(count: grain * inputs)
    return Tensor(Shape(outputs), in: workspace) { lengths in
        workspace.threads.forEachRange(outputs, grain: grain) { range, worker in
            let rows = workspace.scratch(worker: worker)
            w.decode(rows: range, to: rows)
            for (index, term) in terms.enumerated() {
                let rank = term.a.shape[0]
                workspace.kernels.gemm_small(
                    range.count, inputs, rank, b[index].pointer + range.lowerBound * rank, rank, 1, a[index].pointer,
                    inputs, rows, inputs, 1)
            }
            for row in range {
                let start = rows + (row - range.lowerBound) * inputs
                lengths[row] = Float(workspace.kernels.squared_norm(start, inputs).squareRoot())
            }
        }
    }
}

extension Parameter {
    /// The values as floats, decoded if they are not.
    func floatTensor(in workspace: Workspace) -> Tensor {
        floats ?? Tensor(shape, in: workspace) { decode(rows: 0..<shape[0], to: $0) }
    }
}

/// y[t, o] (+)= x[t, o] · factors[o]
private func multiplyColumns(
    of x: Tensor, by factors: Tensor, into y: UnsafeMutablePointer<Float>, accumulating: Bool, in workspace: Workspace
) {
    let (rows, width) = (x.shape[0], x.shape[1])
    workspace.threads.forEachRange(rows, grain: rowGrain(width: width)) { range, _ in
        for row in range {
            let (from, to) = (x.pointer + row * width, y + row * width)
            if accumulating {
                for o in 0..<width { to[o] += from[o] * factors.pointer[o] }
            } else {
                for o in 0..<width { to[o] = from[o] * factors.pointer[o] }
            }
        }
    }
}

/// gradient[o] (+)= Σ dy[t, o] · x[t, o] / lengths[o] over the rows, for some columns.
private func addProducts(
    of dy: Tensor, _ x: Tensor, rows: Int, _ columns: Range<Int>, over lengths: Tensor,
    into gradient: UnsafeMutablePointer<Float>, accumulating: Bool
) {
    let width = dy.shape[1]
    for o in columns {
        var sum: Float = 0
        for row in 0..<rows { sum += dy.pointer[row * width + o] * x.pointer[row * width + o] }
        let value = lengths.pointer[o] > 0 ? sum / lengths.pointer[o] : 0
        gradient[o] = accumulating ? gradient[o] + value : value
    }
}
