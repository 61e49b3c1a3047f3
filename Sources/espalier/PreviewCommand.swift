import ArgumentParser
import Batches
import Datasets
import Diagnostics
import Glibc
import Models
import Recipes
import StrictJSON
import Tokenization

struct PreviewCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "preview", abstract: "Show what is taught, token by token, and the account of all records.",
        discussion: """
            Example:
              espalier preview recipes/finance/banking77-quickstart.yaml --rows 2

            Tokens that are learned are marked: on a terminal by colour, otherwise as [token].
            """)

    @OptionGroup var recipe: RecipeOptions
    @OptionGroup var threads: ThreadOptions
    @OptionGroup var output: JSONOption

    @Option(help: "Rows to show.")
    var rows = 3

    func validate() throws {
        if rows < 0 { throw ValidationError("--rows takes 0 or more") }
    }

    func run() throws {
        let preparation = try Preparation(recipe.load(), in: threads.workspace())
        let examples = preparation.dataset.examples.prefix(rows)
        let tokenizer = preparation.base.tokenizer
        if output.json {
            let shown = examples.map { example in
                JSONValue.array(
                    zip(example.tokens, example.weights).map { token, weight in
                        .object([
                            "id": .integer(Int(token)),
                            "text": .string(tokenizer.decode([token], skippingSpecialTokens: false)),
                            "weight": .number(Double(weight)),
                        ])
                    })
            }
            try Console.write(
                .object(["rows": .array(shown), "ledger": preparation.dataset.ledger.json]))
            return
        }
        let colours = isatty(STDOUT_FILENO) == 1 && getenv("NO_COLOR") == nil
        for (index, example) in examples.enumerated() {
            try Console.write("row \(index + 1), \(example.tokens.count) tokens, \(example.targetCount) learned")
            try Console.write(marked(example, preparation.base, colours: colours))
            try Console.write("")
        }
        try Console.write(preparation.dataset.ledger.text)
    }

    /// The row's text with the learned tokens marked; line ends stay, other controls are escaped.
    private func marked(_ example: Example, _ model: BaseModel, colours: Bool) -> String {
        zip(example.tokens, example.weights).map { token, weight in
            let text = model.tokenizer.decode([token], skippingSpecialTokens: false)
            let shown = text.split(separator: "\n", omittingEmptySubsequences: false)
                .map { escaped(String($0)) }.joined(separator: "\n")
            guard weight != 0 else { return shown }
            return colours ? "\u{1B}[30;42m\(shown)\u{1B}[0m" : "[\(shown)]"
        }.joined()
    }
}
