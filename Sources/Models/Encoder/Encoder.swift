package import Autograd
package import Batches
package import NN

/// A transformer whose states are read as they are: an encoder, or a decoder that has a head for labels.
package final class Encoder: LanguageModel {
    package let backbone: Backbone
    package let head: TaskHead

    init(_ backbone: Backbone, head: TaskHead) {
        self.backbone = backbone
        self.head = head
    }

    package var children: [(name: String, module: any Module)] {
        [(spec.names.body, backbone)] + head.children
    }

    /// As `LanguageModel` has it; the predictions are those of labelled examples (`PackedBatch.init(labelled:)`).
    ///
    /// The model must have scores (`DecoderSpec.checkLoss`), and targets must be below its number of scores.
    package func loss(
        _ batch: PackedBatch, on tape: Tape, dropoutKey: UInt64? = nil, paddedLength: Int? = nil,
        economy: MemoryEconomy = MemoryEconomy(), weighting: PredictionWeighting? = nil
    ) -> CrossEntropy {
        guard let output = head.output else { preconditionFailure("\(spec.summary) has no loss") }
        let context = ForwardContext(
            batch: batch, spec: spec, workspace: tape.workspace, dropoutKey: dropoutKey,
            recomputesLayers: economy.recomputesLayers, paddedLength: paddedLength)
        let states = finalStates(batch, context, on: tape)
        let predictions = Predictions(
            rows: head.isPooled ? batch.predictionExamples : batch.predictionIndices,
            targets: batch.predictionTargets, weights: batch.predictionWeights)
        // Only what predicts something meets the head.
        let rows = predictions.distinctRows
        let features =
            head.isPooled
            ? gatherRows(head.features(states, batch, dropoutKey: dropoutKey), rows)
            : head.features(gatherRows(states, rows), batch, dropoutKey: dropoutKey)
        return crossEntropy(
            features, head: output.weight, bias: output.bias, predictions: predictions,
            logitBytes: economy.logitBytes, weighting: weighting)
    }

    package func trace(_ batch: PackedBatch, paddedLength: Int? = nil, in workspace: Workspace) -> Trace {
        var (trace, states) = traceStates(batch, paddedLength: paddedLength, in: workspace)
        trace.logits = head.output?(head.features(states, batch, dropoutKey: nil), dropoutKey: nil).value
        return trace
    }
}
