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
        let baseParameters = decoder.parameterCount
        let memory = try MemoryPlan(preparation, adapter: adapter, in: workspace)
        let steps = preparation.totalSteps
        let seconds = try Self.predictedSeconds(
            preparation, memory, adapter: adapter, steps: steps, in: workspace)
        json = .object([
            "rows": .integer(ledger.rows), "tokens": .integer(ledger.tokens),
            "supervised_tokens": .integer(ledger.supervisedTokens), "epochs": .integer(recipe.train.epochs),
            "steps": .integer(steps), "base_parameters": .integer(baseParameters),
            "trainable_parameters": .integer(adapter.parameterCount), "adapted_layers": .integer(adapter.modules.count),
            "tokens_saved_by_shared_prefixes": .integer(ledger.savedTokens ?? 0),
            "predicted_peak_bytes": .integer(memory.peakBytes), "memory": memory.json,
            "predicted_seconds": .number(seconds),
            "base": .string(recipe.base.written), "out": .string(recipe.out.written), "ledger": ledger.json,
        ])
        let share = 100 * Double(adapter.parameterCount) / Double(max(1, baseParameters))
        text = """
            base                 \(recipe.base.written), \(spec.architecture), \(baseParameters) parameters
            trained              \(adapter.parameterCount) parameters (\(hundredths(share)) %) in \(adapter.modules.count) layers
            records              \(ledger.rows) rows, \(ledger.tokens) tokens, \(ledger.supervisedTokens) of them learned
            shared prefixes      save \(ledger.savedTokens ?? 0) tokens an epoch
            steps                \(steps) in \(recipe.train.epochs) epochs, at most \(recipe.train.batchTokens) tokens each
            predicted memory     \(memory.text)
            predicted time       \(Int(seconds.rounded())) s of training, from one measured step
            out                  \(recipe.out.written)
            """
    }

    /// The time of one measured step, without an update, times the number of steps.
    private static func predictedSeconds(
        _ preparation: Preparation, _ memory: MemoryPlan, adapter: AttachedAdapter, steps: Int, in workspace: Workspace
    ) throws(Diagnostic) -> Double {
        let epoch = preparation.steps(epoch: 0)
        guard let first = epoch.first else { return 0 }
        let clock = ContinuousClock()
        let (batches, begin) = (preparation.microBatches(of: first, tokens: memory.microTokens), clock.now)
        for batch in batches {
            let tape = Tape(workspace, recording: true)
            tape.backward(from: preparation.base.decoder.loss(batch, on: tape, economy: memory.economy).sum)
        }
        for parameter in adapter.parameters { parameter.clearGradient() }
        let seconds = (clock.now - begin).inSeconds
        let computed = batches.reduce(0) { $0 + $1.tokens.count }
        let all = epoch.reduce(0) { sum, step in
            sum + preparation.microBatches(of: step, tokens: memory.microTokens).reduce(0) { $0 + $1.tokens.count }
        }
        return seconds / Double(max(1, computed)) * Double(all) / Double(epoch.count) * Double(steps)
    }
}

/// A number with two digits after the point.
private func hundredths(_ value: Double) -> String {
    let scaled = Int((value * 100).rounded())
    return "\(scaled / 100).\(scaled % 100 < 10 ? "0" : "")\(scaled % 100)"
}
