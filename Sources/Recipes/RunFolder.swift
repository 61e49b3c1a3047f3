import Autograd
import Checkpoints
package import Diagnostics
import Formats
import Glibc
import Models
import StrictJSON
import Training

package enum RunCode: String, DiagnosticCode, CaseIterable {
    case exists = "E-RUN-EXISTS"
    case missing = "E-RUN-MISSING"
    /// A checkpoint's state cannot be read by this version.
    case checkpoint = "E-RUN-CHECKPOINT"
    /// What a resumed or repeated run was made of has changed.
    case drift = "E-RUN-DRIFT"
    /// The loss grows, or does not move.
    case stuck = "E-RUN-STUCK"
    /// A repeated run came out otherwise.
    case replay = "E-RUN-REPLAY"

    package var exit: ExitStatus {
        switch self {
        case .exists: .cannotCreate
        case .missing: .missingInput
        case .checkpoint, .replay, .stuck: .badData
        case .drift: .badRecipe
        }
    }
}

/// The folder that a run leaves behind: `adapter/`, `metrics.jsonl`, `run.json`, `checkpoints/`. One process at a time
/// writes to it.
package final class RunFolder {
    package let path: String
    private var lock: RunLock?

    /// - Parameter replacing: whether a run that is there may go, or go on.
    /// - Throws: `busy` if another process writes to the run that is there, `exists` if something is at `path` and may
    ///   not go.
    package init(_ path: String, replacing: Bool) throws(Diagnostic) {
        self.path = path
        guard Self.isFolder(path) || FileIdentity(ofFileAt: path) != nil else { return }
        let isRun = Self.isFolder(path) ? Self.holdsRun(try listFolder(path)) : false
        if isRun { lock = try RunLock(path) }
        try check(replacing: replacing)
    }

    /// Makes the folder if it is missing, and claims it until this object goes.
    ///
    /// - Throws: as the initialiser does, if another process was faster.
    func claim() throws(Diagnostic) {
        guard lock == nil else { return }
        try makeFolders(path)
        lock = try RunLock(path)
        try check(replacing: false)
    }

    private func check(replacing: Bool) throws(Diagnostic) {
        let names = Self.isFolder(path) ? try listFolder(path) : ["a file"]
        let isRun = Self.holdsRun(names)
        let isEmpty = names.allSatisfy { $0 == RunLock.fileName }
        guard isEmpty || (replacing && isRun) else {
            throw Diagnostic(
                RunCode.exists, file: path, found: isRun ? "a run" : "something that is no run",
                expected: "a folder that does not exist yet",
                fix: isRun ? "Use another folder, --fresh to replace the run, or --resume" : "Use another folder")
        }
    }

    private static func holdsRun(_ names: [String]) -> Bool {
        names.contains { contents.contains($0) || $0 == RunLock.fileName }
    }

    private static let contents = ["adapter", "metrics.jsonl", "run.json", "checkpoints"]

    /// The steps that a finished run has done, and those that its recipe had planned; nil if there is none.
    package var finishedSteps: (done: Int, planned: Int)? {
        let record = try? readJSON(joinPath(path, "run.json"))
        guard let done = record?["steps"]?.integer, let planned = record?["planned_steps"]?.integer else { return nil }
        return (done, record?["ended_early"]?.bool == true ? done : planned)
    }

    package var adapterPath: String { joinPath(path, "adapter") }

    private static func isFolder(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// Removes what an earlier run has left; a run that goes on keeps its metrics and its checkpoints.
    func clear(keepingCheckpoints: Bool) {
        let kept = keepingCheckpoints ? ["metrics.jsonl", "checkpoints"] : []
        for name in Self.contents where !kept.contains(name) { removeTree(joinPath(path, name)) }
        for name in (try? listFolder(path)) ?? []
        where name.hasPrefix(".adapter.tmp-") || name.hasPrefix(".run.json.tmp-") {
            removeTree(joinPath(path, name))
        }
    }

    /// - Parameter bytes: what stays of the file that is there.
    func metricsFile(keeping bytes: Int) throws(Diagnostic) -> MetricsFile {
        try MetricsFile(joinPath(path, "metrics.jsonl"), keeping: bytes)
    }

    /// Writes the adapter folder as PEFT does, with the tokenizer and the template beside it, and a card.
    ///
    /// - Returns: the SHA-256 of adapter_model.safetensors.
    func publishAdapter(
        _ adapter: AttachedAdapter, preparation: Preparation, digests: BaseDigests
    ) throws(Diagnostic) -> String {
        var others = try preparation.base.files.textFiles()
        var binding: JSONObject = [
            "base_weights_sha256": .string(digests.weights), "tokenizer_sha256": .string(digests.tokenizer),
        ]
        binding["chat_template_sha256"] = digests.template.map(JSONValue.string) ?? .null
        binding["base_encoding"] = .string(preparation.recipe.train.baseEncoding.rawValue)
        binding["base_name"] = preparation.recipe.baseName.map(JSONValue.string) ?? .null
        others.append(
            (name: AdapterOrigin.fileName, bytes: Array((JSONValue.object(binding).serialized(.indented) + "\n").utf8)))
        others.append((name: "README.md", bytes: Array(ModelCard(preparation, adapter: adapter).text.utf8)))
        var (config, tensors) = adapter.published
        if config.targetModules == .allLinear {
            // PEFT writes the names that its all-linear has found.
            let names = Set(adapter.modules.map { String($0.path.split(separator: ".").last ?? "") })
            config.targetModules = .names(names.sorted())
        }
        try PEFTAdapter.write(
            config: config, tensors: tensors, others: others, to: adapterPath, replacing: true)
        return try SHA256.digest(ofFile: joinPath(adapterPath, PEFTAdapter.weightsName)).description
    }

    func writeRecord(_ record: RunRecord) throws(Diagnostic) {
        try AtomicFile.write(record.json.serialized(.indented) + "\n", to: joinPath(path, "run.json"))
    }
}
