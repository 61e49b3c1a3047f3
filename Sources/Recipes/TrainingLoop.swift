import Batches
import Checkpoints
import Diagnostics
import Formats
import StrictJSON
import Training

/// Rows whose loss is looked at during training.
enum HeldOutRows {
    case records([PackedBatch])
    case pairs([PreferenceBatch], PreferenceLoss)

    var isEmpty: Bool {
        switch self {
        case .records(let batches): batches.isEmpty
        case .pairs(let batches, _): batches.isEmpty
        }
    }
}

/// The steps of a run from where it stands: trains, logs, looks at held-out rows and saves.
struct TrainingLoop: ~Copyable {
    private let training: TrainingRun
    private let memory: MemoryPlan
    private let planned: Int
    /// Where this loop ends.
    let total: Int
    private let heldOut: HeldOutRows
    /// log p of every completion under the base, where the objective needs it.
    private let reference: [Double]
    private var trainer: Trainer
    private(set) var position: RunPosition
    private var metrics: MetricsFile

    private let clock = ContinuousClock()
    private let start: ContinuousClock.Instant
    private let secondsBefore: Double
    private let tokensBefore: Int
    private let stepsBefore: Int
    private let writer: CheckpointWriter
    /// The step of the last checkpoint, and when it was.
    private var saved: (step: Int, time: ContinuousClock.Instant)
    /// Whether a checkpoint is being written.
    private var isSaving = false
    private var failedSaves = 0
    /// What is wrong with the loss after the last step.
    private var alarm: LossWatchdog.Reason?
    /// Whether the held-out loss had not fallen for as long as the recipe allows.
    private(set) var endedEarly = false

    var step: Int { trainer.stepCount }

    init(
        _ training: TrainingRun, trainer: Trainer, memory: MemoryPlan, position: RunPosition, planned: Int, total: Int,
        heldOut: HeldOutRows, reference: [Double], metrics: consuming MetricsFile
    ) {
        self.training = training
        self.trainer = trainer
        self.memory = memory
        self.position = position
        self.planned = planned
        self.total = total
        self.heldOut = heldOut
        self.reference = reference
        self.metrics = metrics
        start = clock.now
        (secondsBefore, tokensBefore, stepsBefore) = (position.trainSeconds, position.tokens, trainer.stepCount)
        saved = (trainer.stepCount, start)
        writer = CheckpointWriter(training.store)
    }

    deinit { writer.wait() }

    /// - Returns: false if it was asked to stop before the end.
    mutating func run(
        shouldStop: () -> Bool, report: (TrainingRun.Event) -> Void
    ) throws(Diagnostic) -> Bool {
        let train = training.preparation.recipe.train
        var index = 0
        for epoch in 0..<train.epochs {
            for rows in training.preparation.steps(epoch: epoch) {
                index += 1
                guard index > step else { continue }
                guard step < total, !endedEarly else { break }
                try take(rows, report: report)
                if let every = train.evaluateEvery, step.isMultiple(of: every), !heldOut.isEmpty {
                    try evaluate(report: report)
                }
                let isLast = step == total
                if shouldStop(), !isLast {
                    try saveAndWait(report: report)
                    return false
                }
                try noteSaved(waiting: false, report: report)
                try watch(report: report)
                if endedEarly { break }
                // The end itself needs no checkpoint, unless more steps were planned.
                if isDue(train), !isLast { try save(report: report) }
            }
        }
        if total < planned, !endedEarly {
            try saveAndWait(report: report)
        } else {
            try noteSaved(waiting: true, report: report)
        }
        try metrics.append([
            "done": .bool(true), "steps": .integer(step), "train_seconds": .number(position.trainSeconds),
            "peak_bytes": .integer(ProcessMemory.peakResidentBytes),
        ])
        try metrics.sync()
        try training.store.settle()
        return true
    }

    private mutating func take(_ rows: [Int], report: (TrainingRun.Event) -> Void) throws(Diagnostic) {
        let begin = clock.now
        let preparation = training.preparation
        let result: TrainingStep
        switch preparation.recipe.objective {
        case .supervised: result = try trainer.step(preparation.microBatches(of: rows, tokens: memory.microTokens))
        case .preference(let loss):
            result = try trainer.step(
                preparation.preferenceBatches(of: rows, tokens: memory.microTokens, reference: reference), loss)
        }
        let now = clock.now
        let elapsed = (now - start).inSeconds
        position.tokens += result.rowTokens
        position.lastLoss = result.loss
        alarm = position.watchdog.look(at: result.loss, step: step, after: preparation.recipe.train.warmupSteps)
        position.trainSeconds = secondsBefore + elapsed
        let progress = TrainingRun.StepProgress(
            step: step, totalSteps: total, seconds: (now - begin).inSeconds, elapsed: elapsed,
            ownSteps: step - stepsBefore,
            tokensPerSecond: Double(position.tokens - tokensBefore) / max(elapsed, 1e-9),
            peakBytes: ProcessMemory.peakResidentBytes)
        try metrics.append(result, progress)
        report(.step(result, progress: progress))
    }

    private mutating func evaluate(report: (TrainingRun.Event) -> Void) throws(Diagnostic) {
        let loss =
            switch heldOut {
            case .records(let batches): trainer.evaluate(batches)
            case .pairs(let batches, let objective): trainer.evaluate(batches, objective)
            }
        try metrics.append(["step": .integer(step), "evaluation_loss": .number(loss)])
        report(.evaluated(step: step, loss: loss))
        guard loss < position.best?.loss ?? .infinity else {
            let train = training.preparation.recipe.train
            if let patience = train.patience, let every = train.evaluateEvery, let best = position.best,
                step - best.step >= patience * every
            {
                endedEarly = true
                report(.endedEarly(step: step, best: best.step))
            }
            return
        }
        position.best = (step, loss)
        if step < total { try save(report: report) }
    }

    /// Puts the adapter back to the step with the lowest held-out loss, where the recipe wants that.
    ///
    /// - Returns: the step whose state the adapter has.
    mutating func restoreBest() throws(Diagnostic) -> Int {
        guard training.preparation.recipe.train.keep == .best, let best = position.best, best.step < step else {
            return step
        }
        let checkpoint = try training.store.checkpoint(step: best.step)
        try trainer.restore(step: best.step, from: checkpoint.tensors())
        return best.step
    }

    /// Ends a run whose loss grows or does not move; its state is saved first.
    private mutating func watch(report: (TrainingRun.Event) -> Void) throws(Diagnostic) {
        guard let reason = alarm, training.preparation.recipe.train.hasWatchdog else { return }
        try saveAndWait(report: report)
        throw Diagnostic(
            RunCode.stuck, file: training.store.run, at: "step \(step)", found: reason.found, expected: reason.expected,
            fix: reason.fix + "; --resume with --set train.watchdog=false goes on from here")
    }

    private func isDue(_ train: Recipe.Train) -> Bool {
        guard saved.step < step else { return false }
        if step.isMultiple(of: train.checkpointEvery) || failedSaves > 0 { return true }
        return train.checkpointMinutes.map { (clock.now - saved.time).inSeconds >= 60 * $0 } ?? false
    }

    /// Begins to save the state after the last step, when what is being saved is.
    private mutating func save(report: (TrainingRun.Event) -> Void) throws(Diagnostic) {
        try noteSaved(waiting: true, report: report)
        guard saved.step < step else { return }
        do throws(Diagnostic) {
            try metrics.sync()
        } catch { return try noteFailure(error, report: report) }
        position.metricsBytes = metrics.count
        writer.begin(
            .init(
                step: step, tensors: trainer.stateTensors(), state: position.state(memory, training.identity),
                best: position.best?.step))
        isSaving = true
    }

    /// The save at the end of this process's work.
    private mutating func saveAndWait(report: (TrainingRun.Event) -> Void) throws(Diagnostic) {
        try save(report: report)
        // What failed is tried once more, as it is between steps.
        try noteSaved(waiting: true, report: report)
        guard saved.step < step else { return }
        try save(report: report)
        try noteSaved(waiting: true, report: report)
    }

    /// Takes note of a save that has ended.
    private mutating func noteSaved(
        waiting: Bool, report: (TrainingRun.Event) -> Void
    ) throws(Diagnostic) {
        guard isSaving else { return }
        if waiting { writer.wait() }
        guard let outcome = writer.outcome() else { return }
        isSaving = false
        if let error = outcome.error { return try noteFailure(error, report: report) }
        (failedSaves, saved) = (0, (outcome.step, clock.now))
        report(.saved(step: outcome.step, seconds: outcome.seconds))
    }

    /// One failure is reported and made good after the next step; a second one in a row ends the run.
    private mutating func noteFailure(
        _ error: Diagnostic, report: (TrainingRun.Event) -> Void
    ) throws(Diagnostic) {
        failedSaves += 1
        guard failedSaves < 2 else {
            var error = error
            if error.fix == nil { error.fix = "The run goes on with --resume after step \(saved.step)" }
            throw error
        }
        report(.notSaved(error))
    }
}
