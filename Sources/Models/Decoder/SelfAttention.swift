import Autograd
import NN

/// Grouped-query attention, with whatever positions the decoder has.
final class SelfAttention: AttentionLayer {
    let queryKeyValue: QueryKeyValue
    let output: Linear
    let queryNorm: Norm?
    let keyNorm: Norm?
    private let names: CheckpointNames

    enum QueryKeyValue {
        case separate(query: Linear, key: Linear, value: Linear)
        /// In one layer: all of q, then all of k, then all of v.
        case stacked(name: String, Linear)
        /// In one layer: q, k and v of each head in turn.
        case byHead(name: String, Linear)
    }

    init(
        queryKeyValue: QueryKeyValue, output: Linear, queryNorm: Norm?, keyNorm: Norm?, names: CheckpointNames
    ) {
        self.queryKeyValue = queryKeyValue
        self.output = output
        self.queryNorm = queryNorm
        self.keyNorm = keyNorm
        self.names = names
    }

    func callAsFunction(_ x: Variable, _ context: ForwardContext, spec: DecoderSpec, layer: Int) -> Variable {
        var (q, k, v) = project(x, spec: spec, dropoutKey: context.dropoutKey)
        if let queryNorm { q = queryNorm(q) }
        if let keyNorm { k = keyNorm(k) }
        if let table = context.rotaryTable(layer: layer) {
            q = rotary(q, table: table, headDim: spec.headDim)
            k = rotary(k, table: table, headDim: spec.headDim)
        }
        return output(context.attend(q, k, v, spec: spec, layer: layer), dropoutKey: context.dropoutKey)
    }

    private func project(
        _ x: Variable, spec: DecoderSpec, dropoutKey: UInt64?
    ) -> (q: Variable, k: Variable, v: Variable) {
        switch queryKeyValue {
        case .separate(let query, let key, let value):
            return (
                query(x, dropoutKey: dropoutKey), key(x, dropoutKey: dropoutKey), value(x, dropoutKey: dropoutKey)
            )
        case .stacked(_, let linear):
            let all = linear(x, dropoutKey: dropoutKey)
            let (wide, narrow) = (spec.heads * spec.headDim, spec.keyValueHeads * spec.headDim)
            return (
                columns([.init(all, from: 0, count: wide)]), columns([.init(all, from: wide, count: narrow)]),
                columns([.init(all, from: wide + narrow, count: narrow)])
            )
        case .byHead(_, let linear):
            let all = linear(x, dropoutKey: dropoutKey)
            func part(_ index: Int) -> Variable {
                columns(
                    [.init(all, span: 3 * spec.headDim, from: index * spec.headDim, count: spec.headDim)],
                    groups: spec.heads)
            }
            return (part(0), part(1), part(2))
        }
    }

    var children: [(name: String, module: any Module)] {
        var list: [(name: String, module: any Module)] =
            switch queryKeyValue {
            case .separate(let query, let key, let value):
                [(names.query, query), (names.key, key), (names.value, value)]
            case .stacked(let name, let linear), .byHead(let name, let linear): [(name, linear)]
            }
        list.append((names.attentionOutput, output))
        if let queryNorm { list.append(("q_norm", queryNorm)) }
        if let keyNorm { list.append(("k_norm", keyNorm)) }
        return list
    }
}

extension ForwardContext {
    /// Attention of a layer over this pass's rows, or over the cache after they were stored there.
    func attend(_ q: Variable, _ k: Variable, _ v: Variable, spec: DecoderSpec, layer: Int) -> Variable {
        var settings = AttentionSettings(
            heads: spec.heads, keyValueHeads: spec.keyValueHeads, headDim: spec.headDim,
            scale: spec.layers[layer].attentionScale ?? spec.attentionScale, window: spec.layers[layer].window,
            softcap: spec.attentionSoftcap)
        if case .linearBias(let slopes) = spec.positions { settings.positionSlopes = slopes }
        guard let cache else { return attention(q, k, v, plan: plan, settings) }
        cache.store(k.value, v.value, layer: layer, at: cacheRows)
        return q.tape.constant(
            attention(
                q.value, keys: cache.keys(layer: layer), values: cache.values(layer: layer), plan: plan, settings,
                in: q.tape.workspace))
    }
}
