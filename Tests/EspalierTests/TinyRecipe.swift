import TestSupport

/// A recipe that trains the tiny GGUF model on a few rows in a second.
struct TinyRecipe {
    let folder: TemporaryFolder
    let path: String

    static let records = """
        text,category
        I am still waiting on my card?,card_arrival
        The machine kept my card,card_swallowed
        "What can I do, please, if my card is late?",card_arrival
        How do I top up by transfer?,topping_up
        My card was eaten by the machine,card_swallowed
        Where is my card,card_arrival
        """

    init(extra: String = "", records: String = TinyRecipe.records, data: String = "") throws {
        folder = try TemporaryFolder()
        _ = try folder.write(records + "\n", to: "train.csv")
        path = try folder.write(
            """
            base: \(Fixture.path("gguf/tiny_llama.gguf"))
            base_name: example/tiny
            data:
              train: train.csv
              system: Answer with the intent.
              prompt: "{text}"
              completion: "{category}"
            \(data)
            adapter: { rank: 4, alpha: 8, targets: all-linear, dropout: 0.1 }
            train: { epochs: 2, learning_rate: 1e-2, batch_tokens: 512, max_length: 256, seed: 3, warmup_steps: 1 }
            evaluate: { data: train.csv, metric: exact-match, max_new_tokens: 4, leaks: allow }
            out: run
            \(extra)
            """, to: "recipe.yaml")
    }
}
