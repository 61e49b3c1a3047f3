package import Autograd
package import Diagnostics
import Formats
import NN

extension Decoder {
    /// A decoder of Llama's form without a checkpoint: random bf16 matrices with a standard deviation of 0.02, held
    /// once, as a mapped file would hold them, and gains of 1.
    ///
    /// For measurements: time and memory are those of a trained model of this shape.
    /// - Throws: `tensor` for a spec with other parts than Llama's.
    package static func withRandomWeights(
        _ spec: DecoderSpec, seed: UInt64, in workspace: Workspace
    ) throws(Diagnostic) -> Decoder {
        let (queryWidth, keyWidth) = (spec.heads * spec.headDim, spec.keyValueHeads * spec.headDim)
        var matrices = [("model.embed_tokens", spec.vocabulary, spec.hidden)]
        if !spec.isTied { matrices.append(("lm_head", spec.vocabulary, spec.hidden)) }
        var norms = ["model.norm"]
        for layer in spec.layers.indices.map({ "model.layers.\($0)." }) {
            norms += [layer + "input_layernorm", layer + "post_attention_layernorm"]
            matrices += [
                (layer + "self_attn.q_proj", queryWidth, spec.hidden),
                (layer + "self_attn.k_proj", keyWidth, spec.hidden),
                (layer + "self_attn.v_proj", keyWidth, spec.hidden),
                (layer + "self_attn.o_proj", spec.hidden, queryWidth),
                (layer + "mlp.gate_proj", spec.feedForward, spec.hidden),
                (layer + "mlp.up_proj", spec.feedForward, spec.hidden),
                (layer + "mlp.down_proj", spec.hidden, spec.feedForward),
            ]
        }
        var tensors = norms.map {
            WeightTensor(
                name: $0 + ".weight", shape: [spec.hidden], values: Array(repeating: 1, count: spec.hidden))
        }
        for (index, (name, rows, columns)) in matrices.enumerated() {
            let random = CounterRandom(seed: seed, .benchmark, index: UInt64(index))
            tensors.append(
                WeightTensor(name: name + ".weight", shape: [rows, columns]) { fill($0, random, in: workspace) })
        }
        var binder = WeightBinder(
            WeightSource(tensors), file: spec.architecture, workspace: workspace, candidates: { [$0] })
        let decoder = try Decoder(spec, &binder)
        try binder.checkAllUsed { _ in false }
        return decoder
    }
}

/// Uniform values with a standard deviation of 0.02, as bf16.
private func fill(_ values: UnsafeMutableBufferPointer<UInt16>, _ random: CounterRandom, in workspace: Workspace) {
    let step = 0.02 * Float(3).squareRoot() / 32768
    let (start, count) = (UInt(bitPattern: values.baseAddress), values.count)
    workspace.threads.forEachRange((count + 3) / 4, grain: 1 << 14) { range, _ in
        guard let out = UnsafeMutablePointer<UInt16>(bitPattern: start) else { return }
        for block in range {
            let bits = random.bits(at: UInt64(block))
            for lane in 0..<min(4, count - 4 * block) {
                let value = Float(Int16(truncatingIfNeeded: bits >> (16 * UInt64(lane)))) * step
                // Rounding to nearest matters to nobody here, so the lower half is cut off.
                out[4 * block + lane] = UInt16(value.bitPattern >> 16)
            }
        }
    }
}
