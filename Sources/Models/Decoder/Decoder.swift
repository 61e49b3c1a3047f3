package import Autograd
package import Batches
package import NN

/// A decoder-only transformer: a backbone whose head scores the next token.
package final class Decoder: LanguageModel {
    package let backbone: Backbone
    /// The output head; where it is tied, its weight is the embedding.
    package let head: Linear
    /// In place of the head's rows for single tokens.
    var headRows: TokenRows?

    init(_ backbone: Backbone, head: Linear) {
        self.backbone = backbone
        self.head = head
    }

    package var embedding: Parameter { backbone.embedding }

    package var children: [(name: String, module: any Module)] {
        [(spec.names.body, backbone), (spec.names.head, head)]
    }

    /// Logits of every row of `h`, which has passed the final norm: [T, V]. For parity and decoding; training never
    /// has them all.
    func logits(_ h: Variable) -> Tensor {
        let workspace = h.tape.workspace
        var scores = head(h, dropoutKey: nil).value
        if let headRows {
            scores.update(in: workspace) {
                headRows.columns.write(
                    h.value.pointer, rows: h.value.shape[0], to: $0, width: spec.vocabulary, in: workspace)
            }
        }
        return finishedLogits(scores, scale: spec.logitScale, softcap: spec.logitSoftcap, in: workspace)
    }

    package func loss(
        _ batch: PackedBatch, on tape: Tape, dropoutKey: UInt64? = nil, paddedLength: Int? = nil,
        economy: MemoryEconomy = MemoryEconomy(), weighting: PredictionWeighting? = nil
    ) -> CrossEntropy {
        let context = ForwardContext(
            batch: batch, spec: spec, workspace: tape.workspace, dropoutKey: dropoutKey,
            recomputesLayers: economy.recomputesLayers, paddedLength: paddedLength)
        let h = backbone.states(of: batch.tokens, context, on: tape)
        let predictions = Predictions(
            rows: batch.predictionIndices, targets: batch.predictionTargets, weights: batch.predictionWeights)
        // Only the rows that predict something meet the norm and the head.
        let predicting = backbone.finished(gatherRows(h, predictions.distinctRows))
        return crossEntropy(
            predicting, head: head.weight, lowRank: head.adapter?.term(dropoutKey: nil), replaced: headRows?.columns,
            predictions: predictions, logitScale: spec.logitScale,
            softcap: spec.logitSoftcap, logitBytes: economy.logitBytes, weighting: weighting)
    }

    package func trace(_ batch: PackedBatch, paddedLength: Int? = nil, in workspace: Workspace) -> Trace {
        var (trace, states) = traceStates(batch, paddedLength: paddedLength, in: workspace)
        trace.logits = logits(states)
        return trace
    }
}
