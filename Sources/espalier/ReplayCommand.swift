import ArgumentParser
import Diagnostics
import Formats
import Recipes
import StrictJSON

struct ReplayCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "replay", abstract: "Repeat a finished run from its record and compare every byte.",
        discussion: """
            Examples:
              espalier replay runs/banking77
              espalier replay runs/banking77 --set base=/mnt/models/base --keep runs/banking77-again

            The record, run.json, holds the recipe as it was resolved and the digests of base, tokenizer, template and
            data: if one of them has changed, nothing is repeated. The number of threads may be another. Exits with 0 if
            the adapter and the history of losses are the same to the bit, else with 65.
            """)

    @Argument(help: "The folder of a finished run.")
    var path: String

    @Option(name: .customLong("set"), help: "Where something lies now, such as base=PATH; values may not change.")
    var overrides: [String] = []

    @Option(help: "Keep the repeated run in this folder; otherwise it is removed if it is the same.")
    var keep: String?

    @OptionGroup var threads: ThreadOptions
    @OptionGroup var output: JSONOption

    func run() throws {
        let replay = try RunReplay(path)
        var parsed: [RecipeOverride] = []
        for override in overrides { parsed.append(try RecipeOverride(parsing: override)) }
        let recipe = try replay.recipe(parsed)
        let folder = try RunFolder(keep ?? path.trimmingSlashes + ".replay", replacing: false)
        let workspace = try threads.workspace(for: recipe)
        let preparation = try Preparation(recipe, in: workspace)
        let training = try TrainingRun(preparation, folder: folder, in: workspace)
        try replay.check(training)
        var progress = ProgressLine()
        Interruption.install()
        let outcome = try training.run(
            maximumSteps: replay.steps, cut: replay.cut, shouldStop: { Interruption.signal != nil },
            report: { progress.show($0) })
        progress.finish()
        guard case .finished(let summary) = outcome else {
            removeTree(folder.path)
            throw ExitCode(Interruption.exitStatus)
        }
        let differences = try replay.differences(from: folder.path)
        guard differences.isEmpty else {
            throw Diagnostic(
                RunCode.replay, file: path, found: "other values: " + differences.joined(separator: "; "),
                expected: "the same bits",
                fix: "Compare with the repeated run in \(folder.path); look for faulty memory if builds are the same")
        }
        if keep == nil { removeTree(folder.path) }
        if output.json {
            return try Console.write(
                .object([
                    "same": .bool(true), "steps": .integer(summary.steps),
                    "adapter_sha256": .string(summary.adapterDigest),
                ]))
        }
        try Console.write("The same adapter, to the bit, and the same losses in \(summary.steps) steps.")
        try Console.write("sha256 \(summary.adapterDigest)")
    }
}

extension String {
    fileprivate var trimmingSlashes: String {
        var text = self[...]
        while text.count > 1, text.last == "/" { text.removeLast() }
        return String(text)
    }
}
