package import Autograd
package import Batches
import NN

extension Decoder {
    /// What a forward pass over separate sequences computes, row by row, for comparison with another stack.
    package struct Trace {
        /// Logits [T, V], where T counts the tokens of all rows.
        package var logits: Tensor
        /// What enters layer K, and last what leaves the last layer.
        package var hidden: [Tensor]
        /// After the final norm.
        package var final: Tensor
    }

    /// Computes everything for `batch`; holds [T, V] logits, so it is for parity and small inputs.
    ///
    /// - Parameter paddedLength: of the rows of a stack that pads, whose rotary embedding may go by that length; nil:
    ///   by each sequence's own.
    package func trace(_ batch: PackedBatch, paddedLength: Int? = nil, in workspace: Workspace) -> Trace {
        let tape = Tape(workspace, recording: false)
        let context = ForwardContext(
            batch: batch, spec: spec, workspace: workspace, dropoutKey: nil, paddedLength: paddedLength)
        var hidden: [Tensor] = []
        let h = states(of: batch.tokens, context, on: tape) { _, value in hidden.append(value.value) }
        let final = finalNorm(h)
        return Trace(logits: logits(final), hidden: hidden, final: final.value)
    }
}

extension Decoder {
    /// Copies every weight into memory as floats that gradients are computed for. For comparisons of small models: a
    /// fine-tuning run never needs it.
    package func makeTrainable(in workspace: Workspace) {
        for (_, parameter) in allParameters() {
            parameter.replace(
                Tensor(parameter.shape, in: workspace) { parameter.decode(rows: 0..<parameter.shape[0], to: $0) })
            parameter.isTrainable = true
        }
    }
}
