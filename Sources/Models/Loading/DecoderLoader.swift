import Autograd
import Diagnostics
import Formats
import NN

extension Backbone {
    /// A backbone whose weights `binder` finds.
    convenience init(_ spec: DecoderSpec, _ binder: inout WeightBinder) throws(Diagnostic) {
        let (names, vocabulary, hidden) = (spec.names, spec.vocabulary, spec.hidden)
        let embedding = try binder.matrix(names.inBody(names.embedding + ".weight"), rows: vocabulary, columns: hidden)
        var (positionTable, tokenTypeTable): (Parameter?, Parameter?) = (nil, nil)
        if case .learned = spec.positions {
            positionTable = try binder.matrix(
                names.inBody(names.positions + ".weight"), rows: spec.maximumPositions, columns: hidden)
        }
        if let types = spec.tokenTypes {
            tokenTypeTable = try binder.matrix(names.inBody(names.tokenTypes + ".weight"), rows: types, columns: hidden)
        }
        var (embeddingNorm, finalNorm): (Norm?, Norm?) = (nil, nil)
        if spec.normsEmbedding {
            embeddingNorm = try binder.norm(names.inBody(names.embeddingNorm), width: hidden, spec)
        }
        var layers: [DecoderLayer] = []
        for index in spec.layers.indices {
            layers.append(try binder.layer(names.inBody("\(names.layers).\(index)"), index, spec))
        }
        if let name = names.finalNorm { finalNorm = try binder.norm(names.inBody(name), width: hidden, spec) }
        self.init(
            spec: spec, embedding: embedding, positionTable: positionTable, tokenTypeTable: tokenTypeTable,
            embeddingNorm: embeddingNorm, layers: layers, finalNorm: finalNorm)
    }
}

extension Decoder {
    /// A decoder whose weights `binder` finds.
    convenience init(_ spec: DecoderSpec, _ binder: inout WeightBinder) throws(Diagnostic) {
        let backbone = try Backbone(spec, &binder)
        let head =
            spec.isTied
            ? backbone.embedding
            : try binder.matrix("\(spec.names.head).weight", rows: spec.vocabulary, columns: spec.hidden)
        self.init(backbone, head: Linear(weight: head))
    }
}

extension WeightBinder {
    mutating func layer(_ path: String, _ index: Int, _ spec: DecoderSpec) throws(Diagnostic) -> DecoderLayer {
        let names = spec.names
        let attentionPath = CheckpointNames.join(path, names.attention)
        let feedForwardPath = CheckpointNames.join(path, names.feedForward)
        let attention: any AttentionLayer
        if let latent = spec.latent {
            attention = try latentAttention(attentionPath, latent, spec)
        } else {
            attention = try selfAttention(attentionPath, spec)
        }
        let feedForward: any FeedForwardLayer
        if spec.layers[index].isMixture, let mixture = spec.mixture {
            feedForward = try mixtureOfExperts(feedForwardPath, mixture, spec)
        } else {
            feedForward = try self.feedForward(feedForwardPath, width: spec.feedForward, spec)
        }
        var norms: [String: Norm] = [:]
        for name in names.layerNorms {
            if name == names.attentionNorm, spec.layers[index].skipsAttentionNorm { continue }
            norms[name] = try norm("\(path).\(name)", width: spec.hidden, spec)
        }
        return DecoderLayer(attention: attention, feedForward: feedForward, names: names, norms: norms)
    }

    private mutating func selfAttention(_ path: String, _ spec: DecoderSpec) throws(Diagnostic) -> SelfAttention {
        let (names, hidden) = (spec.names, spec.hidden)
        let (queryWidth, keyWidth) = (spec.heads * spec.headDim, spec.keyValueHeads * spec.headDim)
        let bias = spec.bias.queryKeyValue
        let queryKeyValue: SelfAttention.QueryKeyValue
        switch names.queryKeyValue {
        case .separate:
            queryKeyValue = .separate(
                query: try linear("\(path).\(names.query)", queryWidth, hidden, bias: bias, spec),
                key: try linear("\(path).\(names.key)", keyWidth, hidden, bias: bias, spec),
                value: try linear("\(path).\(names.value)", keyWidth, hidden, bias: bias, spec))
        case .stacked(let name):
            queryKeyValue = .stacked(
                name: name, try linear("\(path).\(name)", queryWidth + 2 * keyWidth, hidden, bias: bias, spec))
        case .byHead(let name):
            queryKeyValue = .byHead(
                name: name, try linear("\(path).\(name)", 3 * queryWidth, hidden, bias: bias, spec))
        }
        let output = try linear(
            "\(path).\(names.attentionOutput)", hidden, queryWidth, bias: spec.bias.attentionOutput, spec)
        var (queryNorm, keyNorm): (Norm?, Norm?) = (nil, nil)
        if spec.queryKeyNorm != .none {
            let whole = spec.queryKeyNorm == .fullProjection
            queryNorm = try norm("\(path).q_norm", width: whole ? queryWidth : spec.headDim, spec)
            keyNorm = try norm("\(path).k_norm", width: whole ? keyWidth : spec.headDim, spec)
        }
        return SelfAttention(
            queryKeyValue: queryKeyValue, output: output, queryNorm: queryNorm, keyNorm: keyNorm, names: names)
    }

    private mutating func latentAttention(
        _ path: String, _ latent: DecoderSpec.Latent, _ spec: DecoderSpec
    ) throws(Diagnostic) -> LatentAttention {
        let (hidden, heads, bias) = (spec.hidden, spec.heads, spec.bias.attentionOutput)
        let queryWidth = heads * (latent.plainDim + latent.rotatedDim)
        var narrow = spec
        narrow.normEpsilon = latent.normEpsilon
        let query: LatentAttention.Query
        if let rank = latent.queryRank {
            query = .compressed(
                try linear("\(path).q_a_proj", rank, hidden, bias: bias, spec),
                try norm("\(path).q_a_layernorm", width: rank, narrow),
                expansion: try linear("\(path).q_b_proj", queryWidth, rank, bias: false, spec))
        } else {
            query = .direct(try linear("\(path).q_proj", queryWidth, hidden, bias: false, spec))
        }
        return LatentAttention(
            query: query,
            compression: try linear(
                "\(path).kv_a_proj_with_mqa", latent.rank + latent.rotatedDim, hidden, bias: bias, spec),
            compressionNorm: try norm("\(path).kv_a_layernorm", width: latent.rank, narrow),
            expansion: try linear(
                "\(path).kv_b_proj", heads * (latent.plainDim + latent.valueDim), latent.rank, bias: false, spec),
            output: try linear("\(path).o_proj", hidden, heads * latent.valueDim, bias: bias, spec))
    }

    private mutating func mixtureOfExperts(
        _ path: String, _ mixture: DecoderSpec.Mixture, _ spec: DecoderSpec
    ) throws(Diagnostic) -> MixtureOfExperts {
        let (hidden, width, count) = (spec.hidden, mixture.width, mixture.experts)
        let router = Router(
            weight: try matrix("\(path).gate.weight", rows: count, columns: hidden),
            correction: mixture.hasCorrection
                ? try vector("\(path).gate.e_score_correction_bias", count: count) : nil)
        var (gates, ups, downs): ([Parameter], [Parameter], [Parameter]) = ([], [], [])
        for expert in 0..<count {
            let path = "\(path).experts.\(expert)"
            gates.append(try matrix("\(path).gate_proj.weight", rows: width, columns: hidden))
            ups.append(try matrix("\(path).up_proj.weight", rows: width, columns: hidden))
            downs.append(try matrix("\(path).down_proj.weight", rows: hidden, columns: width))
        }
        var shared: FeedForward?
        if let sharedWidth = mixture.sharedWidth {
            shared = try feedForward("\(path).shared_experts", width: sharedWidth, spec)
        }
        return MixtureOfExperts(
            router: router, experts: Experts(gates: gates, ups: ups, downs: downs), shared: shared)
    }

    private mutating func feedForward(_ path: String, width: Int, _ spec: DecoderSpec) throws(Diagnostic) -> FeedForward
    {
        let (names, hidden, bias) = (spec.names, spec.hidden, spec.bias.feedForward)
        let up: FeedForward.Up
        switch (spec.feedForwardForm, names.gateUp) {
        case (.gated, .separate):
            up = .gated(
                gate: try linear("\(path).\(names.gate)", width, hidden, bias: bias, spec),
                up: try linear("\(path).\(names.up)", width, hidden, bias: bias, spec))
        case (.gated, .stacked(let name)):
            up = .stacked(name: name, try linear("\(path).\(name)", 2 * width, hidden, bias: bias, spec))
        case (.plain, _): up = .plain(try linear("\(path).\(names.up)", width, hidden, bias: bias, spec))
        case (.xielu, _):
            up = .xielu(
                try linear("\(path).\(names.up)", width, hidden, bias: bias, spec), try xielu("\(path).act_fn"))
        }
        let down = try linear("\(path).\(names.down)", hidden, width, bias: bias, spec)
        return FeedForward(up: up, down: down, names: names)
    }

    private mutating func xielu(_ path: String) throws(Diagnostic) -> XIELU {
        let positive = try vector("\(path).alpha_p", count: 1)
        let negative = try vector("\(path).alpha_n", count: 1)
        return XIELU(
            positive: positive, negative: negative, beta: try scalar("\(path).beta") ?? 0.5,
            epsilon: try scalar("\(path).eps") ?? -1e-6)
    }

    mutating func linear(
        _ path: String, _ outputs: Int, _ inputs: Int, bias: Bool, _ spec: DecoderSpec
    ) throws(Diagnostic) -> Linear {
        let weight = try matrix(
            path + ".weight", rows: outputs, columns: inputs, isStoredTransposed: spec.names.storesTransposed)
        return Linear(weight: weight, bias: bias ? try vector(path + ".bias", count: outputs) : nil)
    }

    mutating func norm(_ path: String, width: Int, _ spec: DecoderSpec) throws(Diagnostic) -> Norm {
        let gain = try vector(path + ".weight", count: width)
        var bias: Parameter?
        if case .layer = spec.norm, spec.bias.norm { bias = try vector(path + ".bias", count: width) }
        return Norm(spec.norm, gain: gain, bias: bias, epsilon: spec.normEpsilon)
    }
}
