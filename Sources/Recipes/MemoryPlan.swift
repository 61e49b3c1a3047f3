package import Autograd
import Batches
package import Diagnostics
package import Models
import NN
import Training
package import StrictJSON

/// How the steps of a run are computed, and the memory that this takes at the peak.
///
/// The prediction is no formula: a rehearsal walks the run's largest steps through the same engine with the arithmetic
/// left out, and counts the buffers.
package struct MemoryPlan: Sendable, Equatable {
    /// The tokens that are computed at once.
    package let microTokens: Int
    package let economy: MemoryEconomy
    /// What is resident before the first step: the program, the records, the adapter and the base's weights.
    package let residentBytes: Int
    /// The optimiser's two moments.
    package let optimizerBytes: Int
    /// What a step takes at its peak: activations, gradients, scratch.
    package let stepBytes: Int
    /// The adapter and the moments as they were, while a checkpoint of them is written beside the next steps.
    package let savingBytes: Int

    /// The largest resident set that the run will have, mapped pages included.
    package var peakBytes: Int { residentBytes + optimizerBytes + stepBytes + savingBytes + Self.runtimeBytes }

    /// What the runtime and the libraries come to need while training: lists, closures, arenas, thread stacks.
    private static let runtimeBytes = 6 << 20

    /// Chooses the fastest way that the recipe's `max_memory` allows; without one, the fastest.
    ///
    /// The base's weights are read once, so that they are resident as they will be in training.
    /// - Parameter cut: the way that a run has begun in; it is kept, because other parts give other bits.
    /// - Throws: `memory` if the least that would do is more than is allowed, or than the machine has.
    package init(
        _ preparation: Preparation, adapter: AttachedAdapter, cut: Cut? = nil, in workspace: Workspace
    ) throws(Diagnostic) {
        preparation.base.decoder.settleWeights(in: workspace)
        let resident = ProcessMemory.residentBytes
        let limit = preparation.recipe.train.maximumMemory
        let saving = Self.savesBesideSteps(preparation) ? 12 * adapter.parameterCount : 0
        var least: MemoryPlan?
        let candidates =
            cut.map { [($0.microTokens, $0.economy)] }
            ?? Self.candidates(preparation.microTokens, limited: limit != nil)
        for (microTokens, economy) in candidates {
            let plan = MemoryPlan(
                microTokens: microTokens, economy: economy, residentBytes: resident,
                optimizerBytes: 8 * adapter.parameterCount,
                stepBytes: Self.rehearse(
                    preparation, adapter, microTokens: microTokens, economy: economy, in: workspace),
                savingBytes: saving)
            if plan.peakBytes <= limit ?? ProcessMemory.obtainableBytes + resident {
                self = plan
                return
            }
            if plan.peakBytes < least?.peakBytes ?? Int.max { least = plan }
        }
        throw Self.refusal(limit: limit, least: least?.peakBytes ?? 0, resident: resident)
    }

    /// How a step is cut, and what is computed twice: results depend on it to the bit.
    package struct Cut: Sendable {
        package let microTokens: Int
        package let economy: MemoryEconomy

        /// Reads it out of a plan's `json`.
        package init?(_ json: JSONValue?) {
            guard let json, let tokens = json["micro_tokens"]?.integer, tokens > 0,
                let recomputes = json["recomputes_layers"]?.bool, let logits = json["logit_bytes"]?.integer, logits > 0
            else { return nil }
            microTokens = tokens
            economy = MemoryEconomy(recomputesLayers: recomputes, logitBytes: logits)
        }
    }

    private init(
        microTokens: Int, economy: MemoryEconomy, residentBytes: Int, optimizerBytes: Int, stepBytes: Int,
        savingBytes: Int
    ) {
        self.microTokens = microTokens
        self.economy = economy
        self.residentBytes = residentBytes
        self.optimizerBytes = optimizerBytes
        self.stepBytes = stepBytes
        self.savingBytes = savingBytes
    }

    /// Whether the run saves before its last step.
    private static func savesBesideSteps(_ preparation: Preparation) -> Bool {
        let train = preparation.recipe.train
        return train.checkpointEvery < preparation.totalSteps || train.checkpointMinutes != nil
            || train.evaluateEvery != nil
    }

    private static func refusal(limit: Int?, least: Int, resident: Int) -> Diagnostic {
        guard let limit else {
            return Diagnostic(
                RecipeCode.memory, at: "train",
                found: "\(mebibytes(ProcessMemory.obtainableBytes + resident)) that can be had",
                expected: "at least \(mebibytes(least)) for training at full speed",
                fix: "Give --max-memory, which computes in smaller parts, or lower train.max_length")
        }
        return Diagnostic(
            RecipeCode.memory, at: "train.max_memory", found: mebibytes(limit),
            expected: "at least \(mebibytes(least)), computed in the smallest parts",
            fix: "Allow that much, lower train.max_length or adapter.rank, or take a smaller base")
    }

    /// Fastest first. Smaller parts cost a little, since weights are packed for every part; recomputed layers cost half
    /// as much arithmetic again.
    private static func candidates(_ microTokens: Int, limited: Bool) -> [(Int, MemoryEconomy)] {
        let full = (microTokens, MemoryEconomy())
        guard limited else { return [full] }
        let kept = [(512, 32), (256, 16)].filter { $0.0 < microTokens }
            .map { ($0.0, MemoryEconomy(logitBytes: $0.1 << 20)) }
        let recomputed = [(microTokens, 64), (512, 32), (256, 16), (128, 8), (64, 4)]
            .filter { $0.0 < microTokens || $0.1 == 64 }
            .map { ($0.0, MemoryEconomy(recomputesLayers: true, logitBytes: $0.1 << 20)) }
        return [full] + kept + recomputed
    }

    /// The bytes that the buffers of a step come to: over the first steps in their order, then the largest ones.
    private static func rehearse(
        _ preparation: Preparation, _ adapter: AttachedAdapter, microTokens: Int, economy: MemoryEconomy,
        in workspace: Workspace
    ) -> Int {
        let steps = preparation.steps(epoch: 0).map { preparation.microBatches(of: $0, tokens: microTokens) }
        let bySize = steps.sorted { $0.largestPart > $1.largestPart }
        let stage = Workspace(rehearsing: workspace)
        for step in steps.prefix(rehearsedSteps) + bySize.prefix(rehearsedSteps) {
            preparation.base.decoder.rehearse(step, economy: economy, in: stage)
            // Memory that nobody has written: it must not be taken for gradients.
            for parameter in adapter.parameters { parameter.clearGradient() }
        }
        return stage.buffers.statistics.peakResidentBytes
    }

    private static let rehearsedSteps = 12
}

extension [PackedBatch] {
    /// Hidden states and logits both count: predictions are what the head is computed for.
    fileprivate var largestPart: Int { map { $0.tokens.count + $0.predictionCount / 2 }.max() ?? 0 }
}

extension Decoder {
    /// Walks a step forwards and backwards through a workspace that computes nothing.
    fileprivate func rehearse(_ step: [PackedBatch], economy: MemoryEconomy, in stage: Workspace) {
        for batch in step {
            let tape = Tape(stage, recording: true)
            tape.backward(from: loss(batch, on: tape, dropoutKey: 0, economy: economy).sum)
        }
    }
}

extension MemoryPlan {
    package var json: JSONValue {
        .object([
            "predicted_peak_bytes": .integer(peakBytes), "micro_tokens": .integer(microTokens),
            "recomputes_layers": .bool(economy.recomputesLayers), "logit_bytes": .integer(economy.logitBytes),
        ])
    }

    /// For people.
    package var text: String {
        let way = economy.recomputesLayers ? ", layers computed twice" : ""
        let saving = savingBytes > 0 ? ", a checkpoint while it is written \(mebibytes(savingBytes))" : ""
        return "\(mebibytes(peakBytes)) at the peak (program, records and weights \(mebibytes(residentBytes)), "
            + "optimiser \(mebibytes(optimizerBytes)), a step of up to \(microTokens) tokens at once "
            + "\(mebibytes(stepBytes))\(way)\(saving))"
    }
}

private func mebibytes(_ bytes: Int) -> String { "\((bytes + (1 << 20) - 1) >> 20) MiB" }
