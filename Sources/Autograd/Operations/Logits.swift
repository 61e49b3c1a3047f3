import CKernels

/// scale · logits, and with a softcap softcap · tanh(scale · logits / softcap); no gradient.
package func finishedLogits(
    _ logits: consuming Tensor, scale: Float, softcap: Float?, in workspace: Workspace
) -> Tensor {
    guard scale != 1 || softcap != nil else { return logits }
    var result = consume logits
    let count = result.shape.count
    result.update(in: workspace) { values in
        workspace.threads.forEachRange(count, grain: elementGrain) { range, _ in
            let part = values + range.lowerBound
            workspace.kernels.add_scaled(part, part, scale / (softcap ?? 1), range.count, 0)
            guard let softcap else { return }
            workspace.kernels.gated_forward(part, part, nil, range.count, EK_TANH)
            workspace.kernels.add_scaled(part, part, softcap, range.count, 0)
        }
    }
    return result
}
