import ArgumentParser
import Diagnostics
import Recipes

struct PlanCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "plan", abstract: "Say what `train` would do, without doing it.",
        discussion: """
            Example:
              espalier plan recipes/finance/banking77-quickstart.yaml --set train.epochs=3
            """)

    @OptionGroup var recipe: RecipeOptions
    @OptionGroup var threads: ThreadOptions
    @OptionGroup var memory: MemoryOption
    @OptionGroup var output: JSONOption

    func run() throws {
        let loaded = try recipe.load(extra: memory.overrides)
        let workspace = try threads.workspace(for: loaded)
        let plan = try RunPlan(Preparation(loaded, in: workspace), in: workspace)
        if output.json { try Console.write(plan.json) } else { try Console.write(plan.text) }
    }
}
