package import Autograd
import Batches
import Datasets
package import Diagnostics
package import Formats
import Glibc
import Models
import NN
import StrictJSON
package import Training

/// A recipe being carried out: trains an adapter and leaves a run folder behind.
package struct TrainingRun {
    private let preparation: Preparation
    private let workspace: Workspace
    private let folder: RunFolder
    private let digests: BaseDigests

    /// What is told while it runs.
    package enum Event {
        case started(totalSteps: Int, parameters: Int, memory: MemoryPlan)
        case step(TrainingStep, progress: StepProgress)
        case evaluated(step: Int, loss: Double)
    }

    /// The clock and the memory beside a step.
    package struct StepProgress: Sendable {
        /// Optimiser steps done, this one included.
        package let step: Int
        package let totalSteps: Int
        /// Seconds of this step, and of all so far.
        package let seconds: Double
        package let elapsed: Double
        /// Row tokens per second so far.
        package let tokensPerSecond: Double
        package let peakBytes: Int
        package var secondsLeft: Double { elapsed / Double(step) * Double(totalSteps - step) }
    }

    /// What a finished run has come to.
    package struct Summary {
        package let steps: Int
        package let lastLoss: Double
        package let trainSeconds: Double
        package let tokensPerSecond: Double
        package let peakBytes: Int
        package let memory: MemoryPlan
        package let folder: String
        package let adapterDigest: String
    }

    /// - Throws: `RunCode.exists` if the folder holds a run and `replacing` is false, and what digests need to read.
    package init(
        _ preparation: Preparation, folder: RunFolder, in workspace: Workspace
    ) throws(Diagnostic) {
        self.preparation = preparation
        self.workspace = workspace
        self.folder = folder
        digests = try BaseDigests(preparation.base.files)
    }

    /// Trains to the end, or for `maximumSteps`, and publishes the adapter.
    ///
    /// - Parameter report: gets every event; false stops the run after the step, and what was learned is kept.
    /// - Throws: `diverged`, errors of writing; the folder then has no adapter.
    package func run(
        maximumSteps: Int? = nil, report: (Event) throws(Diagnostic) -> Bool
    ) throws(Diagnostic) -> Summary {
        let recipe = preparation.recipe
        let decoder = preparation.base.decoder
        let config = try PEFTConfig(recipe)
        let adapter = try decoder.attachNewAdapter(config, seed: recipe.train.seed, in: workspace)
        let memory = try MemoryPlan(preparation, adapter: adapter, in: workspace)
        let planned = preparation.totalSteps
        let total = min(planned, maximumSteps ?? planned)
        var trainer = Trainer(
            decoder, adapter: adapter, optimizer: AdamW(recipe.train),
            schedule: LearningRateSchedule(recipe.train, totalSteps: planned), seed: recipe.train.seed,
            economy: memory.economy, in: workspace)
        let heldOut = try heldOutBatches()
        try folder.create()
        var metrics = try folder.metricsFile()
        _ = try report(.started(totalSteps: total, parameters: adapter.parameterCount, memory: memory))
        let clock = ContinuousClock()
        let start = clock.now
        var (tokens, lastLoss, stopped) = (0, 0.0, false)
        epochs: for epoch in 0..<recipe.train.epochs {
            for step in preparation.steps(epoch: epoch) {
                guard trainer.stepCount < total, !stopped else { break epochs }
                let begin = clock.now
                let result = try trainer.step(preparation.microBatches(of: step, tokens: memory.microTokens))
                let now = clock.now
                tokens += result.rowTokens
                lastLoss = result.loss
                let elapsed = (now - start).inSeconds
                let progress = StepProgress(
                    step: trainer.stepCount, totalSteps: total, seconds: (now - begin).inSeconds, elapsed: elapsed,
                    tokensPerSecond: Double(tokens) / max(elapsed, 1e-9),
                    peakBytes: ProcessMemory.peakResidentBytes)
                try metrics.append(result, progress)
                stopped = try !report(.step(result, progress: progress))
                if let every = recipe.train.evaluateEvery, trainer.stepCount.isMultiple(of: every), !heldOut.isEmpty {
                    let loss = trainer.evaluate(heldOut)
                    try metrics.append(["step": .integer(trainer.stepCount), "evaluation_loss": .number(loss)])
                    _ = try report(.evaluated(step: trainer.stepCount, loss: loss))
                }
            }
        }
        let trainSeconds = (clock.now - start).inSeconds
        let peak = ProcessMemory.peakResidentBytes
        try metrics.append([
            "done": .bool(true), "steps": .integer(trainer.stepCount), "train_seconds": .number(trainSeconds),
            "peak_bytes": .integer(peak),
        ])
        try metrics.close()
        let digest = try folder.publishAdapter(adapter, preparation: preparation, digests: digests)
        let summary = Summary(
            steps: trainer.stepCount, lastLoss: lastLoss, trainSeconds: trainSeconds,
            tokensPerSecond: Double(tokens) / max(trainSeconds, 1e-9), peakBytes: peak, memory: memory,
            folder: folder.path,
            adapterDigest: digest)
        try folder.writeRecord(
            RunRecord(
                preparation: preparation, digests: digests, workspace: workspace, parameters: adapter.parameterCount,
                totalSteps: planned, summary: summary))
        return summary
    }

    /// Held-out rows for the loss during training; none where the recipe does not ask for it.
    private func heldOutBatches() throws(Diagnostic) -> [PackedBatch] {
        guard preparation.recipe.train.evaluateEvery != nil, preparation.recipe.evaluate != nil else { return [] }
        let set = try preparation.heldOut()
        let held = try Dataset(set, encoder: preparation.encoder, threads: workspace.threads)
        return StepPacking.parts(
            of: Array(held.examples.indices), lengths: held.lengths, tokens: preparation.microTokens
        ).map { part in preparation.base.decoder.spec.pack(part.map { held.examples[$0] }, sharingPrefixes: true) }
    }
}

extension Duration {
    package var inSeconds: Double { Double(components.seconds) + Double(components.attoseconds) * 1e-18 }
}

extension AdamW {
    init(_ train: Recipe.Train) {
        self.init(
            beta1: train.betas.0, beta2: train.betas.1, epsilon: train.epsilon,
            weightDecay: train.weightDecay, maximumNorm: train.clip.map { Float($0) })
    }
}

extension LearningRateSchedule {
    init(_ train: Recipe.Train, totalSteps: Int) {
        let shape: Shape
        switch train.schedule {
        case .cosine: shape = .cosine
        case .linear: shape = .linear
        case .constant: shape = .constant
        }
        self.init(
            peak: train.learningRate, shape: shape, warmupSteps: train.warmupSteps, totalSteps: totalSteps)
    }
}

extension PEFTConfig {
    /// The configuration of the recipe's adapter, PEFT's rarer options included.
    ///
    /// - Throws: `adapterKey` or `adapterConfig` for an option under `adapter.peft` that PEFT or this version lacks.
    package init(_ recipe: Recipe) throws(Diagnostic) {
        let adapter = recipe.adapter
        var config = PEFTConfig()
        config.r = adapter.rank
        config.alpha = adapter.alpha
        config.dropout = adapter.dropout
        config.useRSLoRA = adapter.isRankStabilized
        config.layersToTransform = adapter.layers
        switch adapter.targets {
        case .allLinear: config.targetModules = .allLinear
        case .names(let names): config.targetModules = .names(names)
        case .pattern(let pattern): config.targetModules = .regex(pattern)
        }
        config.baseModel = recipe.baseName
        var members = config.json.object ?? JSONObject()
        for (key, value) in adapter.peft.members { members[key] = value }
        try self.init(.object(members))
    }
}
