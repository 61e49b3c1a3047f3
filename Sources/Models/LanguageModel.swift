package import Autograd
package import Batches
package import NN

/// A base model: a transformer with whatever stands on its states. Adapters attach to its linear layers.
///
/// One task at a time may use it. Paths of its modules (`model.layers.0.self_attn.q_proj`) are the names that
/// transformers and PEFT have for them.
package protocol LanguageModel: Module {
    var backbone: Backbone { get }

    /// The loss of a packed batch, summed over its weighted predictions, in nats.
    ///
    /// - Parameters:
    ///   - dropoutKey: of this step; nil: evaluation, no dropout.
    ///   - paddedLength: of the rows of a stack that pads, whose rotary embedding may go by that length; nil: by each
    ///     sequence's own.
    ///   - economy: what is computed twice, or in smaller parts, to take less memory.
    ///   - weighting: what each prediction counts instead of the batch's weights (see `crossEntropy`).
    func loss(
        _ batch: PackedBatch, on tape: Tape, dropoutKey: UInt64?, paddedLength: Int?, economy: MemoryEconomy,
        weighting: PredictionWeighting?
    ) -> CrossEntropy

    /// Everything about separate sequences, for comparison with another stack; it holds all scores, so it is for
    /// small inputs.
    func trace(_ batch: PackedBatch, paddedLength: Int?, in workspace: Workspace) -> Trace
}

/// What a forward pass over separate sequences computes, row by row.
package struct Trace {
    /// Scores of every token, [T, V], or of every sequence, [B, V]; nil for a model without a head.
    package var logits: Tensor?
    /// What enters layer K, and last what leaves the last layer.
    package var hidden: [Tensor]
    /// After the final norm.
    package var final: Tensor
}

/// How a pass over a model trades time for memory.
package struct MemoryEconomy: Sendable, Equatable {
    /// Whether a layer keeps only its input and is computed once more in the backward pass.
    package var recomputesLayers = false
    /// The most bytes of logits that exist at once.
    package var logitBytes = 64 << 20

    package init(recomputesLayers: Bool = false, logitBytes: Int = 64 << 20) {
        self.recomputesLayers = recomputesLayers
        self.logitBytes = logitBytes
    }
}

extension LanguageModel {
    /// The loss with the batch's own weights.
    package func loss(
        _ batch: PackedBatch, on tape: Tape, dropoutKey: UInt64?, paddedLength: Int?, economy: MemoryEconomy
    ) -> CrossEntropy {
        loss(
            batch, on: tape, dropoutKey: dropoutKey, paddedLength: paddedLength, economy: economy, weighting: nil)
    }

    package var spec: DecoderSpec { backbone.spec }

    /// Every parameter once: a tied head is the embedding once more.
    package var parameterCount: Int {
        var known: Set<ObjectIdentifier> = []
        return allParameters().reduce(0) { sum, entry in
            known.insert(ObjectIdentifier(entry.parameter)).inserted ? sum + entry.parameter.shape.count : sum
        }
    }

    /// Has the weights read as training reads them, with every page in memory: only the bf16 copy of a base that has one,
    /// whose quantised blocks are for decoding.
    package func settleWeights(in workspace: Workspace) {
        for (_, parameter) in allParameters() where parameter.shape.rank == 2 {
            parameter.forgetBlocks()
            parameter.touch(in: workspace)
        }
    }

    /// Copies every weight into memory as floats that gradients are computed for. For comparisons of small models: a
    /// fine-tuning run never needs it.
    package func makeTrainable(in workspace: Workspace) {
        for (_, parameter) in allParameters() {
            parameter.replace(parameter.decoded(in: workspace))
            parameter.isTrainable = true
        }
    }

    /// The final states of `batch`, and on the way what `observe` asks for.
    func finalStates(
        _ batch: PackedBatch, _ context: ForwardContext, on tape: Tape,
        observe: (Int, Variable) -> Void = { _, _ in }
    ) -> Variable {
        backbone.finished(backbone.states(of: batch.tokens, context, on: tape, observe: observe))
    }

    /// The parts of a trace that come before the head, and the states that the head gets.
    func traceStates(
        _ batch: PackedBatch, paddedLength: Int?, in workspace: Workspace
    ) -> (trace: Trace, states: Variable) {
        let context = ForwardContext(
            batch: batch, spec: spec, workspace: workspace, dropoutKey: nil, paddedLength: paddedLength)
        var hidden: [Tensor] = []
        let states = finalStates(batch, context, on: Tape(workspace, recording: false)) { hidden.append($1.value) }
        return (Trace(logits: nil, hidden: hidden, final: states.value), states)
    }
}

extension Parameter {
    /// A copy of the values as floats.
    func decoded(in workspace: Workspace) -> Tensor {
        Tensor(shape, in: workspace) { decode(rows: 0..<shape[0], to: $0) }
    }
}
