import Datasets
import Models
import StrictJSON

/// README.md of an adapter folder in Hugging Face's form: what it was made from, in words and numbers of the run.
struct ModelCard {
    private let preparation: Preparation
    private let adapter: AttachedAdapter

    init(_ preparation: Preparation, adapter: AttachedAdapter) {
        self.preparation = preparation
        self.adapter = adapter
    }

    var text: String {
        let recipe = preparation.recipe
        let ledger = preparation.dataset.ledger
        var lines = ["---"]
        if let name = recipe.baseName { lines.append("base_model: " + JSONValue.string(name).serialized()) }
        lines += ["library_name: peft", "tags:", "- lora", "- espalier", "---", "", "# LoRA adapter", ""]
        lines.append(
            "Trained by Espalier \(Version.current) on \(ledger.rows) rows (\(ledger.tokens) tokens, "
                + "\(ledger.supervisedTokens) of them learned).")
        lines += [
            "", "| | |", "| --- | --- |", "| base | \(recipe.baseName ?? "not named") |",
            "| rank, alpha | \(recipe.adapter.rank), \(JSONValue.number(recipe.adapter.alpha).serialized()) |",
            "| adapted layers | \(adapter.modules.count) |", "| trained parameters | \(adapter.parameterCount) |",
            "| epochs | \(recipe.train.epochs) |", "| seed | \(recipe.train.seed) |", "",
            "`espalier.json` holds the digests of the base, tokenizer and template that it was trained with.", "",
        ]
        return lines.joined(separator: "\n")
    }
}
