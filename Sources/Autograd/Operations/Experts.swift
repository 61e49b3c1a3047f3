import CKernels

/// The rows that experts work on: one for each token and each of its experts, sorted by expert, then by token.
package struct ExpertRows: Sendable {
    /// The rows of each expert.
    let ranges: [Range<Int>]
    /// The token of each row.
    package let tokens: [Int32]
    /// The row of each token's first expert, of its second, and so on for every token.
    let rowOfChoice: [Int32]
    let perToken: Int

    /// - Parameter experts: `perToken` for each token, each below `count`.
    package init(experts: [Int32], perToken: Int, count: Int) {
        var ends = [Int](repeating: 0, count: count + 1)
        for expert in experts { ends[Int(expert) + 1] += 1 }
        for expert in 0..<count { ends[expert + 1] += ends[expert] }
        ranges = (0..<count).map { ends[$0]..<ends[$0 + 1] }
        var next = Array(ends.dropLast())
        var tokens = [Int32](repeating: 0, count: experts.count)
        rowOfChoice = experts.enumerated().map { choice, expert in
            let row = next[Int(expert)]
            next[Int(expert)] += 1
            tokens[row] = Int32(choice / perToken)
            return Int32(row)
        }
        self.tokens = tokens
        self.perToken = perToken
    }
}

/// y[t] = Σ weights[t, k] · x[row of t's k-th expert], with x [rows, C], weights [T, perToken] and y [T, C].
package func combineExperts(_ x: Variable, weights: Variable, _ rows: ExpertRows) -> Variable {
    let workspace = x.tape.workspace
    let (width, tokens, perToken) = (x.value.shape[1], weights.value.shape[0], rows.perToken)
    precondition(x.value.shape[0] == tokens * perToken, "x \(x.value.shape), weights \(weights.value.shape)")
    let grain = rowGrain(width: width * perToken)
    let y = Tensor(Shape(tokens, width), in: workspace) { y in
        workspace.threads.forEachRange(tokens, grain: grain) { range, _ in
            for token in range {
                for choice in token * perToken..<(token + 1) * perToken {
                    workspace.kernels.add_scaled(
                        y + token * width, x.value.pointer + Int(rows.rowOfChoice[choice]) * width,
                        weights.value.pointer[choice], width, choice % perToken == 0 ? 0 : 1)
                }
            }
        }
    }
    let (savedX, savedWeights, xSlot, weightSlot) = (x.value, weights.value, x.slot, weights.slot)
    return x.tape.record(y, from: x, weights) { dy, adjoints in
        func forEachChoice(_ body: (_ choice: Int, _ row: Int, _ dy: UnsafePointer<Float>) -> Void) {
            workspace.threads.forEachRange(tokens, grain: grain) { range, _ in
                for choice in range.lowerBound * perToken..<range.upperBound * perToken {
                    body(choice, Int(rows.rowOfChoice[choice]), dy.pointer + choice / perToken * width)
                }
            }
        }
        adjoints.add(to: xSlot) { dx, accumulate in
            forEachChoice { choice, row, dy in
                workspace.kernels.add_scaled(
                    dx + row * width, dy, savedWeights.pointer[choice], width, accumulate ? 1 : 0)
            }
        }
        adjoints.add(to: weightSlot) { dweights, accumulate in
            forEachChoice { choice, row, dy in
                let product = dot(dy, savedX.pointer + row * width, count: width)
                dweights[choice] = (accumulate ? dweights[choice] : 0) + product
            }
        }
    }
}

/// Σ a · b, eight partial sums at a time.
private func dot(_ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, count: Int) -> Float {
    var sums = SIMD8<Float>()
    var index = 0
    while index + 8 <= count {
        sums +=
            UnsafeRawPointer(a + index).loadUnaligned(as: SIMD8<Float>.self)
            * UnsafeRawPointer(b + index).loadUnaligned(as: SIMD8<Float>.self)
        index += 8
    }
    var rest: Float = 0
    while index < count {
        rest += a[index] * b[index]
        index += 1
    }
    return sums.sum() + rest
}

/// Low-rank updates of the stacked weights of all experts, as PEFT lays them out.
package struct ExpertLowRank {
    /// [experts · rank, in], one expert's rows after the other's
    package let a: Parameter
    /// [out, rank · experts], one column of every expert, then the next of every expert
    package let b: Parameter
    package let scale: Float
    let experts: Int
    /// The first of b's rows that belongs to the weights at hand.
    let firstRow: Int

    package init(a: Parameter, b: Parameter, scale: Float, experts: Int, firstRow: Int = 0) {
        precondition(a.shape[0] == b.shape[1] && a.shape[0] % experts == 0, "A \(a.shape), B \(b.shape)")
        self.a = a
        self.b = b
        self.scale = scale
        self.experts = experts
        self.firstRow = firstRow
    }

    var rank: Int { a.shape[0] / experts }
}

/// y = x·wₑᵀ + scale · x·Aₑᵀ·Bₑᵀ, where e is the row's expert; x [rows, in], every weight [out, in].
///
/// An expert without rows costs nothing.
package func expertLinear(
    _ x: Variable, _ rows: ExpertRows, weights: [Parameter], lowRank: ExpertLowRank? = nil
) -> Variable {
    let call = ExpertLinear(rows: rows, weights: weights, lowRank: lowRank, workspace: x.tape.workspace)
    let (y, projected) = call.forward(x.value)
    let keepsInput = weights.contains(where: \.isTrainable) || lowRank?.a.isTrainable == true
    let (savedX, slot) = (keepsInput ? x.value : nil, x.slot)
    return x.tape.record(y, from: x, parameters: weights + [lowRank?.a, lowRank?.b]) { dy, adjoints in
        call.backward(dy, x: savedX, projected: projected, slot: slot, adjoints: adjoints)
    }
}

private struct ExpertLinear {
    let rows: ExpertRows
    let weights: [Parameter]
    let lowRank: ExpertLowRank?
    let workspace: Workspace

    private var inputs: Int { weights[0].shape[1] }
    private var outputs: Int { weights[0].shape[0] }

    private func forEachExpert(_ body: (_ expert: Int, _ rows: Range<Int>) -> Void) {
        for (expert, range) in rows.ranges.enumerated() where !range.isEmpty { body(expert, range) }
    }

    /// Also x·Aₑᵀ of every row, [rows, rank].
    func forward(_ x: Tensor) -> (y: Tensor, projected: Tensor?) {
        let (inputs, outputs) = (inputs, outputs)
        precondition(x.shape == Shape(rows.tokens.count, inputs), "x \(x.shape) for weights \(weights[0].shape)")
        var y = Tensor(Shape(x.shape[0], outputs), in: workspace) { y in
            forEachExpert { expert, range in
                workspace.multiply(
                    x.pointer + range.lowerBound * inputs, rows: range.count, byTransposeOf: weights[expert],
                    into: y + range.lowerBound * outputs, accumulating: false)
            }
        }
        guard let lowRank else { return (y, nil) }
        let (rank, a) = (lowRank.rank, lowRank.a.asFloats(in: workspace))
        let projected = Tensor(Shape(x.shape[0], rank), in: workspace) { projected in
            forEachExpert { expert, range in
                workspace.multiply(
                    m: range.count, n: rank, k: inputs,
                    Operand(pointer: x.pointer + range.lowerBound * inputs, leadingDimension: inputs),
                    Operand(
                        pointer: a.pointer + expert * rank * inputs, leadingDimension: inputs, isTransposed: true),
                    into: projected + range.lowerBound * rank, leadingDimension: rank, accumulating: false)
            }
        }
        y.update(in: workspace) { y in
            forEachExpert { expert, range in
                let b = factorB(of: expert, lowRank)
                workspace.multiply(
                    m: range.count, n: outputs, k: rank,
                    Operand(pointer: projected.pointer + range.lowerBound * rank, leadingDimension: rank),
                    Operand(pointer: b.pointer, leadingDimension: rank, isTransposed: true),
                    into: y + range.lowerBound * outputs, leadingDimension: outputs, accumulating: true,
                    alpha: lowRank.scale)
            }
        }
        return (y, projected)
    }

    /// Bₑ, [out, rank].
    private func factorB(of expert: Int, _ lowRank: ExpertLowRank) -> Tensor {
        let (rank, experts) = (lowRank.rank, lowRank.experts)
        let all = lowRank.b.asFloats(in: workspace)
        return Tensor(Shape(outputs, rank), in: workspace) { b in
            for output in 0..<outputs {
                let row = all.pointer + (lowRank.firstRow + output) * rank * experts
                for index in 0..<rank { b[output * rank + index] = row[index * experts + expert] }
            }
        }
    }

    func backward(_ dy: Tensor, x: Tensor?, projected: Tensor?, slot: Slot, adjoints: Adjoints) {
        let (inputs, outputs) = (inputs, outputs)
        if let x {
            forEachExpert { expert, range in
                weights[expert].accumulateGradient(in: workspace) { dw, accumulate in
                    workspace.multiplyOuter(
                        dy.pointer + range.lowerBound * outputs, outputs: outputs,
                        x.pointer + range.lowerBound * inputs, inputs: inputs, rows: range.count, into: dw,
                        accumulating: accumulate)
                }
            }
        }
        adjoints.add(to: slot) { dx, accumulate in
            forEachExpert { expert, range in
                workspace.multiply(
                    dy.pointer + range.lowerBound * outputs, rows: range.count, by: weights[expert],
                    into: dx + range.lowerBound * inputs, accumulating: accumulate)
            }
        }
        guard let lowRank, let projected else { return }
        addGradientOfB(dy, projected: projected, lowRank)
        guard slot.isNeeded || lowRank.a.isTrainable else { return }
        let dprojected = gradientOfProjection(dy, lowRank)
        if let x { addGradientOfA(dprojected, x: x, lowRank) }
        let (rank, a) = (lowRank.rank, lowRank.a.asFloats(in: workspace))
        adjoints.add(to: slot) { dx, _ in
            forEachExpert { expert, range in
                workspace.multiply(
                    m: range.count, n: inputs, k: rank,
                    Operand(pointer: dprojected.pointer + range.lowerBound * rank, leadingDimension: rank),
                    Operand(pointer: a.pointer + expert * rank * inputs, leadingDimension: inputs),
                    into: dx + range.lowerBound * inputs, leadingDimension: inputs, accumulating: true)
            }
        }
    }

    /// scale · dy·Bₑ, [rows, rank]
    private func gradientOfProjection(_ dy: Tensor, _ lowRank: ExpertLowRank) -> Tensor {
        let (outputs, rank) = (outputs, lowRank.rank)
        return Tensor(Shape(dy.shape[0], rank), in: workspace) { out in
            forEachExpert { expert, range in
                let b = factorB(of: expert, lowRank)
                workspace.multiply(
                    m: range.count, n: rank, k: outputs,
                    Operand(pointer: dy.pointer + range.lowerBound * outputs, leadingDimension: outputs),
                    Operand(pointer: b.pointer, leadingDimension: rank), into: out + range.lowerBound * rank,
                    leadingDimension: rank, accumulating: false, alpha: lowRank.scale)
            }
        }
    }

    /// dAₑ += dpᵀ·x
    private func addGradientOfA(_ dprojected: Tensor, x: Tensor, _ lowRank: ExpertLowRank) {
        let (inputs, rank) = (inputs, lowRank.rank)
        lowRank.a.accumulateGradient(in: workspace) { da, accumulate in
            if !accumulate { da.update(repeating: 0, count: lowRank.a.shape.count) }
            forEachExpert { expert, range in
                workspace.multiplyOuter(
                    dprojected.pointer + range.lowerBound * rank, outputs: rank,
                    x.pointer + range.lowerBound * inputs, inputs: inputs, rows: range.count,
                    into: da + expert * rank * inputs, accumulating: true)
            }
        }
    }

    /// dBₑ += scale · dyᵀ·p
    private func addGradientOfB(_ dy: Tensor, projected: Tensor, _ lowRank: ExpertLowRank) {
        let (outputs, rank, experts) = (outputs, lowRank.rank, lowRank.experts)
        lowRank.b.accumulateGradient(in: workspace) { db, accumulate in
            if !accumulate { db.update(repeating: 0, count: lowRank.b.shape.count) }
            forEachExpert { expert, range in
                let own = Tensor(Shape(outputs, rank), in: workspace) {
                    workspace.multiplyOuter(
                        dy.pointer + range.lowerBound * outputs, outputs: outputs,
                        projected.pointer + range.lowerBound * rank, inputs: rank, rows: range.count, into: $0,
                        accumulating: false, scale: lowRank.scale)
                }
                for output in 0..<outputs {
                    let row = db + (lowRank.firstRow + output) * rank * experts
                    for index in 0..<rank { row[index * experts + expert] += own.pointer[output * rank + index] }
                }
            }
        }
    }
}
