import Autograd
import Diagnostics
import Formats
import NN

extension Decoder {
    /// A decoder whose weights `binder` finds.
    convenience init(_ spec: DecoderSpec, _ binder: inout WeightBinder) throws(Diagnostic) {
        let embedding = try binder.matrix("model.embed_tokens.weight", rows: spec.vocabulary, columns: spec.hidden)
        var layers: [DecoderLayer] = []
        for index in spec.layers.indices {
            layers.append(try DecoderLayer(spec, path: "model.layers.\(index)", &binder))
        }
        let finalNorm = try Norm(spec, path: "model.norm", width: spec.hidden, &binder)
        let headWeight =
            spec.isTied
            ? embedding : try binder.matrix("lm_head.weight", rows: spec.vocabulary, columns: spec.hidden)
        self.init(
            spec: spec, embedding: embedding, layers: layers, finalNorm: finalNorm, head: Linear(weight: headWeight))
    }
}

extension DecoderLayer {
    fileprivate convenience init(_ spec: DecoderSpec, path: String, _ binder: inout WeightBinder) throws(Diagnostic) {
        func linear(
            _ name: String, _ outputs: Int, _ inputs: Int, bias: Bool, _ binder: inout WeightBinder
        ) throws(Diagnostic) -> Linear {
            let weight = try binder.matrix("\(path).\(name).weight", rows: outputs, columns: inputs)
            return Linear(
                weight: weight, bias: bias ? try binder.vector("\(path).\(name).bias", count: outputs) : nil)
        }
        let (queryWidth, keyWidth) = (spec.heads * spec.headDim, spec.keyValueHeads * spec.headDim)
        let qkv = spec.bias.queryKeyValue
        let query = try linear("self_attn.q_proj", queryWidth, spec.hidden, bias: qkv, &binder)
        let key = try linear("self_attn.k_proj", keyWidth, spec.hidden, bias: qkv, &binder)
        let value = try linear("self_attn.v_proj", keyWidth, spec.hidden, bias: qkv, &binder)
        let output = try linear(
            "self_attn.o_proj", spec.hidden, queryWidth, bias: spec.bias.attentionOutput, &binder)
        var (queryNorm, keyNorm): (Norm?, Norm?) = (nil, nil)
        if spec.queryKeyNorm != .none {
            let whole = spec.queryKeyNorm == .fullProjection
            queryNorm = try Norm(
                spec, path: "\(path).self_attn.q_norm", width: whole ? queryWidth : spec.headDim, &binder)
            keyNorm = try Norm(
                spec, path: "\(path).self_attn.k_norm", width: whole ? keyWidth : spec.headDim, &binder)
        }
        let bias = spec.bias.feedForward
        let gate = try linear("mlp.gate_proj", spec.feedForward, spec.hidden, bias: bias, &binder)
        let up = try linear("mlp.up_proj", spec.feedForward, spec.hidden, bias: bias, &binder)
        let down = try linear("mlp.down_proj", spec.hidden, spec.feedForward, bias: bias, &binder)
        var norms: [String: Norm] = [:]
        for name in spec.names.layerNorms {
            norms[name] = try Norm(spec, path: "\(path).\(name)", width: spec.hidden, &binder)
        }
        self.init(
            attention: SelfAttention(
                query: query, key: key, value: value, output: output, queryNorm: queryNorm, keyNorm: keyNorm),
            feedForward: FeedForward(gate: gate, up: up, down: down), names: spec.names, norms: norms)
    }
}

extension Norm {
    fileprivate convenience init(
        _ spec: DecoderSpec, path: String, width: Int, _ binder: inout WeightBinder
    ) throws(Diagnostic) {
        self.init(
            gain: try binder.vector(path + ".weight", count: width), offset: spec.normOffset, epsilon: spec.normEpsilon)
    }
}
