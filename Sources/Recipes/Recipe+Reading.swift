import Datasets
package import Diagnostics
import StrictJSON

/// One `--set KEY=VALUE`.
package struct RecipeOverride: Sendable, Equatable {
    package let keys: [String]
    package let value: String

    /// - Throws: `RecipeCode.argument` unless the text is `KEY=VALUE` with dots between the parts of the key.
    package init(parsing argument: String) throws(Diagnostic) {
        let halves = argument.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
        let keys = halves[0].split(separator: ".", omittingEmptySubsequences: false).map(String.init)
        guard halves.count == 2, keys.allSatisfy({ !$0.isEmpty }) else {
            throw Diagnostic(
                RecipeCode.argument, at: "--set", found: "an argument that is not KEY=VALUE",
                expected: "KEY=VALUE, as in train.learning_rate=1e-4")
        }
        self.keys = keys
        value = String(halves[1])
    }

    var place: String { "--set " + keys.joined(separator: ".") }
}

extension Recipe {
    private static let topKeys = ["base", "base_name", "data", "objective", "adapter", "train", "evaluate", "out"]
    private static let dataKeys = [
        "train", "format", "prompt", "system", "completion", "messages", "loss_on", "where", "sample", "too_long",
        "labels", "chosen", "rejected", "desirable", "split",
    ]
    private static let objectiveKeys = [
        "name", "beta", "loss", "label_smoothing", "desirable_weight", "undesirable_weight",
    ]
    private static let adapterKeys = ["rank", "alpha", "dropout", "targets", "layers", "rslora", "peft"]
    private static let trainKeys = [
        "epochs", "max_steps", "learning_rate", "schedule", "warmup_steps", "batch_tokens", "micro_tokens",
        "max_memory", "max_length", "seed", "weight_decay", "betas", "epsilon", "clip", "checkpoint_every",
        "checkpoint_minutes", "checkpoints_kept",
        "evaluate_every", "compute", "provider", "base_encoding", "share_prefixes", "min_learning_rate",
        "decay_steps", "lora_plus_ratio", "head_learning_rate", "patience", "keep", "watchdog",
    ]
    private static let evaluateKeys = [
        "data", "format", "metric", "where", "sample", "limit", "max_new_tokens", "leaks",
    ]

    /// Every key with its section, for suggestions.
    private static let allKeys =
        dataKeys.map { "data." + $0 } + objectiveKeys.map { "objective." + $0 } + adapterKeys.map { "adapter." + $0 }
        + trainKeys.map { "train." + $0 }
        + evaluateKeys.map { "evaluate." + $0 }

    /// Reads and checks a recipe; no other file is touched.
    ///
    /// - Parameters:
    ///   - path: the recipe; its folder is where relative paths start.
    ///   - overrides: put in place of what the file says, in order, and checked the same way.
    /// - Throws: `RecipeCode` with line and column or `--set KEY`, `DataCode.missing` and `.read` for the file itself.
    package init(path: String, overrides: [RecipeOverride] = []) throws(Diagnostic) {
        let bytes: [UInt8]
        do throws(Diagnostic) {
            bytes = try readWholeFile(path, shown: path, maximumBytes: RecipeNode.maximumBytes)
        } catch {
            throw Self.fileError(error)
        }
        let folder = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? ""
        let isAtRoot = path.lastIndex(of: "/") == path.startIndex
        do throws(Diagnostic) {
            self = try Recipe(
                bytes: bytes, folder: isAtRoot ? "/" : folder, overrides: overrides,
                ownPath: RecipePath(written: path, folder: ""))
        } catch {
            throw error.inFile(path)
        }
    }

    /// - Parameter folder: where relative paths start; empty for the working folder.
    package init(bytes: [UInt8], folder: String, overrides: [RecipeOverride] = []) throws(Diagnostic) {
        self = try Recipe(bytes: bytes, folder: folder, overrides: overrides, ownPath: nil)
    }

    private init(
        bytes: [UInt8], folder: String, overrides: [RecipeOverride], ownPath: RecipePath?
    ) throws(Diagnostic) {
        self.folder = folder
        var root = try RecipeNode(parsing: bytes)
        for override in overrides { try root.set(override.keys[...], to: override.value, at: override.place) }
        let top = try SectionReader(root, prefix: "", known: Self.topKeys, elsewhere: Self.allKeys)
        base = try top.path(try top.required("base"), "base", folder: folder)
        baseName = try Self.baseName(top)
        out = try top.path(try top.required("out"), "out", folder: folder)
        let data = try Self.section(top, "data", Self.dataKeys)
        let train = try Self.section(top, "train", Self.trainKeys)
        self.train = try Train(train)
        objective = try Self.objective(top)
        self.data = try Data(data, folder: folder, objective: objective, seed: self.train.seed)
        adapter = try Adapter(try Self.section(top, "adapter", Self.adapterKeys))
        evaluate = nil
        if let node = top.node("evaluate") {
            let section = try SectionReader(
                node, prefix: "evaluate.", known: Self.evaluateKeys, elsewhere: Self.allKeys)
            evaluate = try Evaluate(section, folder: folder, training: self.data, seed: self.train.seed)
        }
        if self.train.evaluateEvery != nil, evaluate == nil {
            throw Diagnostic(
                RecipeCode.conflict, at: try train.required("evaluate_every").place + train.naming("evaluate_every"),
                found: "an interval without a section \"evaluate\"", expected: "evaluate.data",
                fix: "Add the section or remove the key")
        }
        if self.train.evaluateEvery != nil, self.data.desirable != nil {
            throw train.conflict(
                "evaluate_every", "a held-out loss with the objective kto", "no interval; evaluate afterwards")
        }
        try checkOut(top, ownPath)
    }

    /// A name, or a section with one and its settings.
    private static func objective(_ top: SectionReader) throws(Diagnostic) -> Objective {
        guard let node = top.node("objective") else { return .supervised }
        guard try node.asSection() != nil else {
            // The name alone: every setting is the default.
            let named = RecipeNode.Entry(key: "name", keyPlace: node.place, value: node)
            let section = try SectionReader(
                RecipeNode(content: .section([named]), place: node.place), prefix: "objective.", known: objectiveKeys)
            return try Objective(section)
        }
        return try Objective(
            try SectionReader(node, prefix: "objective.", known: objectiveKeys, elsewhere: allKeys))
    }

    private static func fileError(_ error: Diagnostic) -> Diagnostic {
        var result = error
        switch error.code.rawValue {
        case DataCode.limit.rawValue: result.code = RecipeCode.limit
        case DataCode.kind.rawValue: result.code = RecipeCode.file
        default: break
        }
        result.expected = "a recipe of at most \(RecipeNode.maximumBytes) bytes"
        result.fix = "Name a YAML file"
        return result
    }

    private static func section(
        _ top: SectionReader, _ key: String, _ known: [String]
    ) throws(Diagnostic) -> SectionReader {
        let node =
            if key == "data" { try top.required(key) } else {
                top.node(key) ?? RecipeNode(content: .section([]), place: top.place)
            }
        return try SectionReader(node, prefix: key + ".", known: known, elsewhere: allKeys)
    }

    private static func baseName(_ top: SectionReader) throws(Diagnostic) -> String? {
        guard let node = top.node("base_name") else { return nil }
        let name = try top.text(node, "base_name")
        let allowed = name.utf8.allSatisfy { byte in
            "/._-".utf8.contains(byte) || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte | 0x20)
        }
        let parts = name.split(separator: "/", omittingEmptySubsequences: false)
        guard allowed, parts.count <= 2, parts.allSatisfy({ !$0.isEmpty && !$0.hasPrefix(".") }) else {
            throw Diagnostic(
                RecipeCode.range, at: node.place + top.naming("base_name"), found: node.kind,
                expected: "a published name such as owner/model",
                fix: "Give the name under which the base is published; local paths stay out of the adapter's files")
        }
        return name
    }

    /// A fresh run may clear its folder, so nothing that is read may lie in it.
    private func checkOut(_ top: SectionReader, _ ownPath: RecipePath?) throws(Diagnostic) {
        var inputs: [(String, RecipePath)] = [("base", base)] + data.train.map { ("data.train", $0) }
        inputs += (evaluate?.data ?? []).map { ("evaluate.data", $0) }
        inputs += ownPath.map { [("the recipe", $0)] } ?? []
        for (name, input) in inputs where out.contains(input) {
            throw Diagnostic(
                RecipeCode.conflict, at: try top.required("out").place + top.naming("out"),
                found: "an output folder that holds \(name)", expected: "a folder of its own",
                fix: "Write the run to another folder")
        }
    }
}

extension RecipeNode {
    /// Replaces or adds the value at `keys`; sections on the way are made as needed.
    mutating func set(_ keys: ArraySlice<String>, to value: String, at place: String) throws(Diagnostic) {
        guard let key = keys.first else {
            self = RecipeNode(content: .argument(value), place: place)
            return
        }
        guard case .section(var entries) = content else {
            throw Diagnostic(
                RecipeCode.type, at: place, found: "\(kind) where \"\(key)\" should be a key",
                expected: "a section with keys")
        }
        let index = entries.firstIndex { $0.key == key } ?? entries.count
        if index == entries.count {
            let empty = RecipeNode(content: .section([]), place: place)
            entries.append(Entry(key: key, keyPlace: place, value: empty))
        }
        try entries[index].value.set(keys.dropFirst(), to: value, at: place)
        content = .section(entries)
    }
}
