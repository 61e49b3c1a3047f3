import Autograd
import NN

/// How rows learn of each other.
protocol AttentionLayer: Module {
    func callAsFunction(_ x: Variable, _ context: ForwardContext, spec: DecoderSpec, layer: Int) -> Variable
}

/// What a layer computes for each row by itself.
protocol FeedForwardLayer: Module {
    func callAsFunction(_ x: Variable, spec: DecoderSpec, dropoutKey: UInt64?) -> Variable
}

/// Attention and feed-forward with their norms and residual connections.
final class DecoderLayer: Module {
    let attention: any AttentionLayer
    let feedForward: any FeedForwardLayer
    let attentionNorm: Norm?
    let attentionOutputNorm: Norm?
    let feedForwardNorm: Norm?
    let feedForwardOutputNorm: Norm?
    private let names: CheckpointNames

    init(
        attention: any AttentionLayer, feedForward: any FeedForwardLayer, names: CheckpointNames, norms: [String: Norm]
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
        if spec.residual == .normedSum { return normedSums(h, context, spec: spec, index: index) }
        let normed = attentionNorm?(h) ?? h
        var attended = attention(normed, context, spec: spec, layer: index)
        if let attentionOutputNorm { attended = attentionOutputNorm(attended) }
        let isFromNorm = spec.residual == .sequentialFromNorm
        let middle = add(isFromNorm ? normed : h, attended, scale: spec.residualScale)
        let input = spec.residual == .parallel ? h : middle
        let normedInput = feedForwardNorm?(input) ?? input
        var fed = feedForward(normedInput, spec: spec, dropoutKey: context.dropoutKey)
        if let feedForwardOutputNorm { fed = feedForwardOutputNorm(fed) }
        return add(isFromNorm ? normedInput : middle, fed, scale: spec.residualScale)
    }

    /// h = norm(h + attention(h)); h = norm(h + feedForward(h)), as in Vaswani et al. 2017.
    private func normedSums(_ h: Variable, _ context: ForwardContext, spec: DecoderSpec, index: Int) -> Variable {
        let attended = add(h, attention(h, context, spec: spec, layer: index), scale: spec.residualScale)
        let middle = attentionOutputNorm?(attended) ?? attended
        let fed = add(
            middle, feedForward(middle, spec: spec, dropoutKey: context.dropoutKey), scale: spec.residualScale)
        return feedForwardOutputNorm?(fed) ?? fed
    }

    var children: [(name: String, module: any Module)] {
        var list: [(name: String, module: any Module)] = [
            (names.attention, attention), (names.feedForward, feedForward),
        ]
        let norms = [
            (names.attentionNorm, attentionNorm), (names.attentionOutputNorm, attentionOutputNorm),
            (names.feedForwardNorm, feedForwardNorm), (names.feedForwardOutputNorm, feedForwardOutputNorm),
        ]
        for case (let name?, let norm?) in norms { list.append((name, norm)) }
        return list
    }
}
