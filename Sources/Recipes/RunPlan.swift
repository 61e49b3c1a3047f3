package import Autograd
import Datasets
import Batches
package import Diagnostics
import Formats
import Models
import NN
package import StrictJSON

/// Everything that a run would do, without doing it.
package struct RunPlan {
    package let json: JSONValue
    /// For people, a line a fact.
    package let text: String

    /// - Throws: whatever would stop the run before its first step.
    package init(_ preparation: Preparation, in workspace: Workspace) throws(Diagnostic) {
        let recipe = preparation.recipe
        let decoder = preparation.base.decoder
        let adapter = try decoder.attachNewAdapter(try PEFTConfig(recipe), seed: recipe.train.seed, in: workspace)
        let ledger = preparation.dataset.ledger
        let spec = decoder.spec
        let tied = spec.isTied
        let baseParameters = decoder.allParameters().reduce(0) { sum, entry in
            tied && entry.path == spec.names.head + ".weight" ? sum : sum + entry.parameter.shape.count
        }
        let micro = preparation.largestMicroBatch
        let memory = MemoryEstimate(
            spec: spec, weightBytes: preparation.base.files.weights.byteCount,
            adapterParameters: adapter.parameterCount,
            tokens: micro.tokens, predictions: micro.predictions)
        let steps = preparation.totalSteps
        let seconds = try Self.predictedSeconds(preparation, adapter: adapter, steps: steps, in: workspace)
        json = .object([
            "rows": .integer(ledger.rows), "tokens": .integer(ledger.tokens),
            "supervised_tokens": .integer(ledger.supervisedTokens), "epochs": .integer(recipe.train.epochs),
            "steps": .integer(steps), "base_parameters": .integer(baseParameters),
            "trainable_parameters": .integer(adapter.parameterCount), "adapted_layers": .integer(adapter.modules.count),
            "tokens_saved_by_shared_prefixes": .integer(ledger.savedTokens ?? 0),
            "predicted_peak_bytes": .integer(memory.total), "predicted_seconds": .number(seconds),
            "base": .string(recipe.base.written), "out": .string(recipe.out.written), "ledger": ledger.json,
        ])
        let share = 100 * Double(adapter.parameterCount) / Double(max(1, baseParameters))
        text = """
            base                 \(recipe.base.written), \(spec.architecture), \(baseParameters) parameters
            trained              \(adapter.parameterCount) parameters (\(hundredths(share)) %) in \(adapter.modules.count) layers
            records              \(ledger.rows) rows, \(ledger.tokens) tokens, \(ledger.supervisedTokens) of them learned
            shared prefixes      save \(ledger.savedTokens ?? 0) tokens an epoch
            steps                \(steps) in \(recipe.train.epochs) epochs, at most \(recipe.train.batchTokens) tokens each
            predicted memory     \(memory.total >> 20) MiB at the peak (weights \(memory.weights >> 20), activations \(memory.activations >> 20))
            predicted time       \(Int(seconds.rounded())) s of training, from one measured step
            out                  \(recipe.out.written)
            """
    }

    /// The time of one measured step, without an update, times the number of steps.
    private static func predictedSeconds(
        _ preparation: Preparation, adapter: AttachedAdapter, steps: Int, in workspace: Workspace
    ) throws(Diagnostic) -> Double {
        let epoch = preparation.steps(epoch: 0)
        guard let first = epoch.first else { return 0 }
        let clock = ContinuousClock()
        let (batches, begin) = (preparation.microBatches(of: first), clock.now)
        for batch in batches {
            let tape = Tape(workspace, recording: true)
            tape.backward(from: preparation.base.decoder.loss(batch, on: tape).sum)
        }
        for parameter in adapter.parameters { parameter.clearGradient() }
        let seconds = (clock.now - begin).inSeconds
        let computed = batches.reduce(0) { $0 + $1.tokens.count }
        let all = epoch.reduce(0) { sum, step in
            sum + preparation.microBatches(of: step).reduce(0) { $0 + $1.tokens.count }
        }
        return seconds / Double(max(1, computed)) * Double(all) / Double(epoch.count) * Double(steps)
    }
}

/// A number with two digits after the point.
private func hundredths(_ value: Double) -> String {
    let scaled = Int((value * 100).rounded())
    return "\(scaled / 100).\(scaled % 100 < 10 ? "0" : "")\(scaled % 100)"
}

/// The memory that training needs at its peak, from what the engine keeps; a first version for f32.
struct MemoryEstimate {
    let weights: Int
    let activations: Int
    let total: Int

    /// - Parameters:
    ///   - tokens, predictions: of the largest micro-batch, after prefixes are shared.
    init(spec: DecoderSpec, weightBytes: Int, adapterParameters: Int, tokens: Int, predictions: Int) {
        let (queryWidth, keyWidth) = (spec.heads * spec.headDim, spec.keyValueHeads * spec.headDim)
        // Kept for the backward pass, per token and layer: both residual sums and both norms' outputs, q, k, v and the
        // attention's output, gate, up and their product.
        let perLayer = 4 * spec.hidden + 2 * queryWidth + 2 * keyWidth + 3 * spec.feedForward
        activations = 4 * tokens * (perLayer * spec.layers.count + 4 * spec.feedForward + 4 * queryWidth)
        let logits = min(predictions, max(16, min(512, (16 << 20) / spec.vocabulary))) * spec.vocabulary * 4
        let decoded = 2 * (4 << 20) * 4
        // Values, gradients and two moments.
        let adapter = 16 * adapterParameters
        let program = 48 << 20
        weights = weightBytes
        total = weightBytes + activations + logits + decoded + adapter + program
    }
}
