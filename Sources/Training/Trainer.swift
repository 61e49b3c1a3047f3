package import Autograd
package import Batches
package import Diagnostics
package import Models
package import NN

/// What an optimiser step did.
package struct TrainingStep: Sendable {
    /// Counted from 0.
    package let index: Int
    /// Mean negative log-likelihood per weighted target token, in nats; of pairs, the mean of their losses.
    package let loss: Double
    package let learningRate: Double
    /// Before clipping.
    package let gradientNorm: Float
    /// Tokens of the rows, before any prefix was shared, and those that were computed.
    package let rowTokens: Int
    package let computedTokens: Int
    package let targets: Int
    /// Of a step over pairs.
    package let preference: PreferenceMetrics?
}

/// Means over the pairs of a step.
package struct PreferenceMetrics: Sendable {
    /// The share of pairs whose chosen completion has the larger reward.
    package let accuracy: Double
    package let chosenReward: Double
    package let rejectedReward: Double
    package var margin: Double { chosenReward - rejectedReward }

    init(_ sums: PreferenceBatch.Outcome, pairs: Int) {
        accuracy = Double(sums.accurate) / Double(pairs)
        (chosenReward, rejectedReward) = (sums.chosenReward / Double(pairs), sums.rejectedReward / Double(pairs))
    }
}

/// Optimiser steps on an adapter. It knows nothing of files or terminals: the loop, the log and the checkpoints are the
/// caller's.
package struct Trainer {
    private let model: any LanguageModel
    let parameters: [Parameter]
    /// Of the parameters, as PEFT has them in a file.
    let names: [String]
    private let schedule: LearningRateSchedule
    private let seed: UInt64
    private let economy: MemoryEconomy
    let workspace: Workspace
    package internal(set) var optimizer: AdamW
    /// Steps done.
    package internal(set) var stepCount = 0

    /// - Parameters:
    ///   - model: one that has a loss (`DecoderSpec.checkLoss`).
    ///   - seed: of dropout, together with the step.
    ///   - economy: how steps trade time for memory.
    package init(
        _ model: any LanguageModel, adapter: AttachedAdapter, optimizer: AdamW, schedule: LearningRateSchedule,
        seed: UInt64,
        economy: MemoryEconomy = MemoryEconomy(), in workspace: Workspace
    ) {
        self.model = model
        let named = adapter.namedParameters
        parameters = named.map(\.parameter)
        names = named.map(\.name)
        self.optimizer = optimizer
        self.schedule = schedule
        self.seed = seed
        self.economy = economy
        self.workspace = workspace
    }

    /// One step over `microBatches`: their gradients are summed over all weighted targets and divided once, so that a
    /// batch with few targets does not weigh as much as a full one.
    ///
    /// - Throws: `diverged` if the loss or the gradient is no number; the parameters are then as before the step.
    package mutating func step(_ microBatches: [PackedBatch]) throws(Diagnostic) -> TrainingStep {
        var (loss, weight) = (0.0, 0.0)
        for (index, batch) in microBatches.enumerated() {
            let tape = Tape(workspace, recording: true)
            let result = model.loss(
                batch, on: tape, dropoutKey: dropoutKey(index), paddedLength: nil, economy: economy)
            for (value, weight) in zip(result.perPrediction, batch.predictionWeights) {
                loss += Double(value) * Double(weight)
            }
            weight += batch.summedWeight
            tape.backward(from: result.sum)
        }
        return try finishStep(loss: loss, divisor: weight, microBatches, preference: nil)
    }

    /// One step over pairs: the mean of their losses.
    ///
    /// - Throws: as `step(_:)` of records.
    package mutating func step(
        _ microBatches: [PreferenceBatch], _ objective: PreferenceLoss
    ) throws(Diagnostic) -> TrainingStep {
        var total = PreferenceBatch.Outcome()
        let pairs = microBatches.reduce(0) { $0 + $1.pairCount }
        let likelihood = Double(pairs) / Double(max(1, microBatches.reduce(0) { $0 + $1.likelihoodCount }))
        for (index, batch) in microBatches.enumerated() {
            let tape = Tape(workspace, recording: true)
            let result = model.loss(
                batch.packed, on: tape, dropoutKey: dropoutKey(index), paddedLength: nil, economy: economy
            ) { losses in
                let outcome = batch.outcome(losses, objective, likelihoodWeight: likelihood)
                total.add(outcome)
                return outcome.weights
            }
            tape.backward(from: result.sum)
        }
        return try finishStep(
            loss: total.loss, divisor: Double(pairs), microBatches.map(\.packed),
            preference: PreferenceMetrics(total, pairs: pairs))
    }

    private func dropoutKey(_ microBatch: Int) -> UInt64 {
        CounterRandom(seed: seed, .dropout, index: UInt64(stepCount)).bits(at: UInt64(microBatch))
    }

    private mutating func finishStep(
        loss: Double, divisor: Double, _ microBatches: [PackedBatch], preference: PreferenceMetrics?
    ) throws(Diagnostic) -> TrainingStep {
        let scale = Float(1 / divisor)
        let norm = scale * gradientNorm(parameters, in: workspace)
        guard loss.isFinite, norm.isFinite else {
            for parameter in parameters { parameter.clearGradient() }
            throw Diagnostic(
                TrainingCode.diverged, at: "step \(stepCount + 1)", found: "a loss or gradient that is no number",
                expected: "finite values", fix: "Lower train.learning_rate or lengthen train.warmup_steps")
        }
        let rate = schedule.rate(at: stepCount)
        _ = optimizer.step(parameters, scale: scale, learningRate: rate, in: workspace)
        defer { stepCount += 1 }
        return TrainingStep(
            index: stepCount, loss: loss / divisor, learningRate: rate, gradientNorm: norm,
            rowTokens: microBatches.reduce(0) { $0 + $1.rowTokenCount },
            computedTokens: microBatches.reduce(0) { $0 + $1.tokens.count },
            targets: microBatches.reduce(0) { $0 + $1.predictionCount }, preference: preference)
    }

    /// Log-probabilities of the completions of a batch by the model as it is, and their tokens; nothing is trained.
    package func completions(_ batch: PreferenceBatch) -> [PreferenceLoss.Completion] {
        let result = model.loss(
            batch.packed, on: Tape(workspace, recording: false), dropoutKey: nil, paddedLength: nil, economy: economy)
        return batch.completions(result.perPrediction)
    }

    /// The mean loss of pairs; nothing is trained.
    package func evaluate(_ batches: [PreferenceBatch], _ objective: PreferenceLoss) -> Double {
        let pairs = batches.reduce(0) { $0 + $1.pairCount }
        let likelihood = Double(pairs) / Double(max(1, batches.reduce(0) { $0 + $1.likelihoodCount }))
        var sum = 0.0
        for batch in batches {
            let result = model.loss(
                batch.packed, on: Tape(workspace, recording: false), dropoutKey: nil, paddedLength: nil,
                economy: economy)
            sum += batch.outcome(result.perPrediction, objective, likelihoodWeight: likelihood).loss
        }
        return pairs > 0 ? sum / Double(pairs) : 0
    }

    /// Mean negative log-likelihood per weighted target of `batches`, in nats; nothing is trained.
    package func evaluate(_ batches: [PackedBatch]) -> Double {
        var (loss, weight) = (0.0, 0.0)
        for batch in batches {
            let result = model.loss(
                batch, on: Tape(workspace, recording: false), dropoutKey: nil, paddedLength: nil, economy: economy)
            for (value, weight) in zip(result.perPrediction, batch.predictionWeights) {
                loss += Double(value) * Double(weight)
            }
            weight += batch.summedWeight
        }
        return weight > 0 ? loss / weight : 0
    }
}
