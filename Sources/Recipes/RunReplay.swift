package import Diagnostics
import Formats
import StrictJSON

/// A finished run to be repeated from its record, `run.json`.
package struct RunReplay {
    package let path: String
    /// The optimiser steps that were done.
    package let steps: Int
    /// How the steps were computed.
    package let cut: MemoryPlan.Cut
    private let record: JSONValue
    private let identity: RunIdentity

    /// - Throws: `RunCode.missing` for a folder without a finished run, `checkpoint` for a record of another form, `drift`
    ///   for a run that nothing repeats, since it went on with something changed.
    package init(_ path: String) throws(Diagnostic) {
        self.path = path
        let file = joinPath(path, "run.json")
        guard FileIdentity(ofFileAt: file) != nil else {
            throw Diagnostic(
                RunCode.missing, file: path, found: "no run.json", expected: "the folder of a finished run",
                fix: "Finish the run with --resume, or name another folder")
        }
        record = try readJSON(file)
        guard let identity = RunIdentity(record: record), let steps = record["steps"]?.integer, steps > 0,
            record["recipe_folder"]?.string != nil, let cut = MemoryPlan.Cut(record["memory"])
        else {
            throw Diagnostic(
                RunCode.checkpoint, file: file, found: "a record of another form", expected: "that of this version",
                fix: "Repeat it with the version that wrote it")
        }
        guard record["bit_exact"]?.bool == true else {
            throw Diagnostic(
                RunCode.drift, file: file, found: "a run that went on although something had changed",
                expected: "a run of one piece, which alone can be repeated")
        }
        (self.identity, self.steps, self.cut) = (identity, steps, cut)
    }

    /// The recipe as it was resolved, every override in place.
    ///
    /// - Parameter overrides: such as `base=PATH` where something lies elsewhere now.
    package func recipe(_ overrides: [RecipeOverride]) throws(Diagnostic) -> Recipe {
        let folder = RecipePath(written: record["recipe_folder"]?.string ?? "", folder: path).resolved
        let text = (record["recipe"] ?? .null).withoutNulls.serialized()
        do throws(Diagnostic) {
            return try Recipe(bytes: Array(text.utf8), folder: folder, overrides: overrides)
        } catch { throw error.inFile(joinPath(path, "run.json")) }
    }

    /// - Throws: `drift` with every difference between `run` and what was recorded.
    package func check(_ run: TrainingRun) throws(Diagnostic) {
        let differences = run.identity.differences(from: identity.json)
        guard differences.isEmpty else {
            throw Diagnostic(
                RunCode.drift, file: path, found: differences.map(\.text).joined(separator: "; "),
                expected: "what the run was made of", fix: "Put it back, or name its place with --set")
        }
    }

    /// In what the run in the folder `repeated` differs: `the adapter`, `the loss of step 17`; empty if in nothing.
    package func differences(from repeated: String) throws(Diagnostic) -> [String] {
        var found: [String] = []
        let digest = try SHA256.digest(ofFile: joinPath(joinPath(repeated, "adapter"), PEFTAdapter.weightsName)).hex
        if digest != record["adapter"]?["sha256"]?.string { found.append("the bytes of the adapter") }
        let (before, now) = (try history(path), try history(repeated))
        if before.count != now.count {
            found.append("\(now.count) lines of metrics instead of \(before.count)")
        } else if let line = before.indices.first(where: { before[$0] != now[$0] }) {
            found.append("line \(line + 1) of metrics.jsonl")
        }
        return found
    }

    /// The lines of a run's metrics without what times and memory have a part in.
    private func history(_ folder: String) throws(Diagnostic) -> [JSONValue] {
        let file = joinPath(folder, "metrics.jsonl")
        var lines: [JSONValue] = []
        for line in try readBytes(file).split(separator: UInt8(ascii: "\n")) {
            do throws(Diagnostic) {
                var object = try JSONValue(parsing: Array(line)).object ?? JSONObject()
                for key in ["tokens_per_second", "peak_bytes", "seconds", "train_seconds"] { object[key] = nil }
                lines.append(.object(object))
            } catch { throw error.inFile(file) }
        }
        return lines
    }
}
