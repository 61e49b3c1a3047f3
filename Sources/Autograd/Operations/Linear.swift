import CKernels

/// A low-rank update of a linear layer (Hu et al. 2021): y += scale · dropout(x)·Aᵀ·Bᵀ.
package struct LowRankTerm {
    /// [rank, in]
    package let a: Parameter
    /// [out, rank]
    package let b: Parameter
    package let scale: Float
    /// The share of x's elements that are dropped before A, and the key of the drawing; nil: none.
    package let dropout: Dropout?

    package init(a: Parameter, b: Parameter, scale: Float, dropout: Dropout? = nil) {
        self.a = a
        self.b = b
        self.scale = scale
        self.dropout = dropout
    }
}

/// y = x·wᵀ + bias, plus the low-rank term, with x [T, in], w [out, in], bias [out] and y [T, out].
///
/// A frozen w needs no gradient, so x is kept only where w or A is trained.
package func linear(
    _ x: Variable, weight w: Parameter, bias: Parameter? = nil, lowRank: LowRankTerm? = nil
) -> Variable {
    let workspace = x.tape.workspace
    let (rows, inputs, outputs) = (x.value.shape[0], w.shape[1], w.shape[0])
    precondition(x.value.shape[1] == inputs, "x \(x.value.shape) for a weight \(w.shape)")
    var projected: Tensor?  // scale-free dropout(x)·Aᵀ, [T, rank]
    let y = Tensor(Shape(rows, outputs), in: workspace) { y in
        projected = multiply(x, by: w, lowRank, into: y)
        if let bias { addBias(bias, to: y, rows: rows, in: workspace) }
    }
    let keepsInput = x.tape.isRecording && (w.isTrainable || lowRank?.a.isTrainable == true)
    let savedX = keepsInput ? x.kept : nil
    let slot = x.slot
    return x.tape.record(y, from: x, parameters: [w, bias, lowRank?.a, lowRank?.b]) { dy, adjoints in
        if let bias { accumulateColumnSums(of: dy, into: bias, in: workspace) }
        if let savedX {
            w.accumulateGradient(in: workspace) { dw, accumulate in
                workspace.multiplyOuter(
                    dy.pointer, outputs: outputs, savedX, into: dw, accumulating: accumulate)
            }
        }
        if let lowRank, let projected {
            lowRank.backward(dy, weight: w, x: savedX, projected: projected, slot: slot, adjoints: adjoints)
        } else {
            adjoints.add(to: slot) { dx, accumulate in
                workspace.multiply(dy.pointer, rows: rows, by: w, into: dx, accumulating: accumulate)
            }
        }
    }
}

/// y = x·wᵀ + scale · dropout(x)·Aᵀ·Bᵀ; returns dropout(x)·Aᵀ.
private func multiply(
    _ x: Variable, by w: Parameter, _ term: LowRankTerm?, into y: UnsafeMutablePointer<Float>
) -> Tensor? {
    let workspace = x.tape.workspace
    let (rows, inputs) = (x.value.shape[0], x.value.shape[1])
    guard let term else {
        if workspace.blocks(of: w, rows: rows) == nil, let packed = x.packed(room: 0) {
            packed.keepOnly(depth: inputs)
            packed.multiply(byTransposeOf: w, into: y, accumulating: false)
        } else {
            workspace.multiply(x.value.pointer, rows: rows, byTransposeOf: w, into: y, accumulating: false)
        }
        return nil
    }
    let rank = term.a.shape[0]
    let input = term.dropout.map { $0.applied(to: x.value, in: workspace) } ?? x.value
    defer { withExtendedLifetime(input) {} }
    if let blocks = workspace.blocks(of: w, rows: rows) {
        let projected = Tensor(Shape(rows, rank), in: workspace) {
            workspace.multiply(input.pointer, rows: rows, byTransposeOf: term.a, into: $0, accumulating: false)
        }
        term.b.withFloats(in: workspace) { b in
            workspace.multiply(
                x.value.pointer, rows: rows, byTransposeOf: blocks,
                lowRank: LowRankFactor(p: projected.pointer, b: b, rank: rank, scale: term.scale), into: y,
                accumulating: false)
        }
        return projected
    }
    // [x | scale · p]·[w | B]ᵀ is one product, and x is packed once for all layers that take it.
    if let packed = x.packed(room: rank) {
        packed.keepOnly(depth: inputs)
        let projected = Tensor(Shape(rows, rank), in: workspace) {
            if term.dropout == nil {
                packed.multiply(byTransposeOf: term.a, into: $0, accumulating: false)
            } else {
                workspace.multiply(input.pointer, rows: rows, byTransposeOf: term.a, into: $0, accumulating: false)
            }
        }
        packed.append(projected.pointer, depth: rank, scale: term.scale)
        packed.multiply(byTransposeOf: w, and: term.b, into: y, accumulating: false)
        return projected
    }
    let projected = Tensor(Shape(rows, rank), in: workspace) {
        workspace.multiply(input.pointer, rows: rows, byTransposeOf: term.a, into: $0, accumulating: false)
    }
    workspace.multiply(x.value.pointer, rows: rows, byTransposeOf: w, into: y, accumulating: false)
    let outputs = w.shape[0]
    term.b.withFloats(in: workspace) { b in
        workspace.multiply(
            m: rows, n: outputs, k: rank, Operand(pointer: projected.pointer, leadingDimension: rank),
            Operand(pointer: b, leadingDimension: rank, isTransposed: true), into: y, leadingDimension: outputs,
            accumulating: true, alpha: term.scale)
    }
    return projected
}

extension LowRankTerm {
    /// Adds the gradients of A and B, and with those of the whole layer's product dx = dy·w + scale · (dy·B)·A.
    fileprivate func backward(
        _ dy: Tensor, weight w: Parameter, x: KeptActivation?, projected: Tensor, slot: Slot, adjoints: Adjoints
    ) {
        let workspace = adjoints.workspace
        let (rows, rank) = (dy.shape[0], a.shape[0])
        addGradientOfB(dy, projected: projected, in: workspace)
        guard slot.isNeeded || a.isTrainable else { return }
        let packed = workspace.packed(dy.pointer, rows: rows, depth: dy.shape[1], extra: rank, byTranspose: false)
        let dprojected = gradientOfProjection(dy, packed: packed, in: workspace)
        if let x, a.isTrainable {
            let input = dropout.map {
                KeptActivation($0.applied(to: x.floats(in: workspace), in: workspace), in: workspace)
            }
            a.accumulateGradient(in: workspace) { da, accumulate in
                workspace.multiplyOuter(
                    dprojected.pointer, outputs: rank, input ?? x, into: da, accumulating: accumulate)
            }
        }
        if let packed, dropout == nil {
            packed.append(dprojected.pointer, depth: rank)
            return adjoints.add(to: slot) { dx, accumulate in
                packed.multiply(by: w, and: a, into: dx, accumulating: accumulate)
            }
        }
        adjoints.add(to: slot) { dx, accumulate in
            if let packed {
                packed.multiply(by: w, into: dx, accumulating: accumulate)
            } else {
                workspace.multiply(dy.pointer, rows: rows, by: w, into: dx, accumulating: accumulate)
            }
        }
        addGradientOfInput(dprojected, slot: slot, adjoints: adjoints)
    }

    /// db += scale · dyᵀ·p
    private func addGradientOfB(_ dy: Tensor, projected: Tensor, in workspace: Workspace) {
        let (rows, outputs, rank) = (dy.shape[0], b.shape[0], b.shape[1])
        b.accumulateGradient(in: workspace) { db, accumulate in
            workspace.multiplyOuter(
                dy.pointer, outputs: outputs, projected.pointer, inputs: rank, rows: rows, into: db,
                accumulating: accumulate, scale: scale)
        }
    }

    /// scale · dy·B, [T, rank]
    private func gradientOfProjection(_ dy: Tensor, packed: PackedRows?, in workspace: Workspace) -> Tensor {
        let (rows, outputs, rank) = (dy.shape[0], b.shape[0], b.shape[1])
        var result = Tensor(Shape(rows, rank), in: workspace) { out in
            if let packed { return packed.multiply(by: b, into: out, accumulating: false) }
            b.withFloats(in: workspace) { b in
                workspace.multiply(
                    m: rows, n: rank, k: outputs, Operand(pointer: dy.pointer, leadingDimension: outputs),
                    Operand(pointer: b, leadingDimension: rank), into: out, leadingDimension: rank,
                    accumulating: false, alpha: scale)
            }
        }
        if packed != nil {
            result.update(in: workspace) {
                workspace.addScaled($0, count: rows * rank, scale, to: $0, accumulating: false)
            }
        }
        return result
    }

    /// dx += dp·A, through the dropout
    private func addGradientOfInput(_ dprojected: Tensor, slot: Slot, adjoints: Adjoints) {
        let workspace = adjoints.workspace
        let (rows, inputs) = (dprojected.shape[0], a.shape[1])
        guard let dropout else {
            return adjoints.add(to: slot) { dx, accumulate in
                workspace.multiply(dprojected.pointer, rows: rows, by: a, into: dx, accumulating: accumulate)
            }
        }
        guard slot.isNeeded else { return }
        let dinput = Tensor(Shape(rows, inputs), in: workspace) {
            workspace.multiply(dprojected.pointer, rows: rows, by: a, into: $0, accumulating: false)
        }
        adjoints.add(to: slot) { dx, accumulate in
            dropout.apply(to: dinput, into: dx, accumulating: accumulate, in: workspace)
        }
    }
}

extension Parameter {
    /// Calls `body` with all values as floats; a low-rank factor is small enough to be decoded whole.
    func withFloats(in workspace: Workspace, _ body: (UnsafePointer<Float>) -> Void) {
        if let floats { return body(floats.pointer) }
        let decoded = Tensor(shape, in: workspace) { decode(rows: 0..<shape[0], to: $0) }
        body(decoded.pointer)
        withExtendedLifetime(decoded) {}
    }
}

/// Adds `bias` [width] to each of the rows of `y`.
func addBias(_ bias: Parameter, to y: UnsafeMutablePointer<Float>, rows: Int, in workspace: Workspace) {
    let width = bias.shape.count
    bias.withFloats(in: workspace) { bias in
        workspace.threads.forEachRange(rows, grain: rowGrain(width: width)) { range, _ in
            for row in range { workspace.kernels.add_scaled(y + row * width, bias, 1, width, 1) }
        }
    }
}
