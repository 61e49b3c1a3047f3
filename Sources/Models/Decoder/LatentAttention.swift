import Autograd
import NN

/// Multi-head latent attention (DeepSeek-AI 2024, "DeepSeek-V2", section 2.1): keys and values are expanded from a
/// narrow latent, and only a part of each head, for keys the same in all heads, is rotated.
///
/// Heads of queries and keys begin with the rotated part here, and heads narrower than the others are padded with
/// zeros, which changes no product.
final class LatentAttention: AttentionLayer {
    let query: Query
    let compression: Linear
    let compressionNorm: Norm
    let expansion: Linear
    let output: Linear

    enum Query {
        case direct(Linear)
        case compressed(Linear, Norm, expansion: Linear)
    }

    init(query: Query, compression: Linear, compressionNorm: Norm, expansion: Linear, output: Linear) {
        self.query = query
        self.compression = compression
        self.compressionNorm = compressionNorm
        self.expansion = expansion
        self.output = output
    }

    func callAsFunction(_ x: Variable, _ context: ForwardContext, spec: DecoderSpec, layer: Int) -> Variable {
        guard let latent = spec.latent, let table = context.rotaryTable(layer: layer) else {
            preconditionFailure("latent attention without its extents")
        }
        let (heads, headDim, dropoutKey) = (spec.heads, spec.headDim, context.dropoutKey)
        let (plain, rotated, valueDim) = (latent.plainDim, latent.rotatedDim, latent.valueDim)
        let queryDim = plain + rotated

        let allQ = queries(x, dropoutKey: dropoutKey)
        let q = columns(
            [
                .init(allQ, span: queryDim, from: plain, count: rotated),
                .init(allQ, span: queryDim, from: 0, count: plain),
            ], groups: heads, padding: headDim - queryDim)

        let compressed = compression(x, dropoutKey: dropoutKey)
        let narrow = columns([.init(compressed, from: 0, count: latent.rank)])
        let sharedKey = rotary(
            columns([.init(compressed, from: latent.rank, count: rotated)]), table: table, headDim: rotated)
        let expanded = expansion(compressionNorm(narrow), dropoutKey: dropoutKey)
        let span = plain + valueDim
        let k = columns(
            [.init(sharedKey, from: 0, count: rotated), .init(expanded, span: span, from: 0, count: plain)],
            groups: heads, padding: headDim - queryDim)
        let v = columns(
            [.init(expanded, span: span, from: plain, count: valueDim)], groups: heads, padding: headDim - valueDim)

        var attended = context.attend(rotary(q, table: table, headDim: headDim), k, v, spec: spec, layer: layer)
        if headDim != valueDim {
            attended = columns([.init(attended, span: headDim, from: 0, count: valueDim)], groups: heads)
        }
        return output(attended, dropoutKey: dropoutKey)
    }

    private func queries(_ x: Variable, dropoutKey: UInt64?) -> Variable {
        switch query {
        case .direct(let linear): linear(x, dropoutKey: dropoutKey)
        case .compressed(let compression, let norm, let expansion):
            expansion(norm(compression(x, dropoutKey: dropoutKey)), dropoutKey: dropoutKey)
        }
    }

    var children: [(name: String, module: any Module)] {
        let queries: [(name: String, module: any Module)] =
            switch query {
            case .direct(let linear): [("q_proj", linear)]
            case .compressed(let compression, let norm, let expansion):
                [("q_a_proj", compression), ("q_a_layernorm", norm), ("q_b_proj", expansion)]
            }
        return queries + [
            ("kv_a_proj_with_mqa", compression), ("kv_a_layernorm", compressionNorm), ("kv_b_proj", expansion),
            ("o_proj", output),
        ]
    }
}
