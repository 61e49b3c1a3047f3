package import Autograd
package import NN

/// A transformer without its head, of any family that a `DecoderSpec` can describe: from tokens to states.
///
/// Paths of its modules (`layers.0.self_attn.q_proj`) are the names that transformers and PEFT have for them.
package final class Backbone: Module {
    package let spec: DecoderSpec
    /// [V, C]
    package let embedding: Parameter
    /// A is [rank, V] and B [C, rank]: a token's row gets its column of A through B.
    var embeddingAdapter: LowRankAdapter?
    /// In place of the embedding's rows.
    var tokenRows: TokenRows?
    /// [maximumPositions, C], where positions are learned
    let positionTable: Parameter?
    /// [tokenTypes, C]
    let tokenTypeTable: Parameter?
    let embeddingNorm: Norm?
    let layers: [DecoderLayer]
    let finalNorm: Norm?

    init(
        spec: DecoderSpec, embedding: Parameter, positionTable: Parameter?, tokenTypeTable: Parameter?,
        embeddingNorm: Norm?, layers: [DecoderLayer], finalNorm: Norm?
    ) {
        self.spec = spec
        self.embedding = embedding
        self.positionTable = positionTable
        self.tokenTypeTable = tokenTypeTable
        self.embeddingNorm = embeddingNorm
        self.layers = layers
        self.finalNorm = finalNorm
    }

    /// States after the last layer, before the final norm: [T, C].
    ///
    /// - Parameter observe: gets what enters layer K for every K, and last what leaves the last layer.
    func states(
        of tokens: [Int32], _ context: ForwardContext, on tape: Tape, observe: (Int, Variable) -> Void = { _, _ in }
    ) -> Variable {
        var h = embedded(tokens, on: tape)
        if let tokenTypeTable { h = add(h, Autograd.embedding(context.tokenTypes, table: tokenTypeTable, on: tape)) }
        if let positionTable { h = add(h, Autograd.embedding(context.positionRows, table: positionTable, on: tape)) }
        if let embeddingNorm { h = embeddingNorm(h) }
        for (index, layer) in layers.enumerated() {
            observe(index, h)
            let run = { [spec] (h: Variable) in layer(h, context, spec: spec, index: index) }
            h = context.recomputesLayers ? recomputing(h, run) : run(h)
        }
        observe(layers.count, h)
        return h
    }

    /// Rows of the embedding as the adapter has them, times the family's scale.
    private func embedded(_ tokens: [Int32], on tape: Tape) -> Variable {
        let scale = spec.embeddingScale
        var h = Autograd.embedding(tokens, table: embedding, scale: scale, on: tape)
        if let tokenRows {
            h = replaceRows(of: h, at: tokenRows.places(in: tokens), by: tokenRows.values, scale: scale)
        }
        guard let adapter = embeddingAdapter else { return h }
        let projected = embeddingColumns(tokens, table: adapter.a, scale: adapter.scale * scale, on: tape)
        return add(h, linear(projected, weight: adapter.b))
    }

    /// `h` after the final norm, if there is one.
    func finished(_ h: Variable) -> Variable { finalNorm?(h) ?? h }

    package var parameters: [(name: String, parameter: Parameter)] {
        var list = [(spec.names.embedding + ".weight", embedding)]
        if let positionTable { list.append((spec.names.positions + ".weight", positionTable)) }
        if let tokenTypeTable { list.append((spec.names.tokenTypes + ".weight", tokenTypeTable)) }
        return list
    }

    package var children: [(name: String, module: any Module)] {
        var list: [(name: String, module: any Module)] = []
        if let embeddingNorm { list.append((spec.names.embeddingNorm, embeddingNorm)) }
        list += layers.enumerated().map { ("\(spec.names.layers).\($0)", $1 as any Module) }
        if let name = spec.names.finalNorm, let finalNorm { list.append((name, finalNorm)) }
        return list
    }
}
