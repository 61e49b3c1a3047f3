import ArgumentParser
import Diagnostics
import Evaluation
import Formats
import Models
import Recipes

struct EvaluateCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "evaluate", abstract: "Measure base and adapted model side by side on held-out rows.",
        discussion: """
            Example:
              espalier evaluate recipes/finance/banking77-quickstart.yaml --limit 200

            Without --adapter the adapter of the recipe's run is taken. Values stand with their 95 % intervals, and for
            tasks with labels beside what naive Bayes achieves on the same rows.
            """)

    @OptionGroup var recipe: RecipeOptions
    @OptionGroup var threads: ThreadOptions
    @OptionGroup var output: JSONOption

    @OptionGroup var adapter: AdapterOptions

    @Option(help: "A file of records, instead of the recipe's evaluate.data.")
    var data: String?

    @Option(help: "The most rows.")
    var limit: Int?

    func validate() throws {
        if let limit, limit < 1 { throw ValidationError("--limit takes 1 or more") }
    }

    func run() throws {
        let loaded = try recipe.load()
        let workspace = try threads.workspace(for: loaded)
        let path = adapter.adapter ?? joinPath(loaded.out.resolved, "adapter")
        let saved = try adapter.open(path, for: BaseFiles(loaded.base.resolved))
        let preparation = try Preparation(loaded, in: workspace)
        let evaluation = try EvaluationRun(preparation, data: data, limit: limit, in: workspace)
        if evaluation.sharedWithTraining > 0 {
            Console.note(
                "\(evaluation.sharedWithTraining) of \(evaluation.rowCount) rows ask what is also trained on.")
        }
        var lastTenth = -1
        let report = try evaluation.run(adapter: saved) { done, total in
            if Console.isInteractive {
                Console.note("\r\u{1B}[K\(done) of \(total) answers", terminator: done == total ? "\n" : "")
            } else if done * 10 / total != lastTenth {
                lastTenth = done * 10 / total
                Console.note("\(done) of \(total) answers")
            }
        }
        if output.json { return try Console.write(report.json) }
        try Console.write(report.text)
        for metric in report.metrics {
            guard let bayes = metric.naiveBayes, let adapted = metric.adapted, bayes.value >= adapted.value else {
                continue
            }
            try Console.write("Naive Bayes, which counts words, does no worse here than the adapted model.")
        }
    }
}
