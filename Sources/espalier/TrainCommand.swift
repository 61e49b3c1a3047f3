import ArgumentParser
import Datasets
import Diagnostics
import Glibc
import Recipes
import StrictJSON
import Training

struct TrainCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "train", abstract: "Train an adapter as a recipe says.",
        discussion: """
            Example:
              espalier train recipes/finance/banking77-quickstart.yaml --out runs/first --set train.epochs=2

            The run's folder holds adapter/ (PEFT's layout), metrics.jsonl (a line a step), run.json and checkpoints/.
            A run that was stopped, by Ctrl-C or by force, goes on from its newest checkpoint with --resume, to the bit
            as if it had never stopped.
            """)

    @OptionGroup var recipe: RecipeOptions
    @OptionGroup var threads: ThreadOptions
    @OptionGroup var output: JSONOption

    @Option(help: "The run's folder, instead of the recipe's `out`.")
    var out: String?

    @Flag(help: "Go on from the newest checkpoint in the folder.")
    var resume = false

    @Option(
        help: """
            With --resume: go on although this key has changed since, such as recipe.train.learning_rate; the record says \
            for good that the run is not exact to the bit. May be given again.
            """)
    var allowDrift: [String] = []

    @Flag(help: "Replace the run in the folder.")
    var fresh = false

    @Option(help: "Stop after this many optimiser steps; the schedule stays that of the whole run.")
    var maxSteps: Int?

    @OptionGroup var memory: MemoryOption

    func validate() throws {
        if let maxSteps, maxSteps < 1 { throw ValidationError("--max-steps takes 1 or more") }
        if !resume, !allowDrift.isEmpty { throw ValidationError("--allow-drift goes with --resume") }
        if resume, fresh { throw ValidationError("--resume and --fresh exclude each other") }
    }

    func run() throws {
        let loaded = try recipe.load(extra: memory.overrides)
        let folder = try RunFolder(out ?? loaded.out.resolved, replacing: fresh || resume)
        if resume, let finished = folder.finishedSteps, finished.done >= min(finished.planned, maxSteps ?? .max) {
            return Console.note("The run in \(escaped(folder.path)) is finished; nothing to do.")
        }
        let workspace = try threads.workspace(for: loaded)
        let preparation = try Preparation(loaded, in: workspace)
        Console.note(preparation.dataset.ledger.text)
        let training = try TrainingRun(preparation, folder: folder, in: workspace)
        var progress = ProgressLine()
        Interruption.install()
        let outcome = try training.run(
            maximumSteps: maxSteps, isResuming: resume, allowedDrift: allowDrift,
            shouldStop: { Interruption.signal != nil },
            report: { progress.show($0) })
        progress.finish()
        switch outcome {
        case .finished(let summary): try show(summary, folder: folder)
        case .stopped(let step):
            Console.note("Stopped and saved after step \(step). To go on, give the same command with --resume.")
            throw ExitCode(Interruption.exitStatus)
        }
    }

    private func show(_ summary: TrainingRun.Summary, folder: RunFolder) throws(Diagnostic) {
        if output.json {
            try Console.write(
                .object([
                    "folder": .string(summary.folder), "steps": .integer(summary.steps),
                    "final_loss": .number(summary.lastLoss), "train_seconds": .number(summary.trainSeconds),
                    "tokens_per_second": .number(summary.tokensPerSecond), "peak_bytes": .integer(summary.peakBytes),
                    "predicted_peak_bytes": .integer(summary.memory.peakBytes),
                    "adapter_sha256": .string(summary.adapterDigest),
                    "resumed_from": summary.resumedFrom.map(JSONValue.integer) ?? .null,
                ]))
        } else {
            Console.note(
                "\(summary.steps) steps in \(durationText(summary.trainSeconds)), "
                    + "\(decimal(summary.tokensPerSecond, 0)) tokens/s, peak memory \(bytesText(summary.peakBytes)) "
                    + "(predicted \(bytesText(summary.memory.peakBytes))).")
            Console.note("The adapter is in \(escaped(folder.adapterPath)).")
        }
    }
}

/// The state of a run on stderr: one line that changes on a terminal, otherwise a line now and then.
struct ProgressLine {
    private var lastShown: ContinuousClock.Instant?
    private var lastText = ""
    private var isOpen = false

    mutating func show(_ event: TrainingRun.Event) {
        switch event {
        case .damaged(let name, let newName):
            Console.note("warning: checkpoint \(name) is damaged; it is called \(newName) now.")
        case .resumed(let step?): Console.note("Going on after step \(step).")
        case .resumed(nil): Console.note("No checkpoint was published in this folder: starting at step 0.")
        case .saved(let step, let seconds):
            if !Console.isInteractive { Console.note("step \(step)  saved in \(decimal(seconds, 2)) s") }
        case .notSaved(let error):
            finish()
            Console.note("warning: the state was not saved; \(error)")
        case .endedEarly(let step, let best):
            finish()
            Console.note("step \(step)  the held-out loss was lowest after step \(best): training ends here.")
        case .reference(let done, let all):
            if Console.isInteractive {
                Console.note(
                    "\r\u{1B}[KThe base's own log-probabilities: \(done) of \(all) completions", terminator: "")
                isOpen = true
            } else if done == all {
                Console.note("The base's own log-probabilities of \(all) completions are known.")
            }
        case .started(let steps, let parameters, let memory):
            Console.note("Training \(parameters) parameters for \(steps) steps.")
            Console.note("Predicted memory: \(memory.text).")
        case .step(let step, let progress):
            let text =
                "step \(progress.step)/\(progress.totalSteps)  loss \(decimal(step.loss, 4))  "
                + "\(decimal(progress.tokensPerSecond, 0)) tokens/s  \(bytesText(progress.peakBytes))  "
                + "\(durationText(progress.secondsLeft)) left"
            let now = ContinuousClock().now
            let isLast = progress.step == progress.totalSteps
            if Console.isInteractive {
                Console.note("\r\u{1B}[K" + text, terminator: "")
                isOpen = true
            } else if isLast || progress.step == 1 || lastShown.map({ now - $0 >= .seconds(5) }) ?? true {
                Console.note(text)
                lastShown = now
            }
        case .evaluated(let step, let loss):
            finish()
            Console.note("step \(step)  held-out loss \(decimal(loss, 4))")
        }
    }

    mutating func finish() {
        if isOpen { Console.note("") }
        isOpen = false
    }
}
