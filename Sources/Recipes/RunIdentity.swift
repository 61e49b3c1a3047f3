import Autograd
import Diagnostics
import Models
import StrictJSON

/// What the bits of a run follow from: a resumed run must have the same.
struct RunIdentity {
    let json: JSONValue

    init(_ preparation: Preparation, digests: BaseDigests, workspace: Workspace) {
        json = .object([
            "espalier": .string(Version.current), "recipe": Self.relevant(preparation.recipe.json),
            "base_weights": .string(digests.weights), "tokenizer": .string(digests.tokenizer),
            "chat_template": digests.template.map(JSONValue.string) ?? .null,
            "data": .array(preparation.dataDigests.map { .string($0.digest) }),
            "instruction_set": .string(workspace.instructionSet.rawValue),
            "compute": .string(workspace.precision.rawValue),
            "provider": .string(workspace.productProvider.rawValue),
        ])
    }

    /// That of the run which `record`, a `run.json`, describes; nil if the record has another form.
    init?(record: JSONValue) {
        guard let recipe = record["recipe"], let base = record["base"], let data = record["data"]?.array else {
            return nil
        }
        json = .object([
            "espalier": record["espalier"] ?? .null, "recipe": Self.relevant(recipe),
            "base_weights": base["weights_sha256"] ?? .null, "tokenizer": base["tokenizer_sha256"] ?? .null,
            "chat_template": base["chat_template_sha256"] ?? .null,
            "data": .array(data.map { $0["sha256"] ?? .null }),
            "instruction_set": record["instruction_set"] ?? .null, "compute": record["compute"] ?? .null,
            "provider": record["provider"] ?? .null,
        ])
    }

    /// Places may change, what is stored in them may not; how often things are written and looked at is free.
    private static func relevant(_ recipe: JSONValue) -> JSONValue {
        guard var all = recipe.object else { return recipe }
        for key in ["base", "evaluate", "out"] { all[key] = nil }
        if var data = all["data"]?.object {
            data["train"] = nil
            all["data"] = .object(data)
        }
        if var train = all["train"]?.object {
            for key in [
                "max_memory", "checkpoint_every", "checkpoint_minutes", "checkpoints_kept", "evaluate_every", "compute",
                "watchdog",
                "provider",
            ] { train[key] = nil }
            all["train"] = .object(train)
        }
        return .object(all)
    }

    /// Something in which two runs are not the same.
    struct Difference {
        /// `recipe.train.seed`
        let key: String
        /// `recipe.train.seed: 3, now 4`
        let text: String

        /// Whether `name` is this key or one above it.
        func isUnder(_ name: String) -> Bool { key == name || key.hasPrefix(name + ".") }
    }

    /// Where this run differs from the one that `stored` describes.
    func differences(from stored: JSONValue) -> [Difference] { Self.differences(stored, json, at: "") }

    private static func differences(_ old: JSONValue, _ new: JSONValue, at place: String) -> [Difference] {
        guard let before = old.object, let after = new.object else {
            return old == new ? [] : [Difference(key: place, text: "\(place): \(short(old)), now \(short(new))")]
        }
        let keys = before.keys + after.keys.filter { before[$0] == nil }
        return keys.flatMap { key in
            differences(
                before[key] ?? .null, after[key] ?? .null, at: place.isEmpty ? key : "\(place).\(key)")
        }
    }

    /// Numbers and short names as they are; longer texts, such as prompts, are not repeated.
    private static func short(_ value: JSONValue) -> String {
        let text = value.serialized()
        return text.utf8.count <= 24 ? text : value.string.map { String($0.prefix(12)) + "…" } ?? "another value"
    }
}
