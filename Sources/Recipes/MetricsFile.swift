import Diagnostics
import Formats
import Glibc
import StrictJSON
import Training

/// `metrics.jsonl`: a line for every step, written as it happens.
struct MetricsFile: ~Copyable {
    private let descriptor: Int32
    private let path: String
    /// The length of the file.
    private(set) var count: Int

    /// - Parameter bytes: how many bytes of a file that is there stay; the rest is cut off.
    /// - Throws: `fileCreate`; `RunCode.checkpoint` if the file has fewer.
    init(_ path: String, keeping bytes: Int) throws(Diagnostic) {
        self.path = path
        count = bytes
        descriptor = open(path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o644)
        guard descriptor >= 0 else {
            throw Diagnostic(
                FormatsCode.fileCreate, file: path, found: String(cString: strerror(errno)),
                expected: "a file that can be written")
        }
        guard lseek(descriptor, 0, SEEK_END) >= bytes else {
            throw Diagnostic(
                RunCode.checkpoint, file: path, found: "fewer lines than the checkpoint has steps",
                expected: "\(bytes) bytes or more", fix: "Start again with --fresh")
        }
        guard ftruncate(descriptor, bytes) == 0, lseek(descriptor, bytes, SEEK_SET) == bytes else {
            throw Diagnostic(FormatsCode.fileWrite, file: path, found: String(cString: strerror(errno)))
        }
        // A checkpoint counts on lines of this file: its name must survive a power cut as they do.
        try syncFolder(parentFolder(of: path))
    }

    deinit { _ = close(descriptor) }

    mutating func append(_ step: TrainingStep, _ progress: TrainingRun.StepProgress) throws(Diagnostic) {
        var line: JSONObject = [
            "step": .integer(progress.step), "loss": .number(step.loss), "learning_rate": .number(step.learningRate),
            "grad_norm": .number(Double(step.gradientNorm)), "tokens": .integer(step.rowTokens),
            "computed_tokens": .integer(step.computedTokens), "targets": .integer(step.targets),
            "tokens_per_second": .number(Double(step.rowTokens) / max(progress.seconds, 1e-9)),
            "peak_bytes": .integer(progress.peakBytes), "seconds": .number(progress.seconds),
        ]
        if let preference = step.preference {
            line["reward_accuracy"] = .number(preference.accuracy)
            line["reward_margin"] = .number(preference.margin)
            line["reward_chosen"] = .number(preference.chosenReward)
            line["reward_rejected"] = .number(preference.rejectedReward)
        }
        try append(line)
    }

    mutating func append(_ object: JSONObject) throws(Diagnostic) {
        var bytes = Array((JSONValue.object(object).serialized() + "\n").utf8)
        count += bytes.count
        while !bytes.isEmpty {
            let written = write(descriptor, bytes, bytes.count)
            if written < 0 {
                if errno == EINTR { continue }
                throw Diagnostic(
                    FormatsCode.fileWrite, file: path, found: String(cString: strerror(errno)),
                    expected: "space and permission to write")
            }
            bytes.removeFirst(written)
        }
    }

    /// Makes the lines survive a power cut.
    func sync() throws(Diagnostic) {
        if fsync(descriptor) != 0 {
            throw Diagnostic(FormatsCode.fileWrite, file: path, found: String(cString: strerror(errno)))
        }
    }
}
