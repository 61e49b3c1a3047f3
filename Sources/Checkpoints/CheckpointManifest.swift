import Diagnostics
import Formats
import Glibc
import StrictJSON

/// `manifest.json`: the size and the SHA-256 of every other file of a checkpoint. It is written last, so a folder without
/// one was never finished.
struct CheckpointManifest: Equatable {
    static let fileName = "manifest.json"
    /// The layout that this version writes and reads.
    static let format = 1

    struct File: Equatable {
        let name: String
        let bytes: Int
        let digest: String
    }

    let step: Int
    let files: [File]

    /// Reads back what was written and describes it.
    init(step: Int, names: [String], in folder: String) throws(Diagnostic) {
        self.step = step
        var files: [File] = []
        for name in names {
            let path = joinPath(folder, name)
            let digest = try SHA256.digest(ofFile: path).hex
            files.append(File(name: name, bytes: FileIdentity(ofFileAt: path)?.size ?? -1, digest: digest))
        }
        self.files = files
    }

    /// nil if `folder` has no manifest of this layout, to the byte as it is written.
    init?(in folder: String) {
        guard let bytes = try? readBytes(joinPath(folder, Self.fileName)), let json = try? JSONValue(parsing: bytes),
            json["format"]?.integer == Self.format, let step = json["step"]?.integer,
            let entries = json["files"]?.object
        else { return nil }
        var files: [File] = []
        for (name, entry) in entries.members {
            guard !name.isEmpty, !name.contains("/"), let bytes = entry["bytes"]?.integer,
                let digest = entry["sha256"]?.string
            else { return nil }
            files.append(File(name: name, bytes: bytes, digest: digest))
        }
        (self.step, self.files) = (step, files)
        guard Array(text.utf8) == bytes else { return nil }
    }

    var text: String {
        let json = JSONValue.object([
            "format": .integer(Self.format), "step": .integer(step),
            "files": .object(
                JSONObject(
                    files.map {
                        ($0.name, .object(["bytes": .integer($0.bytes), "sha256": .string($0.digest)]))
                    })),
        ])
        return json.serialized(.indented) + "\n"
    }

    /// Whether `folder` holds exactly these files, every byte as it was.
    func matches(_ folder: String) -> Bool {
        guard let names = try? listFolder(folder), Set(names) == Set(files.map(\.name) + [Self.fileName]) else {
            return false
        }
        return files.allSatisfy { file in
            let path = joinPath(folder, file.name)
            return FileIdentity(ofFileAt: path)?.size == file.bytes
                && (try? SHA256.digest(ofFile: path).hex) == file.digest
        }
    }
}
