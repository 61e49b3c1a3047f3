import ArgumentParser
import Autograd
import Diagnostics
import Formats
import Recipes

struct ThreadOptions: ParsableArguments {
    @Option(
        help:
            "Threads to compute with; if not given, one for each core that this process may use. Results do not depend on it."
    )
    var threads: Int?

    func validate() throws {
        if let threads, !(1...1024).contains(threads) { throw ValidationError("--threads takes 1 to 1024") }
    }

    func workspace(_ precision: Precision = .f32) -> Workspace {
        Workspace(threadCount: threads ?? availableProcessors(), precision: precision)
    }

    func workspace(for recipe: Recipe) throws(Diagnostic) -> Workspace {
        try recipe.workspace(threads: threads ?? availableProcessors())
    }
}

struct RecipeOptions: ParsableArguments {
    @Argument(help: "The recipe, a YAML file.")
    var recipe: String

    @Option(name: .customLong("set"), help: "Override a key of the recipe, such as train.learning_rate=1e-4.")
    var overrides: [String] = []

    func load(extra: [String] = []) throws(Diagnostic) -> Recipe {
        var parsed: [RecipeOverride] = []
        for override in overrides + extra { parsed.append(try RecipeOverride(parsing: override)) }
        return try Recipe(path: recipe, overrides: parsed)
    }
}

struct JSONOption: ParsableArguments {
    @Flag(help: "Print one JSON document on stdout and nothing else there.")
    var json = false
}

struct MemoryOption: ParsableArguments {
    @Option(
        help: "The most memory that training may take, such as 2GiB; what it computes at once is chosen accordingly.")
    var maxMemory: String?

    var overrides: [String] { maxMemory.map { ["train.max_memory=\($0)"] } ?? [] }
}
