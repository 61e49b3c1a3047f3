import Autograd
package import Diagnostics
import Formats
import Glibc
import Models
import StrictJSON
import Training

package enum RunCode: String, DiagnosticCode, CaseIterable {
    case exists = "E-RUN-EXISTS"
    case missing = "E-RUN-MISSING"

    package var exit: ExitStatus {
        switch self {
        case .exists: .cannotCreate
        case .missing: .missingInput
        }
    }
}

/// The folder that a run leaves behind: `adapter/`, `metrics.jsonl`, `run.json`.
package struct RunFolder {
    package let path: String

    /// - Parameter replacing: whether a run that is there may go.
    /// - Throws: `exists` if something is at `path` and may not go.
    package init(_ path: String, replacing: Bool) throws(Diagnostic) {
        self.path = path
        guard FileIdentity(ofFileAt: path) != nil || Self.isFolder(path) else { return }
        let names = Self.isFolder(path) ? try listFolder(path) : ["a file"]
        let isRun = names.contains("run.json") || names.contains("metrics.jsonl") || names.contains("adapter")
        guard names.isEmpty || (replacing && isRun) else {
            throw Diagnostic(
                RunCode.exists, file: path, found: isRun ? "a run" : "something that is no run",
                expected: "a folder that does not exist yet",
                fix: isRun ? "Use another folder, --fresh to replace the run, or --resume" : "Use another folder")
        }
    }

    /// Whether the run in the folder came to its end.
    package var isFinished: Bool { FileIdentity(ofFileAt: joinPath(path, "run.json")) != nil }

    package var adapterPath: String { joinPath(path, "adapter") }

    private static func isFolder(_ path: String) -> Bool {
        var status = stat()
        return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
    }

    /// Makes the folder, empty of what an earlier run has left.
    func create() throws(Diagnostic) {
        try makeFolders(path)
        for name in ["adapter", "metrics.jsonl", "run.json"] { removeTree(joinPath(path, name)) }
    }

    func metricsFile() throws(Diagnostic) -> MetricsFile { try MetricsFile(joinPath(path, "metrics.jsonl")) }

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
        binding["base_name"] = preparation.recipe.baseName.map(JSONValue.string) ?? .null
        others.append(
            (name: "espalier.json", bytes: Array((JSONValue.object(binding).serialized(.indented) + "\n").utf8)))
        others.append((name: "README.md", bytes: Array(ModelCard(preparation, adapter: adapter).text.utf8)))
        var config = adapter.config
        if config.targetModules == .allLinear {
            // PEFT writes the names that its all-linear has found.
            let names = Set(adapter.modules.map { String($0.path.split(separator: ".").last ?? "") })
            config.targetModules = .names(names.sorted())
        }
        try PEFTAdapter.write(config: config, tensors: adapter.tensors(), others: others, to: adapterPath)
        return try SHA256.digest(ofFile: joinPath(adapterPath, PEFTAdapter.weightsName)).description
    }

    func writeRecord(_ record: RunRecord) throws(Diagnostic) {
        try AtomicFile.write(record.json.serialized(.indented) + "\n", to: joinPath(path, "run.json"))
    }
}

/// `metrics.jsonl`: a line for every step, written as it happens.
struct MetricsFile: ~Copyable {
    private let descriptor: Int32
    private let path: String

    init(_ path: String) throws(Diagnostic) {
        self.path = path
        descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        if descriptor < 0 {
            throw Diagnostic(
                FormatsCode.fileCreate, file: path, found: String(cString: strerror(errno)),
                expected: "a file that can be written")
        }
    }

    deinit { _ = Glibc.close(descriptor) }

    mutating func append(_ step: TrainingStep, _ progress: TrainingRun.StepProgress) throws(Diagnostic) {
        try append([
            "step": .integer(progress.step), "loss": .number(step.loss), "learning_rate": .number(step.learningRate),
            "grad_norm": .number(Double(step.gradientNorm)), "tokens": .integer(step.rowTokens),
            "computed_tokens": .integer(step.computedTokens), "targets": .integer(step.targets),
            "tokens_per_second": .number(Double(step.rowTokens) / max(progress.seconds, 1e-9)),
            "peak_bytes": .integer(progress.peakBytes), "seconds": .number(progress.seconds),
        ])
    }

    mutating func append(_ object: JSONObject) throws(Diagnostic) {
        var bytes = Array((JSONValue.object(object).serialized() + "\n").utf8)
        while !bytes.isEmpty {
            let count = write(descriptor, bytes, bytes.count)
            if count < 0 {
                if errno == EINTR { continue }
                throw Diagnostic(
                    FormatsCode.fileWrite, file: path, found: String(cString: strerror(errno)),
                    expected: "space and permission to write")
            }
            bytes.removeFirst(count)
        }
    }

    func close() throws(Diagnostic) {
        if fsync(descriptor) != 0 {
            throw Diagnostic(FormatsCode.fileWrite, file: path, found: String(cString: strerror(errno)))
        }
    }
}
