import Foundation
import StrictJSON
import TestSupport
import Testing

/// Training on pairs through the command line: what it learns, that it goes on to the bit, and what it refuses.
@Suite struct PreferenceRunTests {
    private let folder: TemporaryFolder
    private let recipe: String

    private static let pairs = """
        text,good,bad
        I am still waiting on my card?,card_arrival,topping_up
        The machine kept my card,card_swallowed,card_arrival
        How do I top up by transfer?,topping_up,card_swallowed
        My card was eaten by the machine,card_swallowed,topping_up
        Where is my card,card_arrival,card_swallowed
        """

    init() throws {
        folder = try TemporaryFolder()
        _ = try folder.write(Self.pairs + "\n", to: "pairs.csv")
        recipe = try folder.write(
            """
            base: \(Fixture.path("gguf/tiny_llama.gguf"))
            data: { train: pairs.csv, system: Name it., prompt: "{text}", chosen: "{good}", rejected: "{bad}" }
            objective: dpo
            adapter: { rank: 4, alpha: 8, dropout: 0.1 }
            train:
              { epochs: 10, learning_rate: 1e-2, warmup_steps: 0, batch_tokens: 300, seed: 4, evaluate_every: 10, checkpoint_every: 4 }
            evaluate: { data: pairs.csv, leaks: allow }
            out: run
            """, to: "recipe.yaml")
    }

    private func train(_ name: String, _ extra: [String] = []) throws -> CommandLine.Outcome {
        try CommandLine.run(["train", recipe, "--out", folder.path(name)] + extra)
    }

    private func metrics(_ name: String) throws -> [JSONValue] {
        try String(contentsOfFile: folder.path("\(name)/metrics.jsonl"), encoding: .utf8).split(separator: "\n")
            .map { try JSONValue(parsing: String($0)) }
    }

    @Test(arguments: [[], ["--set", "objective.name=orpo", "--set", "objective.beta=0.5"]])
    func learnsGoesOnAndIsRepeated(_ objective: [String]) throws {
        // A section in the place of a name.
        var extra = objective
        if !extra.isEmpty {
            let text = try String(contentsOfFile: recipe, encoding: .utf8)
            _ = try folder.write(text.replacing("objective: dpo", with: "objective: { name: dpo }"), to: "recipe.yaml")
        }
        #expect(try train("whole", extra).status == 0)
        let lines = try metrics("whole")
        let losses = lines.compactMap { $0["evaluation_loss"]?.number }
        #expect(losses.count >= 2 && losses[losses.count - 1] < losses[0])
        #expect(lines[0]["reward_margin"]?.number != nil && lines[0]["reward_accuracy"]?.number != nil)
        extra += ["--threads", "1"]
        #expect(try train("part", extra + ["--max-steps", "7"]).status == 0)
        #expect(try train("part", extra + ["--resume"]).status == 0)
        let adapters = try ["whole", "part"].map { name in
            try Data(contentsOf: URL(fileURLWithPath: folder.path("\(name)/adapter/adapter_model.safetensors")))
        }
        #expect(adapters[0] == adapters[1])
        #expect(try CommandLine.run(["replay", folder.path("part")]).status == 0)
        let report = try CommandLine.run(
            ["evaluate", recipe, "--adapter", folder.path("whole/adapter"), "--json"] + objective)
        let metric = try #require(report.json?["metrics"]?.array?.first)
        #expect(metric["name"]?.string == "preference-accuracy")
        let (base, adapted) = (metric["base"]?["value"]?.number ?? 1, metric["adapted"]?["value"]?.number ?? 0)
        #expect(adapted >= 0.8 && adapted > base, "\(base) \(adapted)")
    }

    /// Single completions, desirable or not: rewards part, and the run goes on and is repeated to the bit.
    @Test func unpairedCompletionsAreLearnedFrom() throws {
        let rows = Self.pairs.split(separator: "\n").dropFirst().flatMap { row -> [String] in
            let fields = row.split(separator: ",")
            return ["\(fields[0]),\(fields[1]),yes", "\(fields[0]),\(fields[2]),no"]
        }
        _ = try folder.write("text,answer,good\n" + rows.joined(separator: "\n") + "\n", to: "single.csv")
        let recipe = try folder.write(
            """
            base: \(Fixture.path("gguf/tiny_llama.gguf"))
            data: { train: single.csv, system: Name it., prompt: "{text}", completion: "{answer}", desirable: "{good}" }
            objective: { name: kto, beta: 0.2, undesirable_weight: 1.5 }
            adapter: { rank: 4, alpha: 8, dropout: 0.1 }
            train: { epochs: 20, learning_rate: 1e-2, warmup_steps: 0, batch_tokens: 600, checkpoint_every: 4 }
            out: run
            """, to: "kto.yaml")
        func train(_ name: String, _ extra: [String] = []) throws -> CommandLine.Outcome {
            try CommandLine.run(["train", recipe, "--out", folder.path(name)] + extra)
        }
        let whole = try train("whole")
        #expect(whole.status == 0, "\(whole.errors)")
        let lines = try metrics("whole").filter { $0["loss"] != nil }
        let margins = lines.compactMap { $0["reward_margin"]?.number }
        #expect(margins.count == lines.count && margins[margins.count - 1] > 0.5 && abs(margins[0]) < 0.1, "\(margins)")
        #expect(try #require(lines.last?["loss"]?.number) < (try #require(lines[0]["loss"]?.number)))
        #expect(try train("part", ["--max-steps", "9", "--threads", "1"]).status == 0)
        #expect(try train("part", ["--resume"]).status == 0)
        let adapters = try ["whole", "part"].map { name in
            try Data(contentsOf: URL(fileURLWithPath: folder.path("\(name)/adapter/adapter_model.safetensors")))
        }
        #expect(adapters[0] == adapters[1])
        #expect(try CommandLine.run(["replay", folder.path("part")]).status == 0)
        for (setting, code) in [
            ("data.desirable={text}", "E-DATA-VALUE"), ("train.evaluate_every=2", "E-RECIPE-CONFLICT"),
            ("data.desirable=yes", "E-DATA-LABEL"), ("data.rejected={text}", "E-RECIPE-CONFLICT"),
        ] {
            let refused = try train("none", ["--set", setting])
            #expect(refused.exited && refused.errors.contains("error[\(code)]"), "\(setting): \(refused.errors)")
        }
    }

    @Test(arguments: [
        (["data.completion={good}"], "E-RECIPE-CONFLICT"), (["objective=supervised"], "E-RECIPE-CONFLICT"),
        (["objective=dpoo"], "E-RECIPE-RANGE"), (["evaluate.metric=exact"], "E-RECIPE-RANGE"),
        (["data.rejected={good}"], "E-DATA-VALUE"), (["data.rejected={none}"], "E-DATA-FIELD"),
    ])
    func refuses(_ settings: [String], code: String) throws {
        let outcome = try train("run", settings.flatMap { ["--set", $0] })
        #expect(outcome.exited && outcome.errors.contains("error[\(code)]"), "\(outcome.errors)")
        #expect(!FileManager.default.fileExists(atPath: folder.path("run")))
    }
}
