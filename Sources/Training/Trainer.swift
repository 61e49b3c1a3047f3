package import Autograd
package import Batches
package import Diagnostics
package import Models
package import NN

/// What an optimiser step did.
package struct TrainingStep: Sendable {
    /// Counted from 0.
    package let index: Int
    /// Mean negative log-likelihood per weighted target token, in nats.
    package let loss: Double
    package let learningRate: Double
    /// Before clipping.
    package let gradientNorm: Float
    /// Tokens of the rows, before any prefix was shared, and those that were computed.
    package let rowTokens: Int
    package let computedTokens: Int
    package let targets: Int
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
        var (loss, weight, targets) = (0.0, 0.0, 0)
        for (index, batch) in microBatches.enumerated() {
            let tape = Tape(workspace, recording: true)
            let key = CounterRandom(seed: seed, .dropout, index: UInt64(stepCount)).bits(at: UInt64(index))
            let result = model.loss(batch, on: tape, dropoutKey: key, paddedLength: nil, economy: economy)
            for (value, weight) in zip(result.perPrediction, batch.predictionWeights) {
                loss += Double(value) * Double(weight)
            }
            weight += batch.summedWeight
            targets += batch.predictionCount
            tape.backward(from: result.sum)
        }
        let scale = Float(1 / weight)
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
            index: stepCount, loss: loss / weight, learningRate: rate, gradientNorm: norm,
            rowTokens: microBatches.reduce(0) { $0 + $1.rowTokenCount },
            computedTokens: microBatches.reduce(0) { $0 + $1.tokens.count }, targets: targets)
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
