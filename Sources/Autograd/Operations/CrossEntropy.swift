import CKernels

/// What a model should have said: a token or a label at rows of its hidden states.
package struct Predictions: Sendable {
    /// The row of the hidden states that predicts, ascending; a row may predict several targets.
    package let rows: [Int32]
    package let targets: [Int32]
    package let weights: [Float]

    package init(rows: [Int32], targets: [Int32], weights: [Float]) {
        precondition(rows.count == targets.count && rows.count == weights.count, "predictions of unequal lengths")
        precondition(zip(rows, rows.dropFirst()).allSatisfy { $0 <= $1 }, "rows of predictions must ascend")
        self.rows = rows
        self.targets = targets
        self.weights = weights
    }

    package var count: Int { rows.count }
}

/// What each prediction counts in a loss, by −log p of all of them: the loss's derivative.
package typealias PredictionWeighting = ([Float]) -> [Float]

/// The weighted sum of −log p(target), in nats, and each prediction's own.
package struct CrossEntropy {
    package let sum: Variable
    /// −log p(target) of each prediction, without its weight.
    package let perPrediction: [Float]
}

/// Cross-entropy of softmax(h·wᵀ + scale · h·aᵀ·bᵀ + bias) with h [P, C] (one row for each distinct row of
/// `predictions`), w [V, C], and the low-rank term and bias [V] where there are any; `replaced` columns have rows of their own.
///
/// The [P, V] logits exist only some rows at a time, about `logitBytes` of them: each chunk is turned into its loss and
/// its gradient, which costs no second product. Softcap as in Gemma 2: logits become cap · tanh(logits / cap).
///
/// - Parameter weighting: what each prediction counts, by −log p of all of them, for losses that are no sum over
///   predictions; the weights of `predictions` are then of no account. The logits are computed once more for it.
package func crossEntropy(
    _ hidden: Variable, head w: Parameter, bias: Parameter? = nil, lowRank: LowRankTerm? = nil,
    replaced: ReplacedColumns? = nil, predictions: Predictions, logitScale: Float = 1, softcap: Float? = nil,
    logitBytes: Int = 64 << 20, weighting: PredictionWeighting? = nil
) -> CrossEntropy {
    var predictions = predictions
    if let weighting {
        let losses = crossEntropy(
            Variable(value: hidden.value, tape: Tape(hidden.tape.workspace, recording: false), node: nil), head: w,
            bias: bias, lowRank: lowRank, replaced: replaced,
            predictions: predictions, logitScale: logitScale, softcap: softcap, logitBytes: logitBytes
        ).perPrediction
        predictions = Predictions(
            rows: predictions.rows, targets: predictions.targets, weights: weighting(losses))
    }
    let tape = hidden.tape
    let workspace = tape.workspace
    let (rows, width, vocabulary) = (hidden.value.shape[0], w.shape[1], w.shape[0])
    let groups = predictions.byRow
    precondition(groups.count == rows, "\(rows) hidden rows for \(groups.count) predicting ones")
    let needsHidden = tape.isRecording && hidden.node != nil
    let needsHead = tape.isRecording && w.isTrainable
    let needsBias = tape.isRecording && bias?.isTrainable == true

    var losses = [Float](repeating: 0, count: predictions.count)
    var dHidden = needsHidden ? Tensor(hidden.value.shape, in: workspace) { _ in } : nil  // written chunk by chunk
    var dHead: Tensor?
    var dBias = needsBias ? Tensor(zeros: Shape(vocabulary), in: workspace) : nil
    var dReplaced: Tensor?
    if tape.isRecording, let replaced, replaced.table.isTrainable {
        dReplaced = Tensor(zeros: replaced.table.shape, in: workspace)
    }
    var projection = lowRank.map { HeadProjection($0, isRecording: tape.isRecording, in: workspace) }
    let chunkRows = max(16, min(512, logitBytes / (4 * vocabulary)))
    for start in stride(from: 0, to: rows, by: chunkRows) {
        let chunk = start..<min(rows, start + chunkRows)
        var logits = Tensor(Shape(chunk.count, vocabulary), in: workspace) { logits in
            let h = hidden.value.pointer + chunk.lowerBound * width
            workspace.multiply(h, rows: chunk.count, byTransposeOf: w, into: logits, accumulating: false)
            if let bias { addBias(bias, to: logits, rows: chunk.count, in: workspace) }
            projection?.addTerm(h, rows: chunk.count, to: logits)
            replaced?.write(h, rows: chunk.count, to: logits, width: vocabulary, in: workspace)
            losses.withUnsafeMutableBufferPointer { losses in
                let step = LossStep(
                    predictions: predictions, groups: groups, vocabulary: vocabulary, scale: logitScale,
                    softcap: softcap, losses: losses.baseAddress!)
                workspace.threads.forEach(chunk.count) { row, _ in
                    step.run(logits + row * vocabulary, row: chunk.lowerBound + row, kernels: workspace.kernels)
                }
            }
        }
        let ownColumns = tape.isRecording ? replaced?.take(from: &logits, in: workspace) : nil
        dHidden?.update(in: workspace) { dh in
            workspace.multiply(
                logits.pointer, rows: chunk.count, by: w, into: dh + chunk.lowerBound * width, accumulating: false)
        }
        let h = hidden.value.pointer + chunk.lowerBound * width
        projection?.addGradients(logits, h: h, to: &dHidden, from: chunk.lowerBound)
        if let replaced, let ownColumns {
            dHidden?.update(in: workspace) { dh in
                workspace.multiply(
                    ownColumns.pointer, rows: chunk.count, by: replaced.table, into: dh + chunk.lowerBound * width,
                    accumulating: true)
            }
            dReplaced?.update(in: workspace) { dtable in
                workspace.multiplyOuter(
                    ownColumns.pointer, outputs: replaced.columns.count, h, inputs: width, rows: chunk.count,
                    into: dtable, accumulating: true)
            }
        }
        dBias?.update(in: workspace) { sums in
            workspace.threads.forEach(1) { _, _ in
                for row in 0..<chunk.count {
                    workspace.kernels.add_scaled(sums, logits.pointer + row * vocabulary, 1, vocabulary, 1)
                }
            }
        }
        guard needsHead else { continue }
        if dHead == nil { dHead = Tensor(zeros: w.shape, in: workspace) }
        dHead?.update(in: workspace) { dw in
            workspace.multiplyOuter(
                logits.pointer, outputs: vocabulary, h, inputs: width, rows: chunk.count, into: dw, accumulating: true)
        }
    }
    var total = 0.0
    for (loss, weight) in zip(losses, predictions.weights) { total += Double(loss) * Double(weight) }
    let (slot, dh, dw, db) = (hidden.slot, dHidden, dHead, dBias)
    let (da, dlow, dtable) = (projection?.da, projection?.db, dReplaced)
    let sum = tape.record(
        Tensor(Shape(1), [Float(total)], in: workspace), from: hidden,
        parameters: [w, bias, lowRank?.a, lowRank?.b, replaced?.table]
    ) { dy, adjoints in
        let scale = dy[0]
        if let dh {
            adjoints.add(to: slot) { out, accumulate in
                workspace.addScaled(dh, scale, to: out, accumulating: accumulate)
            }
        }
        for case (let parameter?, let gradient?) in [
            (w, dw), (bias, db), (lowRank?.a, da), (lowRank?.b, dlow), (replaced?.table, dtable),
        ] {
            parameter.accumulateGradient(in: workspace) { out, accumulate in
                workspace.addScaled(gradient, scale, to: out, accumulating: accumulate)
            }
        }
    }
    return CrossEntropy(sum: sum, perPrediction: losses)
}

extension Predictions {
    /// The predictions of each distinct row.
    var byRow: [Range<Int>] {
        var groups: [Range<Int>] = []
        for index in rows.indices {
            if index > 0, rows[index] == rows[index - 1] {
                groups[groups.count - 1] = groups[groups.count - 1].lowerBound..<index + 1
            } else {
                groups.append(index..<index + 1)
            }
        }
        return groups
    }

    /// The distinct rows, ascending.
    package var distinctRows: [Int32] { byRow.map { rows[$0.lowerBound] } }
}

/// Turns one row of logits into its losses and, in place, into the gradient of the weighted sum.
private struct LossStep {
    let predictions: Predictions
    let groups: [Range<Int>]
    let vocabulary: Int
    let scale: Float
    let softcap: Float?
    let losses: UnsafeMutablePointer<Float>

    func run(_ logits: UnsafeMutablePointer<Float>, row: Int, kernels: ek_kernels) {
        let group = groups[row]
        var weight: Float = 0
        for index in group { weight += predictions.weights[index] }
        if scale != 1 { kernels.add_scaled(logits, logits, scale, vocabulary, 0) }
        var slopes: [Float] = []
        if let softcap {
            slopes.reserveCapacity(vocabulary)
            kernels.add_scaled(logits, logits, 1 / softcap, vocabulary, 0)
            kernels.gated_forward(logits, logits, nil, vocabulary, EK_TANH)
            for index in 0..<vocabulary { slopes.append(1 - logits[index] * logits[index]) }
            kernels.add_scaled(logits, logits, softcap, vocabulary, 0)
        }
        let targetLogits = group.map { logits[Int(predictions.targets[$0])] }
        let logSumExp = kernels.softmax_row(logits, vocabulary, weight)
        for (index, logit) in zip(group, targetLogits) {
            losses[index] = logSumExp - logit
            logits[Int(predictions.targets[index])] -= predictions.weights[index]
        }
        for (index, slope) in slopes.enumerated() { logits[index] *= slope }
        if scale != 1 { kernels.add_scaled(logits, logits, scale, vocabulary, 0) }
    }
}
