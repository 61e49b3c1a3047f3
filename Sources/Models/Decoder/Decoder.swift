package import Autograd
package import Batches
package import NN

/// A decoder-only transformer of any family that a `DecoderSpec` can describe.
///
/// One task at a time may use it. Paths of its modules (`model.layers.0.self_attn.q_proj`) are the names of Hugging
/// Face's checkpoints.
package final class Decoder: Module {
    package let spec: DecoderSpec
    /// [V, C]
    package let embedding: Parameter
    let layers: [DecoderLayer]
    let finalNorm: Norm
    /// The output head; where it is tied, its weight is the embedding.
    package let head: Linear

    init(spec: DecoderSpec, embedding: Parameter, layers: [DecoderLayer], finalNorm: Norm, head: Linear) {
        self.spec = spec
        self.embedding = embedding
        self.layers = layers
        self.finalNorm = finalNorm
        self.head = head
    }

    package var children: [(name: String, module: any Module)] {
        [("model", DecoderBody(self)), ("lm_head", head)]
    }

    /// Hidden states after the last layer, before the final norm: [T, C].
    ///
    /// - Parameter observe: gets what enters layer K for every K, and last what leaves the last layer.
    func states(
        of tokens: [Int32], _ context: ForwardContext, on tape: Tape, observe: (Int, Variable) -> Void = { _, _ in }
    ) -> Variable {
        var h = Autograd.embedding(tokens, table: embedding, scale: spec.embeddingScale, on: tape)
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
    ///   - economy: what is computed twice, or in smaller parts, to take less memory.
    package func loss(
        _ batch: PackedBatch, on tape: Tape, dropoutKey: UInt64? = nil, economy: MemoryEconomy = MemoryEconomy()
    ) -> CrossEntropy {
        let context = ForwardContext(
            batch: batch, spec: spec, workspace: tape.workspace, dropoutKey: dropoutKey,
            recomputesLayers: economy.recomputesLayers)
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

/// The part of a decoder under the name `model`.
private final class DecoderBody: Module {
    let decoder: Decoder

    init(_ decoder: Decoder) { self.decoder = decoder }

    var parameters: [(name: String, parameter: Parameter)] { [("embed_tokens.weight", decoder.embedding)] }

    var children: [(name: String, module: any Module)] {
        decoder.layers.enumerated().map { ("layers.\($0)", $1 as any Module) } + [("norm", decoder.finalNorm)]
    }
}

/// An RMS norm and its gain.
final class Norm: Module {
    /// [C] or [D]
    let gain: Parameter
    private let offset: Float
    private let epsilon: Float

    init(gain: Parameter, offset: Float, epsilon: Float) {
        self.gain = gain
        self.offset = offset
        self.epsilon = epsilon
    }

    func callAsFunction(_ x: Variable) -> Variable { rmsNorm(x, gain: gain, offset: offset, epsilon: epsilon) }

    var parameters: [(name: String, parameter: Parameter)] { [("weight", gain)] }
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
