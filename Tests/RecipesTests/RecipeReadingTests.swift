import Datasets
import Diagnostics
import NN
import StrictJSON
import Testing

@testable import Recipes

@Suite struct RecipeReadingTests {
    private static let least = "base: b.gguf\ndata: {train: t.csv, completion: '{c}'}\nout: o\n"

    private func read(_ text: String, _ overrides: [String] = []) throws -> Recipe {
        try Recipe(
            bytes: Array(text.utf8), folder: "recipes", overrides: overrides.map { try RecipeOverride(parsing: $0) })
    }

    @Test(arguments: [
        ("2GiB", 2 << 30), ("800MB", 800_000_000), ("1.5 gib", 3 << 29), ("1073741824", 1 << 30), ("64 KiB", 65_536),
    ]) func readsANumberOfBytes(text: String, bytes: Int) throws {
        let recipe = try read(Self.least + "train: {max_memory: \(text)}\n")
        #expect(recipe.train.maximumMemory == bytes)
    }

    @Test(arguments: ["2 gigs", "-1GiB", "0", "1e9", "GiB", "1.2.3MB", "99999999999TiB", "nan"])
    func refusesWhatIsNoNumberOfBytes(text: String) {
        #expect(throws: Diagnostic.self) { try read(Self.least + "train: {max_memory: '\(text)'}\n") }
    }

    @Test func fillsInEveryDefault() throws {
        let recipe = try read(Self.least)
        #expect(recipe.base.resolved == "recipes/b.gguf" && recipe.base.written == "b.gguf")
        #expect(recipe.baseName == nil && recipe.evaluate == nil && recipe.out.resolved == "recipes/o")
        #expect(recipe.data.train.map(\.resolved) == ["recipes/t.csv"] && recipe.data.format == nil)
        #expect(recipe.data.filter == .all && recipe.data.tooLong == .refuse && recipe.data.labels == [])
        #expect(recipe.data.mapping.learnedRoles == ["assistant"])
        let adapter = recipe.adapter
        #expect(adapter.rank == 16 && adapter.alpha == 32 && adapter.dropout == 0 && adapter.targets == .allLinear)
        #expect(adapter.layers == nil && !adapter.isRankStabilized && adapter.peft == JSONObject())
        let train = recipe.train
        #expect(train.epochs == 1 && train.maximumSteps == nil && train.learningRate == 2e-4)
        #expect(train.schedule == .cosine && train.warmupSteps == 5 && train.batchTokens == 2048)
        #expect(train.microTokens == nil && train.maximumLength == 512 && train.seed == 0 && train.weightDecay == 0)
        #expect(train.betas == (0.9, 0.999) && train.epsilon == 1e-8 && train.clip == 1)
        #expect(train.checkpointEvery == 100 && train.evaluateEvery == nil && train.compute == .auto)
        #expect(train.sharesPrefixes)
    }

    @Test func readsEveryKey() throws {
        let recipe = try read(
            """
            base: /models/m        # a comment
            base_name: Owner/Model-1.5_b
            data:
              train: [a.csv, sub/b.tsv]
              format: tsv
              prompt: "Q: {q}\\n"
              system: |
                Two {{braces}}
                and lines.
              completion: '{a}'
              loss_on: [assistant, user]
              where: {lang: [no, 012, "1:30"], kind: x}
              sample: 100
              too_long: drop
              labels: [no, yes]
            adapter:
              {rank: 8, alpha: 1.5, dropout: 0.05, targets: [q_proj, v_proj], layers: [2, 0], rslora: true,
               peft: {init_lora_weights: pissa, use_dora: false, rank_pattern: {"a.b": 4}, x: [1, 2.5, null, no, 012]}}
            train: {epochs: 3, max_steps: 7, learning_rate: 5e-4, schedule: linear, warmup_steps: 0, batch_tokens: 816,
              micro_tokens: 400, max_length: 256, seed: 7, weight_decay: .01, betas: [0.8, 0.99], epsilon: 1E-6,
              clip: none, checkpoint_every: 10, evaluate_every: 20, compute: bf16, share_prefixes: false}
            evaluate: {data: t.json, metric: loss, where: {kind: y}, sample: 5, limit: 4, max_new_tokens: 9}
            out: ../runs/x
            """)
        #expect(recipe.base.resolved == "/models/m" && recipe.baseName == "Owner/Model-1.5_b")
        #expect(recipe.data.train.map(\.resolved) == ["recipes/a.csv", "recipes/sub/b.tsv"])
        #expect(recipe.data.format == .tsv && recipe.data.tooLong == .drop && recipe.data.labels == ["no", "yes"])
        #expect(recipe.data.mapping.learnedRoles == ["assistant", "user"])
        guard case .texts(let system?, let prompt?, let completion) = recipe.data.mapping.form else {
            Issue.record("not texts")
            return
        }
        #expect(system.source == "Two {{braces}}\nand lines.\n" && prompt.source == "Q: {q}\n")
        #expect(completion.source == "{a}")
        #expect(
            recipe.data.filter.conditions == [
                .init(field: "lang", values: ["no", "012", "1:30"]), .init(field: "kind", values: ["x"]),
            ])
        #expect(recipe.data.filter.sample == 100 && recipe.data.filter.seed == 7)
        let adapter = recipe.adapter
        #expect(adapter.rank == 8 && adapter.alpha == 1.5 && adapter.dropout == 0.05 && adapter.layers == [0, 2])
        #expect(adapter.targets == .names(["q_proj", "v_proj"]) && adapter.isRankStabilized)
        #expect(
            JSONValue.object(adapter.peft).serialized()
                == #"{"init_lora_weights":"pissa","use_dora":false,"rank_pattern":{"a.b":4},"x":[1,2.5,null,"no","012"]}"#
        )
        let train = recipe.train
        #expect(train.epochs == 3 && train.maximumSteps == 7 && train.learningRate == 5e-4)
        #expect(train.schedule == .linear && train.warmupSteps == 0 && train.batchTokens == 816)
        #expect(train.microTokens == 400 && train.maximumLength == 256 && train.seed == 7)
        #expect(train.weightDecay == 0.01 && train.betas == (0.8, 0.99) && train.epsilon == 1e-6 && train.clip == nil)
        #expect(train.checkpointEvery == 10 && train.evaluateEvery == 20 && train.compute == .bf16)
        #expect(!train.sharesPrefixes)
        let evaluate = try #require(recipe.evaluate)
        #expect(evaluate.data.map(\.resolved) == ["recipes/t.json"] && evaluate.metric == .loss)
        #expect(evaluate.filter.conditions == [.init(field: "kind", values: ["y"])])
        #expect(evaluate.filter.sample == 5 && evaluate.filter.limit == 4 && evaluate.maximumNewTokens == 9)
    }

    @Test func textsStayAsTheyAreWritten() throws {
        for word in ["no", "012", "1:30", "1e-4", "true", "0x10", "2024-01-01"] {
            let recipe = try read("base: b\nbase_name: '1.0'\ndata: {train: t.csv, completion: \(word)}\nout: o")
            guard case .texts(_, _, let completion) = recipe.data.mapping.form else { continue }
            #expect(completion.source == word)
        }
    }

    @Test func evaluationKeepsTheConditionsOfTraining() throws {
        let text = "base: b\ndata: {train: t.csv, completion: c, where: {k: v}}\nevaluate: {data: e.csv}\nout: o"
        #expect(try read(text).evaluate?.filter.conditions == [.init(field: "k", values: ["v"])])
        #expect(try read(text).evaluate?.metric == .exactMatch)
    }

    @Test func lengthAndBatchFollowEachOther() throws {
        #expect(try read(Self.least, ["train.batch_tokens=300"]).train.maximumLength == 300)
        #expect(try read(Self.least, ["train.max_length=4096"]).train.batchTokens == 4096)
    }

    @Test func argumentsReplaceAndAddValues() throws {
        let recipe = try read(
            Self.least + "train: {learning_rate: 1e-3}\n",
            [
                "train.learning_rate=1e-4", "data.prompt={text}: a=b", "adapter.targets=[q_proj, k_proj]",
                "adapter.peft.use_dora=true", "evaluate.data=e.csv", "data.where.category=[a, no]", "out=/tmp/x",
            ])
        #expect(recipe.train.learningRate == 1e-4 && recipe.adapter.targets == .names(["q_proj", "k_proj"]))
        guard case .texts(_, let prompt?, _) = recipe.data.mapping.form else {
            Issue.record("no prompt")
            return
        }
        #expect(prompt.source == "{text}: a=b" && recipe.out.resolved == "/tmp/x")
        #expect(recipe.adapter.peft["use_dora"] == .bool(true) && recipe.evaluate != nil)
        #expect(recipe.data.filter.conditions == [.init(field: "category", values: ["a", "no"])])
    }

    @Test func aPatternIsATargetOfItsOwn() throws {
        let recipe = try read(Self.least + "adapter: {targets: '.*\\.(q|v)_proj'}")
        #expect(recipe.adapter.targets == .pattern(".*\\.(q|v)_proj"))
    }

    @Test func theResolvedRecipeReadsBackAsItself() throws {
        let recipe = try read(Self.least + "train: {seed: 3}\nevaluate: {data: e.csv}\n")
        let json = recipe.json
        #expect(
            json["train"]?["seed"]?.integer == 3 && json["train"]?["betas"] == .array([.number(0.9), .number(0.999)]))
        #expect(json["data"]?["completion"]?.string == "{c}" && json["evaluate"]?["metric"]?.string == "exact-match")
        // JSON is YAML; the keys without a value are left out, and peft has none.
        func pruned(_ value: JSONValue) -> JSONValue {
            guard let object = value.object else { return value }
            return .object(
                JSONObject(
                    object.members.filter { !$0.value.isNull && $0.value != .array([]) }.map {
                        ($0.key, pruned($0.value))
                    }))
        }
        #expect(try read(pruned(json).serialized(.indented)) == recipe)
    }

    @Test func readsAFileAndNamesItInErrors() throws {
        let path = "/tmp/espalier-no-such-recipe.yaml"
        let missing = try #require(throws: Diagnostic.self) { try Recipe(path: path) }
        #expect(missing.code.rawValue == "E-DATA-MISSING" && missing.file == path && missing.code.exit == .missingInput)
        let folder = try #require(throws: Diagnostic.self) { try Recipe(path: "/") }
        #expect(folder.code.rawValue == "E-RECIPE-FILE" && folder.code.exit == .badRecipe)
    }
}
