package import Autograd
import Batches
import Checkpoints
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
    let preparation: Preparation
    private let workspace: Workspace
    private let folder: RunFolder
    private let digests: BaseDigests
    let identity: RunIdentity
    let store: CheckpointStore

    /// What is told while it runs.
    package enum Event {
        case started(totalSteps: Int, parameters: Int, memory: MemoryPlan)
        /// The base's own log-probabilities are computed: completions done, and all.
        case reference(done: Int, of: Int)
        /// A checkpoint was not whole and bears another name now.
        case damaged(name: String, newName: String)
        /// The run goes on after this step; nil: no checkpoint was published, so it starts with the first.
        case resumed(step: Int?)
        case step(TrainingStep, progress: StepProgress)
        case evaluated(step: Int, loss: Double)
        /// The held-out loss has not fallen for so many evaluations.
        case endedEarly(step: Int, best: Int)
        case saved(step: Int, seconds: Double)
        /// Saving failed; it is tried once more after the next step.
        case notSaved(Diagnostic)
    }

    package enum Outcome {
        case finished(Summary)
        /// Asked to stop; the state after this step is saved.
        case stopped(step: Int)
    }

    /// The clock and the memory beside a step.
    package struct StepProgress: Sendable {
        /// Optimiser steps done, this one included.
        package let step: Int
        package let totalSteps: Int
        /// Seconds of this step, and of all that this process has done.
        package let seconds: Double
        package let elapsed: Double
        /// Steps of this process.
        let ownSteps: Int
        /// Row tokens per second of this process.
        package let tokensPerSecond: Double
        package let peakBytes: Int
        package var secondsLeft: Double { elapsed / Double(max(1, ownSteps)) * Double(totalSteps - step) }
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
        package let resumedFrom: Int?
        /// What had changed when the run went on, and was allowed to.
        let drift: [String]
        /// The step whose state the adapter has.
        package let publishedStep: Int
        /// Whether the held-out loss had not fallen for so long that training ended.
        package let endedEarly: Bool
    }

    /// - Throws: what digests need to read.
    package init(
        _ preparation: Preparation, folder: RunFolder, in workspace: Workspace
    ) throws(Diagnostic) {
        self.preparation = preparation
        self.workspace = workspace
        self.folder = folder
        digests = try BaseDigests(preparation.base.files)
        identity = RunIdentity(preparation, digests: digests, workspace: workspace)
        store = CheckpointStore(inRun: folder.path, keeping: preparation.recipe.train.checkpointsKept)
    }

    /// Trains to the end, or for `maximumSteps`, and publishes the adapter.
    ///
    /// - Parameters:
    ///   - isResuming: whether to go on from the newest checkpoint of the folder, to the bit as if there had been no
    ///     interruption.
    ///   - allowedDrift: what may have changed since the checkpoint, by its key or one above it; the record then says
    ///     for good that the run is not to the bit what one without an interruption gives.
    ///   - cut: the way that a run to be repeated was computed in.
    ///   - shouldStop: asked after every step; if true, the state is saved and the run ends without an adapter.
    /// - Throws: `drift` if the run was made of something else, `damaged` if no checkpoint is whole, `diverged`, errors of
    ///   writing; the folder then has no adapter, and the last checkpoint is as it was.
    package func run(
        maximumSteps: Int? = nil, isResuming: Bool = false, allowedDrift: [String] = [], cut: MemoryPlan.Cut? = nil,
        shouldStop: () -> Bool = { false }, report: (Event) -> Void
    ) throws(Diagnostic) -> Outcome {
        let recipe = preparation.recipe
        let checkpoint = isResuming ? try store.newest { report(.damaged(name: $0, newName: $1)) } : nil
        var position = RunPosition()
        if let checkpoint { position = try self.position(of: checkpoint, allowedDrift: allowedDrift) }
        let config = try PEFTConfig(recipe)
        let adapter = try preparation.base.decoder.attachNewAdapter(config, seed: recipe.train.seed, in: workspace)
        let cut = checkpoint.flatMap { MemoryPlan.Cut($0.state["memory"]) } ?? cut
        let memory = try MemoryPlan(preparation, adapter: adapter, cut: cut, in: workspace)
        let planned = preparation.totalSteps
        var optimizer = AdamW(recipe.train)
        optimizer.setGroups(
            for: adapter, loraPlusRatio: recipe.train.loraPlusRatio,
            savedFactor: (recipe.train.headLearningRate ?? recipe.train.learningRate) / recipe.train.learningRate)
        var trainer = Trainer(
            preparation.base.decoder, adapter: adapter, optimizer: optimizer,
            schedule: LearningRateSchedule(recipe.train, totalSteps: planned), seed: recipe.train.seed,
            economy: memory.economy, in: workspace)
        if let checkpoint { try trainer.restore(step: checkpoint.step, from: checkpoint.tensors()) }
        try folder.claim()
        folder.clear(keepingCheckpoints: checkpoint != nil)
        if isResuming { report(.resumed(step: checkpoint?.step)) }
        var loop = TrainingLoop(
            self, trainer: trainer, memory: memory, position: position, planned: planned,
            total: min(planned, maximumSteps ?? planned), heldOut: try heldOutRows(trainer),
            reference: try references(trainer, report: report),
            metrics: try folder.metricsFile(keeping: position.metricsBytes))
        report(.started(totalSteps: loop.total, parameters: adapter.parameterCount, memory: memory))
        guard try loop.run(shouldStop: shouldStop, report: report) else { return .stopped(step: loop.step) }
        let steps = loop.step
        let published = try loop.restoreBest()
        let digest = try folder.publishAdapter(adapter, preparation: preparation, digests: digests)
        let summary = Summary(
            steps: steps, lastLoss: loop.position.lastLoss, trainSeconds: loop.position.trainSeconds,
            tokensPerSecond: Double(loop.position.tokens) / max(loop.position.trainSeconds, 1e-9),
            peakBytes: ProcessMemory.peakResidentBytes, memory: memory, folder: folder.path, adapterDigest: digest,
            resumedFrom: position.resumedFrom, drift: position.drift, publishedStep: published,
            endedEarly: loop.endedEarly)
        try folder.writeRecord(
            RunRecord(
                preparation: preparation, digests: digests, workspace: workspace, parameters: adapter.parameterCount,
                totalSteps: planned, summary: summary,
                recipeFolder: RecipePath.relative(recipe.folder, from: folder.path)))
        return .finished(summary)
    }

    /// - Throws: `drift` with every difference between this run and the checkpoint's.
    private func position(
        of checkpoint: Checkpoint, allowedDrift: [String]
    ) throws(Diagnostic) -> RunPosition {
        guard let stored = checkpoint.state["identity"] else { throw RunPosition.unreadable(checkpoint.path) }
        let differences = identity.differences(from: stored)
        let refused = differences.filter { difference in !allowedDrift.contains { difference.isUnder($0) } }
        guard refused.isEmpty else {
            throw Diagnostic(
                RunCode.drift, file: checkpoint.path, found: refused.map(\.text).joined(separator: "; "),
                expected: "what the run was begun with",
                fix: "Put it back to go on, start another run, or give --allow-drift with the key")
        }
        var position = try RunPosition(checkpoint.state, step: checkpoint.step, file: checkpoint.path)
        position.drift += differences.map(\.text)
        return position
    }

    /// Held-out rows for the loss during training; none where the recipe does not ask for it.
    private func heldOutRows(_ trainer: Trainer) throws(Diagnostic) -> HeldOutRows {
        guard preparation.recipe.train.evaluateEvery != nil, preparation.recipe.evaluate != nil else {
            return .records([])
        }
        if case .preference(let loss) = preparation.recipe.objective, loss.isOfPairs {
            var batches = try preparation.heldOutPairs(in: workspace)
            guard loss.needsReference else { return .pairs(batches, loss) }
            let values = try preparation.base.decoder.withoutAdapter { () throws(Diagnostic) in
                batches.map { trainer.completions($0).map(\.policy) }
            }
            for index in batches.indices { batches[index].reference = values[index] }
            return .pairs(batches, loss)
        }
        let held = try Dataset(preparation.heldOut(), encoder: preparation.encoder, threads: workspace.threads)
        return .records(
            StepPacking.parts(
                of: Array(held.examples.indices), lengths: held.lengths, tokens: preparation.microTokens
            ).map { part in
                preparation.base.decoder.spec.pack(part.map { held.examples[$0] }, sharingPrefixes: true)
            })
    }

    /// log p of every completion under the base: the same model with the adapter off. They are computed again when a run
    /// goes on, to the same bits.
    private func references(_ trainer: Trainer, report: (Event) -> Void) throws(Diagnostic) -> [Double] {
        guard case .preference(let loss) = preparation.recipe.objective, loss.needsReference else { return [] }
        let rows = preparation.dataset.rowCount
        return try preparation.base.decoder.withoutAdapter { () throws(Diagnostic) in
            var values: [Double] = []
            for part in StepPacking.parts(
                of: Array(0..<rows), lengths: preparation.dataset.lengths, tokens: preparation.microTokens)
            {
                report(.reference(done: values.count, of: 2 * rows))
                for batch in preparation.preferenceBatches(of: part, tokens: .max, reference: []) {
                    values += trainer.completions(batch).map(\.policy)
                }
            }
            report(.reference(done: values.count, of: 2 * rows))
            return values
        }
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
        self.init(
            peak: train.learningRate, shape: train.schedule, warmupSteps: train.warmupSteps, totalSteps: totalSteps,
            minimum: min(train.minimumRate, train.learningRate), decaySteps: train.decaySteps)
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
