package import Autograd
package import Batches

extension TaskSpec.Pooling {
    /// One row for each sequence of `batch`: [B, C], from states [T, C].
    func callAsFunction(_ states: Variable, _ batch: PackedBatch) -> Variable {
        precondition(batch.segments.count == batch.exampleCount, "sequences that share their beginnings")
        switch self {
        case .first: return gatherRows(states, batch.segments.map { Int32($0.start) })
        case .mean: return meanRows(states, batch.segments.map(\.range))
        case .last(let padding):
            return gatherRows(
                states,
                batch.segments.map { segment in
                    let last = segment.range.last { padding == nil || Int(batch.tokens[$0]) != padding }
                    return Int32(last ?? segment.start)
                })
        }
    }
}

extension LanguageModel {
    /// A vector for each sequence of `batch`, made of its final states: [B, C].
    ///
    /// - Parameters:
    ///   - batch: sequences that share no beginnings.
    ///   - normalizing: divides each vector by its length, so that products of vectors are cosines.
    package func embeddings(
        of batch: PackedBatch, pooling: TaskSpec.Pooling, normalizing: Bool = false, in workspace: Workspace
    ) -> Tensor {
        let context = ForwardContext(batch: batch, spec: spec, workspace: workspace, dropoutKey: nil)
        var pooled = pooling(finalStates(batch, context, on: Tape(workspace, recording: false)), batch).value
        guard normalizing else { return pooled }
        let (count, width) = (pooled.shape[0], pooled.shape[1])
        pooled.update(in: workspace) { values in
            for row in 0..<count {
                let vector = UnsafeMutableBufferPointer(start: values + row * width, count: width)
                let length = vector.reduce(0.0) { $0 + Double($1) * Double($1) }.squareRoot()
                guard length > 0 else { continue }
                for index in vector.indices { vector[index] = Float(Double(vector[index]) / length) }
            }
        }
        return pooled
    }
}
