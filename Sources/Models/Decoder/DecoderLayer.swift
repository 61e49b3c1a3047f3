import Autograd
import NN

/// Attention and feed-forward with their norms and residual connections.
final class DecoderLayer: Module {
    let attention: SelfAttention
    let feedForward: FeedForward
    let attentionNorm: Norm?
    let attentionOutputNorm: Norm?
    let feedForwardNorm: Norm?
    let feedForwardOutputNorm: Norm?
    private let names: CheckpointNames

    init(
        attention: SelfAttention, feedForward: FeedForward, names: CheckpointNames, norms: [String: Norm]
    ) {
        self.attention = attention
        self.feedForward = feedForward
        self.names = names
        attentionNorm = names.attentionNorm.flatMap { norms[$0] }
        attentionOutputNorm = names.attentionOutputNorm.flatMap { norms[$0] }
        feedForwardNorm = names.feedForwardNorm.flatMap { norms[$0] }
        feedForwardOutputNorm = names.feedForwardOutputNorm.flatMap { norms[$0] }
    }

    func callAsFunction(_ h: Variable, _ context: ForwardContext, spec: DecoderSpec, index: Int) -> Variable {
        var attended = attention(attentionNorm?(h) ?? h, context, spec: spec, layer: index)
        if let attentionOutputNorm { attended = attentionOutputNorm(attended) }
        let middle = add(h, attended, scale: spec.residualScale)
        var fed = feedForward(feedForwardNorm?(middle) ?? middle, spec: spec, dropoutKey: context.dropoutKey)
        if let feedForwardOutputNorm { fed = feedForwardOutputNorm(fed) }
        return add(middle, fed, scale: spec.residualScale)
    }

    var children: [(name: String, module: any Module)] {
        var list: [(name: String, module: any Module)] = [("self_attn", attention), ("mlp", feedForward)]
        let norms = [
            (names.attentionNorm, attentionNorm), (names.attentionOutputNorm, attentionOutputNorm),
            (names.feedForwardNorm, feedForwardNorm), (names.feedForwardOutputNorm, feedForwardOutputNorm),
        ]
        for case (let name?, let norm?) in norms { list.append((name, norm)) }
        return list
    }
}

/// Grouped-query attention with rotary positions.
final class SelfAttention: Module {
    let query: Linear
    let key: Linear
    let value: Linear
    let output: Linear
    let queryNorm: Norm?
    let keyNorm: Norm?

    init(query: Linear, key: Linear, value: Linear, output: Linear, queryNorm: Norm?, keyNorm: Norm?) {
        self.query = query
        self.key = key
        self.value = value
        self.output = output
        self.queryNorm = queryNorm
        self.keyNorm = keyNorm
    }

    func callAsFunction(_ x: Variable, _ context: ForwardContext, spec: DecoderSpec, layer: Int) -> Variable {
        var q = query(x, dropoutKey: context.dropoutKey)
        var k = key(x, dropoutKey: context.dropoutKey)
        let v = value(x, dropoutKey: context.dropoutKey)
        if let queryNorm { q = queryNorm(q) }
        if let keyNorm { k = keyNorm(k) }
        if let table = context.rotaryTable(layer: layer) {
            q = rotary(q, table: table, headDim: spec.headDim)
            k = rotary(k, table: table, headDim: spec.headDim)
        }
        let settings = AttentionSettings(
            heads: spec.heads, keyValueHeads: spec.keyValueHeads, headDim: spec.headDim, scale: spec.attentionScale,
            window: spec.layers[layer].window, softcap: spec.attentionSoftcap)
        let attended: Variable
        if let cache = context.cache {
            cache.store(k.value, v.value, layer: layer, at: context.cacheRows)
            attended = x.tape.constant(
                attention(
                    q.value, keys: cache.keys(layer: layer), values: cache.values(layer: layer), plan: context.plan,
                    settings, in: x.tape.workspace))
        } else {
            attended = attention(q, k, v, plan: context.plan, settings)
        }
        return output(attended, dropoutKey: context.dropoutKey)
    }

    var children: [(name: String, module: any Module)] {
        var list: [(name: String, module: any Module)] = [
            ("q_proj", query), ("k_proj", key), ("v_proj", value), ("o_proj", output),
        ]
        if let queryNorm { list.append(("q_norm", queryNorm)) }
        if let keyNorm { list.append(("k_norm", keyNorm)) }
        return list
    }
}

/// down(act(gate x) · up x)
final class FeedForward: Module {
    let gate: Linear
    let up: Linear
    let down: Linear

    init(gate: Linear, up: Linear, down: Linear) {
        self.gate = gate
        self.up = up
        self.down = down
    }

    func callAsFunction(_ x: Variable, spec: DecoderSpec, dropoutKey: UInt64?) -> Variable {
        let activated = gatedActivation(
            gate(x, dropoutKey: dropoutKey), up(x, dropoutKey: dropoutKey), spec.activation)
        return down(activated, dropoutKey: dropoutKey)
    }

    var children: [(name: String, module: any Module)] {
        [("gate_proj", gate), ("up_proj", up), ("down_proj", down)]
    }
}
