package import Diagnostics
import Glibc
import StrictJSON

/// Digests of files that were read before, so that a model of many gigabytes is hashed once.
///
/// An entry counts only while place, size and times of every file are what they were. The cache is a convenience:
/// where it cannot be read or written, digests are computed anew, and that is no error.
package struct DigestCache: Sendable {
    /// The JSON file; nil where there is no place for one.
    package let path: String?

    private static let maximumBytes = 4 << 20
    private static let maximumEntries = 512
    private static let version = 1

    /// The user's cache: `$XDG_CACHE_HOME/espalier/digests.json`, else `~/.cache/espalier/digests.json`, else none.
    package init() { self.init(environment: { name in getenv(name).map { String(cString: $0) } }) }

    package init(environment: (String) -> String?) {
        // Relative paths are invalid in both variables; the specification says to ignore them.
        if let folder = environment("XDG_CACHE_HOME"), folder.utf8.first == UInt8(ascii: "/") {
            path = joinPath(folder, "espalier/digests.json")
        } else if let home = environment("HOME"), home.utf8.first == UInt8(ascii: "/") {
            path = joinPath(home, ".cache/espalier/digests.json")
        } else {
            path = nil
        }
    }

    package init(path: String?) { self.path = path }

    /// The digest of all tensors of `source`, from the cache or computed; a source without files is not cached.
    ///
    /// - Throws: `fileChanged`.
    package func weightsDigest(
        of source: WeightSource, threads: Int = availableProcessors()
    ) throws(Diagnostic) -> SHA256Digest {
        try digest("weights 1", of: source.files) { () throws(Diagnostic) in
            try WeightsDigest.compute(source, threads: threads)
        }
    }

    /// The SHA-256 of a file's bytes, from the cache or computed.
    package func fileDigest(of file: MappedFile) throws(Diagnostic) -> SHA256Digest {
        try digest("file", of: [file]) { () throws(Diagnostic) in
            file.advise(.sequential)
            let digest = SHA256.digest(file.bytes)
            try file.verifyUnchanged()
            return digest
        }
    }

    private func digest(
        _ kind: String, of files: [MappedFile], compute: () throws(Diagnostic) -> SHA256Digest
    ) throws(Diagnostic) -> SHA256Digest {
        guard let path, !files.isEmpty else { return try compute() }
        let key = Self.key(kind, files)
        if let text = Self.entries(in: path)[key]?["sha256"]?.string, let known = SHA256Digest(hex: text) {
            for file in files { try file.verifyUnchanged() }
            return known
        }
        let digest = try compute()
        // What was read for the digest alone need not stay in this process's memory.
        for file in files { file.advise(.notNeeded) }
        Self.store(digest, key: key, files: files, in: path)
        return digest
    }

    /// One line that says which files in which state, and what was computed of them.
    private static func key(_ kind: String, _ files: [MappedFile]) -> String {
        var hash = SHA256()
        hash.update(Array("\(kind)\n".utf8))
        for file in files {
            let id = file.identity
            let place = resolved(file.path) ?? file.path
            hash.update(Array("\(place.utf8.count) \(place)".utf8))
            hash.update(Array(" \(id.device) \(id.inode) \(id.size) \(id.modified) \(id.changed)\n".utf8))
        }
        return hash.finish().hex
    }

    /// What is stored; empty if the file is missing, damaged or of another version.
    private static func entries(in path: String) -> JSONObject {
        guard let document = try? readJSON(path, maximumBytes: maximumBytes), document["version"]?.integer == version,
            let entries = document["entries"]?.object
        else { return JSONObject() }
        return entries
    }

    private static func store(_ digest: SHA256Digest, key: String, files: [MappedFile], in path: String) {
        var kept = entries(in: path).members.filter { $0.key != key }
        kept = kept.suffix(maximumEntries - 1)
        let names = files.prefix(4).map { JSONValue.string($0.path) }
        let entry: JSONObject = ["sha256": .string(digest.hex), "files": .array(names)]
        kept.append((key, .object(entry)))
        let document: JSONObject = [
            "version": .integer(version), "entries": .object(JSONObject(kept.map { ($0.key, $0.value) })),
        ]
        // Only a convenience: a full disk or a read-only home must not stop a run.
        do {
            try makeFolders(parentFolder(of: path))
            try AtomicFile.write(JSONValue.object(document).serialized(.indented) + "\n", to: path, mode: 0o600)
        } catch {}
    }
}
