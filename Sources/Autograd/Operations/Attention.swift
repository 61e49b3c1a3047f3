import CKernels

/// The settings of one layer's attention.
package struct AttentionSettings: Sendable {
    package var heads: Int
    /// Each serves heads / keyValueHeads query heads (Ainslie et al. 2023).
    package var keyValueHeads: Int
    package var headDim: Int
    package var scale: Float
    /// Tokens that a query sees on each side including itself; nil: all. A causal plan leaves the side behind it.
    package var window: Int?
    /// Scores become softcap · tanh(score / softcap).
    package var softcap: Float?
    /// For each head, what its scores grow by with every position of the key; not together with a softcap.
    package var positionSlopes: [Float]?

    package init(
        heads: Int, keyValueHeads: Int, headDim: Int, scale: Float, window: Int? = nil, softcap: Float? = nil,
        positionSlopes: [Float]? = nil
    ) {
        precondition(heads % keyValueHeads == 0, "\(heads) heads over \(keyValueHeads) key/value heads")
        precondition(softcap == nil || positionSlopes == nil, "a softcap of biased scores")
        self.heads = heads
        self.keyValueHeads = keyValueHeads
        self.headDim = headDim
        self.scale = scale
        self.window = window
        self.softcap = softcap
        self.positionSlopes = positionSlopes
    }
}

/// softmax(scale · q·kᵀ + mask)·v for every head, with q [T, heads·D], k and v [T, keyValueHeads·D] and y like q.
///
/// Works in blocks with a running softmax and keeps only one number per row and head for the backward pass (Dao 2023).
package func attention(
    _ q: Variable, _ k: Variable, _ v: Variable, plan: AttentionPlan, _ settings: AttentionSettings
) -> Variable {
    let workspace = q.tape.workspace
    precondition(q.value.shape[0] == plan.rowCount, "q \(q.value.shape) for a plan of \(plan.rowCount) rows")
    // Where products are in bf16, q, k and v are rounded before their first use: the backward pass sees them so, and
    // probabilities computed from other scores would not add up to 1.
    let (keptQ, keptK, keptV) = (q.kept, k.kept, v.kept)
    let (roundedK, roundedV) = (keptK.floats(in: workspace), keptV.floats(in: workspace))
    let call = AttentionCall(
        q: keptQ.floats(in: workspace), k: roundedK.pointer, v: roundedV.pointer, plan: plan, settings: settings)
    let (output, lse) = call.forward(in: workspace)
    withExtendedLifetime((roundedK, roundedV)) {}
    let forms = ActivationForms()
    let isNeeded = q.tape.isRecording && (q.node != nil || k.node != nil || v.node != nil)
    let keptOutput = isNeeded ? forms.kept(output, in: workspace) : nil
    let (dqSlot, dkSlot, dvSlot) = (q.slot, k.slot, v.slot)
    return q.tape.record(output, from: q, k, v, forms: forms) { dy, adjoints in
        guard let keptOutput else { return }
        let (k, v) = (keptK.floats(in: workspace), keptV.floats(in: workspace))
        let call = AttentionCall(
            q: keptQ.floats(in: workspace), k: k.pointer, v: v.pointer, plan: plan, settings: settings)
        let gradients = call.backward(
            y: keptOutput.floats(in: workspace), dy: dy, lse: lse, keyShape: k.shape, in: workspace)
        withExtendedLifetime((k, v)) {}
        adjoints.give(gradients.dq, to: dqSlot)
        adjoints.give(gradients.dk, to: dkSlot)
        adjoints.give(gradients.dv, to: dvSlot)
    }
}

/// Attention of new rows q [Q, heads·D] over a cache of keys and values, each [rows, keyValueHeads·D]; no gradient.
package func attention(
    _ q: Tensor, keys: UnsafePointer<Float>, values: UnsafePointer<Float>, plan: AttentionPlan,
    _ settings: AttentionSettings, in workspace: Workspace
) -> Tensor {
    AttentionCall(q: q, k: keys, v: values, plan: plan, settings: settings).forward(in: workspace).y
}

private struct AttentionCall {
    let q: Tensor
    let k: UnsafePointer<Float>
    let v: UnsafePointer<Float>
    let plan: AttentionPlan
    let settings: AttentionSettings

    private var queryWidth: Int { settings.heads * settings.headDim }
    private var keyWidth: Int { settings.keyValueHeads * settings.headDim }
    private var group: Int { settings.heads / settings.keyValueHeads }

    /// The kernel's description of a block, whose query rows count from the keys' first row.
    private func block(
        _ block: AttentionPlan.Block, head: Int, ranges: UnsafePointer<ek_key_range>,
        scratch: UnsafeMutablePointer<Float>
    ) -> ek_attention_block {
        let keyOffset = head / group * settings.headDim
        let window = Int32(clamping: settings.window ?? Int(Int32.max))
        return ek_attention_block(
            q: q.pointer + head * settings.headDim + Int(block.queryRow - block.keyRow) * queryWidth, k: k + keyOffset,
            v: v + keyOffset,
            q_stride: queryWidth, kv_stride: keyWidth, q_start: block.keyRow, q_count: block.queryCount,
            q_position: block.queryPosition, window_behind: window, window_ahead: window,
            alibi_slope: settings.positionSlopes?[head] ?? 0,
            ranges: ranges + block.ranges.lowerBound,
            range_count: block.ranges.count, head_dim: Int32(settings.headDim), scale: settings.scale,
            softcap: settings.softcap ?? 0, scratch: scratch)
    }

    func forward(in workspace: Workspace) -> (y: Tensor, lse: Tensor) {
        let heads = settings.heads
        workspace.reserveScratch(count: ek_attention_scratch(settings.headDim))
        var lse = Tensor(Shape(plan.rowCount, heads), in: workspace) { _ in }  // written by the loop, every row
        var y = Tensor(Shape(plan.rowCount, queryWidth), in: workspace) { _ in }
        lse.update(in: workspace) { lse in
            y.update(in: workspace) { y in
                plan.ranges.withUnsafeBufferPointer { ranges in
                    workspace.threads.forEach(plan.blocks.count * heads) { index, worker in
                        let block = plan.blocks[index / heads]
                        let head = index % heads
                        let row = Int(block.queryRow)
                        var description = self.block(
                            block, head: head, ranges: ranges.baseAddress!,
                            scratch: workspace.scratch(worker: worker))
                        workspace.attention.forward(
                            &description, y + row * queryWidth + head * settings.headDim, queryWidth,
                            lse + row * heads + head, heads)
                    }
                }
            }
        }
        return (y, lse)
    }

    /// Gradients of q, k and v. A task is one query head of one tree, so nothing is written by two of them; the heads
    /// that share keys are summed afterwards, in order.
    func backward(
        y: Tensor, dy: Tensor, lse: Tensor, keyShape: Shape, in workspace: Workspace
    ) -> (dq: Tensor, dk: Tensor, dv: Tensor) {
        let (heads, headDim) = (settings.heads, settings.headDim)
        workspace.reserveScratch(count: ek_attention_scratch(headDim))
        let wide = Shape(plan.rowCount, queryWidth)
        var dq = Tensor(wide, in: workspace) { _ in }  // written by the loop, every row
        var dk = Tensor(wide, in: workspace) { _ in }  // zeroed by the tasks that add to them
        var dv = Tensor(wide, in: workspace) { _ in }
        dq.update(in: workspace) { dq in
            dk.update(in: workspace) { dk in
                dv.update(in: workspace) { dv in
                    plan.ranges.withUnsafeBufferPointer { ranges in
                        workspace.threads.forEach(plan.trees.count * heads) { index, worker in
                            let (tree, head) = (index / heads, index % heads)
                            for row in plan.treeRows[tree].joined() {
                                (dk + row * queryWidth + head * headDim).update(repeating: 0, count: headDim)
                                (dv + row * queryWidth + head * headDim).update(repeating: 0, count: headDim)
                            }
                            let scratch = workspace.scratch(worker: worker)
                            for block in plan.blocks[plan.trees[tree]] {
                                let offset = Int(block.queryRow) * queryWidth + head * headDim
                                var description = self.block(
                                    block, head: head, ranges: ranges.baseAddress!, scratch: scratch)
                                workspace.attention.backward(
                                    &description, y.pointer + offset, dy.pointer + offset, queryWidth,
                                    lse.pointer + Int(block.queryRow) * heads + head, heads, dq + offset,
                                    queryWidth, dk + head * headDim, dv + head * headDim, queryWidth)
                            }
                        }
                    }
                }
            }
        }
        return (dq, sumOverGroups(dk, keyShape, in: workspace), sumOverGroups(dv, keyShape, in: workspace))
    }

    private func sumOverGroups(_ wide: Tensor, _ shape: Shape, in workspace: Workspace) -> Tensor {
        guard group > 1 else { return wide.reshaped(shape) }
        let headDim = settings.headDim
        return Tensor(shape, in: workspace) { sum in
            workspace.threads.forEachRange(plan.rowCount, grain: rowGrain(width: queryWidth)) { rows, _ in
                for row in rows {
                    for head in 0..<settings.heads {
                        workspace.kernels.add_scaled(
                            sum + row * keyWidth + head / group * headDim,
                            wide.pointer + row * queryWidth + head * headDim, 1, headDim, head % group == 0 ? 0 : 1)
                    }
                }
            }
        }
    }
}
