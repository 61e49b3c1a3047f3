import Datasets
import Diagnostics
import Testing

@testable import Recipes

/// A recipe that must be refused, with the code and what the place must hold.
struct HostileRecipe: CustomTestStringConvertible, Sendable {
    var name: String
    var text: String
    var code: String
    var place: String
    var fix: String

    init(_ name: String, _ text: String, _ code: RecipeCode, _ place: String = "", fix: String = "") {
        self.init(name, text, code.rawValue, place, fix: fix)
    }

    init(_ name: String, _ text: String, _ code: String, _ place: String = "", fix: String = "") {
        (self.name, self.text, self.code, self.place, self.fix) = (name, text, code, place, fix)
    }

    /// A recipe that is right but for one more line in a section.
    static func train(_ line: String, _ code: RecipeCode, _ key: String, fix: String = "") -> HostileRecipe {
        let column =
            "train: {".count + 1
            + (line.firstIndex(of: " ").map { line.distance(from: line.startIndex, to: $0) + 1 } ?? 0)
        return HostileRecipe(
            line, least + "train: {\(line)}", code, "line 4, column \(column), key \"train.\(key)\"", fix: fix)
    }

    static let least = "base: b.gguf\ndata: {train: t.csv, completion: '{c}'}\nout: o\n"

    var testDescription: String { name }
}

@Suite struct HostileRecipeTests {
    static let yaml: [HostileRecipe] = [
        .init("empty", "", .syntax, "line 1, column 1"),
        .init("only a comment", "# nothing\n", .syntax),
        .init("a scalar", "just text", .type),
        .init("a list", "- base", .type, "line 1"),
        .init("tab as indentation", "data:\n\ttrain: x", .syntax, "line 2"),
        .init("two documents", HostileRecipe.least + "---\nbase: c", .syntax, "line 4"),
        .init("a tag", "base: !!python/object:os.system x", .syntax, "line 1, column 7"),
        .init("a plain string tag", "base: !!str x", .syntax, "line 1, column 7"),
        .init("a section tag", "data: !!map {train: x}", .syntax, "line 1"),
        .init("an unused anchor", "base: &x y", .syntax, "line 1, column 7"),
        .init("an anchored section", "data: &d\n  train: x", .syntax, "line 1"),
        .init("an anchor and an alias", "base: &x y\nout: *x", .syntax),
        .init("an alias to nothing", "base: *x", .syntax, "line 1, column 7"),
        .init("a merge key", "data:\n  <<: {train: x}", .syntax, "line 2, column 3"),
        .init("a duplicate key", "base: a\nbase: b", .syntax, "line "),
        .init("a duplicate key below", "data:\n  train: a\n  'train': b", .syntax, "line "),
        .init("a key that is a list", "? [a, b]\n: c", .syntax, "line 1"),
        .init("an open bracket", "data: {train: x", .syntax, "line "),
        .init("an open quotation mark", "base: \"x", .syntax, "line "),
        .init("a NUL", "base: a\0b", .syntax),
        .init("a control character", "base: a\u{7}b", .syntax),
        .init("a byte-order mark", "\u{FEFF}base: b", .syntax, "line 1, column 1"),
        .init(
            "nesting of 40", "base: " + String(repeating: "[", count: 40) + String(repeating: "]", count: 40), .limit),
        .init(
            "nesting of 900", "base: " + String(repeating: "[", count: 900) + String(repeating: "]", count: 900), .limit
        ),
        .init("nesting of 100,000", "base: " + String(repeating: "[", count: 100_000), .limit),
        .init("sections nested 100,000 deep", String(repeating: "{a: ", count: 100_000), .limit),
        .init("dashes nested 100,000 deep", String(repeating: "- ", count: 100_000) + "a", .limit),
        .init("keys nested 20,000 deep", String(repeating: "? ", count: 20_000) + "a", .limit),
        .init("indented 1,000 deep", (0..<1000).map { String(repeating: " ", count: $0) + "a:\n" }.joined(), .limit),
        .init("two megabytes", "base: " + String(repeating: "x", count: 2 << 20), .limit),
    ]

    static let keys: [HostileRecipe] = [
        .init("no base", "data: {train: t, completion: c}\nout: o", .missingKey, "line 1", fix: "base"),
        .init("no out", "base: b\ndata: {train: t, completion: c}", .missingKey, fix: "out"),
        .init("no data", "base: b\nout: o", .missingKey, fix: "data"),
        .init("no train", "base: b\ndata: {completion: c}\nout: o", .missingKey, "line 2", fix: "data.train"),
        .init("no completion", "base: b\ndata: {train: t}\nout: o", .missingKey, "line 2", fix: "data.completion"),
        .init("unknown at the top", "bsae: b", .unknownKey, "line 1, column 1", fix: "\"base\""),
        .init(
            "a key of another section", "base: b\nlearning_rate: 1", .unknownKey, "line 2", fix: "train.learning_rate"),
        .init(
            "unknown in data", "base: b\nout: o\ndata:\n  promt: x", .unknownKey, "line 4, column 3", fix: "data.prompt"
        ),
        .init("a wrong letter", "base: b\nout: o\nData: {}", .unknownKey, "line 3, column 1", fix: "data"),
        .init("a canonical equivalent", "base: b\nou\u{74}\u{301}: o", .unknownKey, "line 2, column 1"),
        .init("unknown in train", HostileRecipe.least + "train: {lr: 1}", .unknownKey, "line 4, column 9"),
        .init("unknown in adapter", HostileRecipe.least + "adapter: {rnk: 1}", .unknownKey, "", fix: "adapter.rank"),
        .init("unknown in evaluate", HostileRecipe.least + "evaluate: {dta: x}", .unknownKey, "", fix: "evaluate.data"),
        .init("a number as a key", HostileRecipe.least + "1: x", .unknownKey, "line 4"),
    ]

    static let values: [HostileRecipe] = [
        .train("learning_rate: 0", .range, "learning_rate"), .train("learning_rate: -1e-4", .range, "learning_rate"),
        .train("learning_rate: 1e6", .range, "learning_rate"), .train("learning_rate: .nan", .type, "learning_rate"),
        .train("learning_rate: nan", .type, "learning_rate"), .train("learning_rate: .inf", .type, "learning_rate"),
        .train("learning_rate: 1e400", .range, "learning_rate"),
        .train("learning_rate: 0x1p-4", .type, "learning_rate"),
        .train("learning_rate: fast", .type, "learning_rate"), .train("learning_rate: '1e-4'", .type, "learning_rate"),
        .train("learning_rate: 1_0", .type, "learning_rate"), .train("learning_rate: [1]", .type, "learning_rate"),
        .train("learning_rate: ", .type, "learning_rate"), .train("learning_rate: 1:30", .type, "learning_rate"),
        .train("epochs: 0", .range, "epochs"), .train("epochs: -1", .range, "epochs"),
        .train("epochs: 1.5", .type, "epochs"), .train("epochs: 010", .type, "epochs"),
        .train("epochs: 0x10", .type, "epochs"), .train("epochs: 1e2", .type, "epochs"),
        .train("epochs: 99999999999999999999", .range, "epochs"), .train("epochs: true", .type, "epochs"),
        .train("batch_tokens: 0", .range, "batch_tokens"), .train("batch_tokens: 99999999999", .range, "batch_tokens"),
        .train("max_length: 1", .range, "max_length"), .train("seed: -1", .range, "seed"),
        .train("share_prefixes: no", .type, "share_prefixes"),
        .train("share_prefixes: 'true'", .type, "share_prefixes"),
        .train("share_prefixes: yes", .type, "share_prefixes"), .train("weight_decay: 1", .range, "weight_decay"),
        .train("betas: 0.9", .type, "betas"), .train("betas: [0.9]", .range, "betas"),
        .train("epsilon: 0", .range, "epsilon"), .train("clip: 0", .range, "clip"), .train("clip: off", .type, "clip"),
        .train("schedule: cosin", .range, "schedule", fix: "cosine"), .train("compute: fp16", .range, "compute"),
        .train("warmup_steps: -1", .range, "warmup_steps"), .train("checkpoint_every: 0", .range, "checkpoint_every"),
        .train("micro_tokens: 0", .range, "micro_tokens"), .train("max_steps: 0", .range, "max_steps"),
        .train("evaluate_every: 5", .conflict, "evaluate_every"),
        .init(
            "batch < length", HostileRecipe.least + "train: {batch_tokens: 100, max_length: 200}", .conflict, "line 4"),
        .init("rank 0", HostileRecipe.least + "adapter: {rank: 0}", .range, "line 4, column 17"),
        .init("rank 1e9", HostileRecipe.least + "adapter: {rank: 1000000000}", .range, "adapter.rank"),
        .init("alpha 0", HostileRecipe.least + "adapter: {alpha: 0}", .range, "adapter.alpha"),
        .init("dropout 1", HostileRecipe.least + "adapter: {dropout: 1}", .range, "adapter.dropout"),
        .init("targets empty", HostileRecipe.least + "adapter: {targets: []}", .type, "adapter.targets"),
        .init("targets twice", HostileRecipe.least + "adapter: {targets: [a, a]}", .range, "adapter.targets"),
        .init("layers twice", HostileRecipe.least + "adapter: {layers: [1, 1]}", .range, "adapter.layers"),
        .init("peft a text", HostileRecipe.least + "adapter: {peft: dora}", .type, "adapter.peft"),
        .init("data a text", "base: b\nout: o\ndata: x", .type, "line 3, column 7"),
        .init("train a list", HostileRecipe.least + "train: []", .type, "line 4"),
        .init("base a section", "base: {a: b}\nout: o\ndata: {train: t, completion: c}", .type, "key \"base\""),
        .init("base nothing", "base:\nout: o\ndata: {train: t, completion: c}", .type, "key \"base\""),
        .init("base null", "base: null\nout: o\ndata: {train: t, completion: c}", .type, "key \"base\""),
        .init(
            "base_name a path", "base: b\nbase_name: /a/b\nout: o\ndata: {train: t, completion: c}", .range, "line 2"),
        .init(
            "metric", HostileRecipe.least + "evaluate: {data: e, metric: exact_match}", .range, "", fix: "exact-match"),
        .init("too_long", "base: b\nout: o\ndata: {train: t, completion: c, too_long: cut}", .range, "data.too_long"),
        .init("loss_on", "base: b\nout: o\ndata: {train: t, messages: m, loss_on: [bot]}", .range, "data.loss_on"),
        .init("messages and prompt", "base: b\nout: o\ndata: {train: t, messages: m, prompt: p}", .conflict, "line 3"),
        .init("system alone", "base: b\nout: o\ndata: {train: t, system: s, completion: p}", .conflict, "data.system"),
        .init("where a text", "base: b\nout: o\ndata: {train: t, completion: c, where: x}", .type, "data.where"),
        .init("where empty", "base: b\nout: o\ndata: {train: t, completion: c, where: {a: []}}", .type, "data.where.a"),
        .init("open slot", "base: b\nout: o\ndata: {train: t, completion: 'a {b'}", "E-DATA-SLOT", "line 3, column 30"),
    ]

    static let paths: [HostileRecipe] = [
        .init("home", "base: ~/m\nout: o\ndata: {train: t, completion: c}", .path, "line 1, column 7", fix: "expanded"),
        .init("home alone", "base: ~\nout: o\ndata: {train: t, completion: c}", .path, "line 1, column 7"),
        .init("variable", "base: $HOME/m\nout: o\ndata: {train: t, completion: c}", .path, "line 1, column 7"),
        .init("braced variable", "base: a/${X}\nout: o\ndata: {train: t, completion: c}", .path, "line 1, column 7"),
        .init("command", "base: a/$(id)\nout: o\ndata: {train: t, completion: c}", .path, "line 1, column 7"),
        .init("address", "base: https://example.org/m\nout: o\ndata: {train: t, completion: c}", .path, "line 1"),
        .init("empty", "base: ''\nout: o\ndata: {train: t, completion: c}", .path, "line 1"),
        .init("control character", "base: \"a\\nb\"\nout: o\ndata: {train: t, completion: c}", .path, "line 1"),
        .init("twice", "base: b\nout: o\ndata: {train: [t, ./t], completion: c}", .path, "line 3, column 19"),
        .init("out is base", "base: b\nout: ./b\ndata: {train: t, completion: c}", .conflict, "key \"out\""),
        .init("out holds data", "base: b\nout: d\ndata: {train: d/t, completion: c}", .conflict, "key \"out\""),
        .init("out is the folder", "base: b\nout: .\ndata: {train: t, completion: c}", .conflict, "key \"out\""),
        .init("out above", "base: b\nout: x/../d\ndata: {train: d/e/../t, completion: c}", .conflict, "key \"out\""),
    ]

    @Test(arguments: yaml + keys + values + paths)
    func isRefused(_ hostile: HostileRecipe) throws {
        let error = try #require(throws: Diagnostic.self) {
            try Recipe(bytes: Array(hostile.text.utf8), folder: "recipes")
        }
        #expect(error.code.rawValue == hostile.code, "\(error)")
        #expect(error.code.exit == .badRecipe)
        #expect((error.place ?? "").contains(hostile.place), "\(error)")
        #expect((error.fix ?? "").contains(hostile.fix), "\(error)")
    }

    @Test func refusesBytesThatAreNotUTF8() throws {
        let error = try #require(throws: Diagnostic.self) {
            try Recipe(bytes: Array("base: b".utf8) + [0xFF], folder: "")
        }
        #expect(error.code.rawValue == "E-RECIPE-SYNTAX")
    }

    @Test(arguments: ["aliases", "as a key"])
    func anAliasBombIsRefusedAtOnce(_ kind: String) throws {
        var lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
        for level in 1..<20 {
            let items = Array(repeating: "*a\(level - 1)", count: 9).joined(separator: ", ")
            lines.append("a\(level): &a\(level) [\(items)]")
        }
        if kind == "as a key" { lines.append("? *a19\n: x") }
        #expect(throws: Diagnostic.self) { try Recipe(bytes: Array(lines.joined(separator: "\n").utf8), folder: "") }
    }

    @Test func ampersandsAndStarsInTextsAreNoAnchors() throws {
        let text = """
            base: R&D/*model
            data: {train: t.csv, prompt: "Q & A: &x *y* {t}", completion: 'Reply: *only* the label & nothing'}
            out: o
            """
        #expect(try Recipe(bytes: Array(text.utf8), folder: "").base.written == "R&D/*model")
    }

    @Test func argumentsAreCheckedLikeTheFile() throws {
        let bad: [(String, RecipeCode, String)] = [
            ("train.lr=1", .unknownKey, "--set train.lr"), ("train.epochs=0", .range, "--set train.epochs"),
            ("train.epochs=one", .type, "--set train.epochs"), ("base.x=1", .type, "--set base.x"),
            ("nothing=1", .unknownKey, "--set nothing"), ("base=~/x", .path, "--set base"),
            ("data.where.a=[", .syntax, "--set data.where.a"),
            ("adapter.targets=[&a b]", .syntax, "--set adapter.targets"),
        ]
        for (argument, code, place) in bad {
            let error = try #require(throws: Diagnostic.self) {
                try Recipe(
                    bytes: Array(HostileRecipe.least.utf8), folder: "", overrides: [RecipeOverride(parsing: argument)])
            }
            #expect(error.code.rawValue == code.rawValue && (error.place ?? "").contains(place), "\(error)")
        }
        for argument in ["", "=", "a", "a.=1", ".a=1", "=1", "a..b=1"] {
            let error = try #require(throws: Diagnostic.self) { try RecipeOverride(parsing: argument) }
            #expect(error.code.exit == .usage)
        }
    }

    @Test func noMutationOfARecipeCrashes() {
        let seed = Array(
            """
            base: a/b.gguf # c
            data: {train: [t.csv], prompt: "{x}\\n", completion: '{y}', where: {k: [no, 012]}}
            train:
              learning_rate: 5e-4
              betas: [0.9, 0.99]
            out: >-
              folded
              text
            """.utf8)
        var random = MutationRandom(state: 1)
        for _ in 0..<3000 {
            var bytes = seed
            for _ in 0..<Int.random(in: 1...4, using: &random) {
                let index = Int.random(in: 0..<bytes.count, using: &random)
                switch Int.random(in: 0..<4, using: &random) {
                case 0: bytes[index] = UInt8.random(in: 0...255, using: &random)
                case 1: bytes.remove(at: index)
                case 2:
                    bytes.insert(Array("{}[]:,&*!|>'\"#%@`-?\n\t ~<".utf8).randomElement(using: &random)!, at: index)
                default:
                    bytes = Array(bytes[..<index]) + Array(bytes[Int.random(in: 0..<bytes.count, using: &random)...])
                }
                if bytes.isEmpty { break }
            }
            _ = try? Recipe(bytes: bytes, folder: "f")
        }
    }

    @Test func aLongRecipeIsRefusedOrReadQuickly() {
        let keys = (0..<60_000).map { "k\($0): x" }.joined(separator: "\n")
        #expect(throws: Diagnostic.self) { try Recipe(bytes: Array(keys.utf8), folder: "") }
        let list = "base: [" + Array(repeating: "\"a\"", count: 200_000).joined(separator: ",") + "]"
        #expect(throws: Diagnostic.self) { try Recipe(bytes: Array(list.utf8), folder: "") }
    }
}

/// SplitMix64, so that every run draws the same mutations.
struct MutationRandom: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
        return z ^ z >> 31
    }
}
