package import Autograd
package import Batches
package import NN

/// A decoder-only transformer of any family that a `DecoderSpec` can describe.
///
/// One task at a time may use it. Paths of its modules (`model.layers.0.self_attn.q_proj`) are the names that
/// transformers and PEFT have for them.
package final class Decoder: Module {
    package let spec: DecoderSpec
    /// [V, C]
    package let embedding: Parameter
    /// [maximumPositions, C], where positions are learned
    let positionTable: Parameter?
    let embeddingNorm: Norm?
    let layers: [DecoderLayer]
    let finalNorm: Norm
    /// The output head; where it is tied, its weight is the embedding.
    package let head: Linear

    init(
        spec: DecoderSpec, embedding: Parameter, positionTable: Parameter?, embeddingNorm: Norm?,
        layers: [DecoderLayer], finalNorm: Norm, head: Linear
    ) {
        self.spec = spec
        self.embedding = embedding
        self.positionTable = positionTable
        self.embeddingNorm = embeddingNorm
        self.layers = layers
        self.finalNorm = finalNorm
        self.head = head
    }

    package var children: [(name: String, module: any Module)] {
        [(spec.names.body, DecoderBody(self)), (spec.names.head, head)]
    }

    /// Hidden states after the last layer, before the final norm: [T, C].
    ///
    /// - Parameter observe: gets what enters layer K for every K, and last what leaves the last layer.
    func states(
        of tokens: [Int32], _ context: ForwardContext, on tape: Tape, observe: (Int, Variable) -> Void = { _, _ in }
    ) -> Variable {
        var h = Autograd.embedding(tokens, table: embedding, scale: spec.embeddingScale, on: tape)
        if let positionTable { h = add(h, Autograd.embedding(context.positions, table: positionTable, on: tape)) }
        if let embeddingNorm { h = embeddingNorm(h) }
        for (index, layer) in layers.enumerated() {
            observe(index, h)
            let run = { [spec] (h: Variable) in layer(h, context, spec: spec, index: index) }
            h = context.recomputesLayers ? recomputing(h, run) : run(h)
        }
        observe(layers.count, h)
        return h
    }

    /// Logits of every row of `h`, which has passed the final norm: [T, V]. For parity and decoding; training never
    /// has them all.
    func logits(_ h: Variable) -> Tensor {
        finishedLogits(
            head(h, dropoutKey: nil).value, scale: spec.logitScale, softcap: spec.logitSoftcap, in: h.tape.workspace)
    }

    /// The loss of a packed batch, summed over its weighted predictions, in nats.
    ///
    /// - Parameters:
    ///   - dropoutKey: of this step; nil: evaluation, no dropout.
    ///   - paddedLength: as in `trace`.
    ///   - economy: what is computed twice, or in smaller parts, to take less memory.
    package func loss(
        _ batch: PackedBatch, on tape: Tape, dropoutKey: UInt64? = nil, paddedLength: Int? = nil,
        economy: MemoryEconomy = MemoryEconomy()
    ) -> CrossEntropy {
        let context = ForwardContext(
            batch: batch, spec: spec, workspace: tape.workspace, dropoutKey: dropoutKey,
            recomputesLayers: economy.recomputesLayers, paddedLength: paddedLength)
        let h = states(of: batch.tokens, context, on: tape)
        let predictions = Predictions(
            rows: batch.predictionIndices, targets: batch.predictionTargets, weights: batch.predictionWeights)
        // Only the rows that predict something meet the norm and the head.
        let predicting = finalNorm(gatherRows(h, predictions.distinctRows))
        return crossEntropy(
            predicting, head: head.weight, predictions: predictions, logitScale: spec.logitScale,
            softcap: spec.logitSoftcap, logitBytes: economy.logitBytes)
    }
}

extension Decoder {
    /// Reads every matrix once, so that the pages of mapped files are in memory.
    package func touchWeights(in workspace: Workspace) {
        for (_, parameter) in allParameters() where parameter.shape.rank == 2 { parameter.touch(in: workspace) }
    }
}

/// A decoder without its head, under the name that checkpoints give it.
private final class DecoderBody: Module {
    let decoder: Decoder

    init(_ decoder: Decoder) { self.decoder = decoder }

    private var names: CheckpointNames { decoder.spec.names }

    var parameters: [(name: String, parameter: Parameter)] {
        var list = [(names.embedding + ".weight", decoder.embedding)]
        if let table = decoder.positionTable { list.append((names.positions + ".weight", table)) }
        return list
    }

    var children: [(name: String, module: any Module)] {
        var list: [(name: String, module: any Module)] = []
        if let norm = decoder.embeddingNorm { list.append((names.embeddingNorm, norm)) }
        list += decoder.layers.enumerated().map { ("\(names.layers).\($0)", $1 as any Module) }
        return list + [(names.finalNorm, decoder.finalNorm)]
    }
}

/// How a pass over a decoder trades time for memory.
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
