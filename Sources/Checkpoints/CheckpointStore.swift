package import Diagnostics
package import Formats
import Glibc
package import StrictJSON

/// A published checkpoint whose every byte is as it was written.
package struct Checkpoint: Sendable {
    package let step: Int
    package let path: String
    /// Everything but tensors.
    package let state: JSONValue

    /// - Throws: what reading safetensors throws.
    package func tensors() throws(Diagnostic) -> SafetensorsFile {
        try SafetensorsFile(joinPath(path, CheckpointStore.tensorsName))
    }
}

/// The checkpoints of a run: `checkpoints/step-000123/` with tensors, state and a manifest of both.
///
/// A checkpoint is written under another name, synced file by file, and renamed when it is whole; then the folder is
/// synced. Whatever stops the process, what bears a checkpoint's name is either whole or not there. Only the process that
/// holds the folder's `RunLock` may use it.
package struct CheckpointStore {
    static let tensorsName = "state.safetensors"
    static let stateName = "state.json"

    /// The folder of the run.
    package let run: String
    private let folder: String
    /// How many of the newest stay.
    private let kept: Int

    /// - Parameter kept: at least 2, so that a damaged one is not the only one.
    package init(inRun run: String, keeping kept: Int) {
        self.run = run
        folder = joinPath(run, "checkpoints")
        self.kept = max(2, kept)
    }

    // MARK: - Finding

    /// The newest checkpoint that is whole. Damaged ones get the name `damaged-step-…` and are reported; what earlier
    /// processes have left unfinished is removed.
    ///
    /// - Parameter report: gets the name and the new name of every damaged one.
    /// - Returns: nil if none was ever published.
    /// - Throws: `damaged` if there are checkpoints, but none is whole.
    package func newest(report: (_ name: String, _ newName: String) -> Void) throws(Diagnostic) -> Checkpoint? {
        removeUnfinished()
        var damaged: [String] = try published().map(\.name).isEmpty ? quarantined() : []
        for (name, step) in try published().reversed() {
            if let checkpoint = checked(name, step) { return checkpoint }
            let newName = "damaged-\(name)-\(damaged.count + 1)"
            _ = rename(joinPath(folder, name), joinPath(folder, newName))
            report(name, newName)
            damaged.append(name)
        }
        guard damaged.isEmpty else {
            throw Diagnostic(
                CheckpointCode.damaged, file: folder, found: "\(damaged.count) checkpoints, all damaged",
                expected: "a whole one", fix: "Start again with --fresh")
        }
        return nil
    }

    /// The checkpoint of a step.
    ///
    /// - Throws: `damaged` if it is not there, or not as it was written.
    package func checkpoint(step: Int) throws(Diagnostic) -> Checkpoint {
        if let checkpoint = checked(Self.name(step), step) { return checkpoint }
        throw Diagnostic(
            CheckpointCode.damaged, file: joinPath(folder, Self.name(step)), found: "no whole checkpoint",
            expected: "that of step \(step)", fix: "Go on with --resume, or start again with --fresh")
    }

    private func checked(_ name: String, _ step: Int) -> Checkpoint? {
        let path = joinPath(folder, name)
        var status = stat()
        guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR,
            let manifest = CheckpointManifest(in: path), manifest.step == step, manifest.matches(path),
            let state = try? readJSON(joinPath(path, Self.stateName))
        else { return nil }
        return Checkpoint(step: step, path: path, state: state)
    }

    /// Names and steps, oldest first.
    private func published() throws(Diagnostic) -> [(name: String, step: Int)] {
        names().compactMap { name in
            guard name.hasPrefix(Self.prefix), let step = Int(name.dropFirst(Self.prefix.count)), step > 0,
                name == Self.name(step)
            else { return nil }
            return (name, step)
        }.sorted { $0.step < $1.step }
    }

    private func quarantined() -> [String] { names().filter { $0.hasPrefix("damaged-") } }

    private func names() -> [String] { (try? listFolder(folder)) ?? [] }

    private static let prefix = "step-"

    private static func name(_ step: Int) -> String {
        let digits = String(step)
        return prefix + String(repeating: "0", count: max(0, 6 - digits.count)) + digits
    }

    // MARK: - Publishing

    /// Publishes a checkpoint and then removes those that are no longer kept; when it returns, the checkpoint survives a
    /// power cut.
    ///
    /// - Parameter best: a step that stays however old it is.
    /// - Throws: `fileCreate`, `fileWrite`; the checkpoints that were there are unchanged.
    package func publish(
        step: Int, tensors: [OutgoingTensor], state: JSONValue, best: Int? = nil
    ) throws(Diagnostic) {
        removeUnfinished()
        var bytes = 1 << 20
        for tensor in tensors { bytes += try tensor.byteCount() }
        try checkSpace(for: bytes, at: folder)
        let staged = try StagedFolder(joinPath(folder, Self.name(step)), mode: 0o700)
        try SafetensorsFile.write(tensors, to: staged.filePath(Self.tensorsName), mode: 0o600)
        try AtomicFile.write(state.serialized(.indented) + "\n", to: staged.filePath(Self.stateName), mode: 0o600)
        let manifest = try CheckpointManifest(
            step: step, names: [Self.tensorsName, Self.stateName], in: staged.temporary)
        try AtomicFile.write(manifest.text, to: staged.filePath(CheckpointManifest.fileName), mode: 0o600)
        try staged.publish(replacing: true)
        try removeOld(best: best)
    }

    private func removeOld(best: Int?) throws(Diagnostic) {
        let old = try published().dropLast(kept).filter { $0.step != best }
        guard !old.isEmpty else { return }
        // Under a new name first: a checkpoint is never seen with some of its files gone.
        let trash = old.map { Self.trashPrefix + $0.name }
        for (checkpoint, name) in zip(old, trash) {
            removeTree(joinPath(folder, name))
            _ = rename(joinPath(folder, checkpoint.name), joinPath(folder, name))
        }
        try syncFolder(folder)
        for name in trash { removeTree(joinPath(folder, name)) }
    }

    private static let trashPrefix = ".trash-"

    /// Leaves published checkpoints alone in the folder, after a power cut too: for the end of a run.
    package func settle() throws(Diagnostic) {
        removeUnfinished()
        if !names().isEmpty { try syncFolder(folder) }
    }

    /// Removes what a save that was killed or failed has left.
    package func removeUnfinished() {
        for name in names() where name.hasPrefix(Self.trashPrefix) || name.hasPrefix("." + Self.prefix) {
            removeTree(joinPath(folder, name))
        }
    }
}
