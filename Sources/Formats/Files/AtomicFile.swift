package import Diagnostics
import Glibc

/// Writes a file so that its name holds either the whole new content or what it held before.
///
/// The bytes go to a temporary file in the same folder, which is synced and renamed; then the folder is synced.
package struct AtomicFile: ~Copyable {
    private let path: String
    private let temporary: String
    private let folder: String
    private var descriptor: Int32
    private var buffer: [UInt8] = []
    /// Bytes given to `append` so far.
    package private(set) var count = 0

    private static let bufferSize = 1 << 20

    /// Starts a temporary file next to `path`, with `mode` less the process's umask.
    ///
    /// - Throws: `fileCreate`.
    package init(_ path: String, mode: UInt32 = 0o644) throws(Diagnostic) {
        let folder = parentFolder(of: path)
        let temporary = joinPath(folder, ".\(baseName(of: path)).tmp-\(randomSuffix())")
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode_t(mode))
        guard descriptor >= 0 else {
            throw Diagnostic(FormatsCode.fileCreate, file: path, found: "cannot create the file: \(lastError())")
        }
        (self.path, self.folder, self.temporary, self.descriptor) = (path, folder, temporary, descriptor)
    }

    deinit {
        // Reached with an open descriptor only if `publish` did not succeed.
        if descriptor >= 0 {
            close(descriptor)
            unlink(temporary)
        }
    }

    /// Adds bytes; small pieces are gathered.
    package mutating func append(_ bytes: UnsafeRawBufferPointer) throws(Diagnostic) {
        count += bytes.count
        if buffer.count + bytes.count <= Self.bufferSize {
            buffer.append(contentsOf: bytes)
            return
        }
        try flush()
        if bytes.count <= Self.bufferSize {
            buffer.append(contentsOf: bytes)
        } else {
            try write(bytes)
        }
    }

    package mutating func append(_ bytes: [UInt8]) throws(Diagnostic) {
        count += bytes.count
        buffer.append(contentsOf: bytes)
        if buffer.count > Self.bufferSize { try flush() }
    }

    /// Adds zeros until `count` is a multiple of `alignment`.
    package mutating func pad(to alignment: Int) throws(Diagnostic) {
        let missing = (alignment - count % alignment) % alignment
        if missing > 0 { try append([UInt8](repeating: 0, count: missing)) }
    }

    /// Gives the file its name.
    ///
    /// - Throws: `fileWrite`; whatever had the name is then unchanged and the temporary file is gone.
    package consuming func publish() throws(Diagnostic) {
        try flush()
        guard retrying({ fsync(descriptor) }) == 0 else { throw failure("sync") }
        let closed = close(descriptor)
        let reason = errno
        descriptor = -1
        guard closed == 0 || reason == EINTR else {
            unlink(temporary)
            throw failure("close", reason)
        }
        guard rename(temporary, path) == 0 else {
            let reason = errno
            unlink(temporary)
            throw failure("rename", reason)
        }
        try syncFolder(folder)
    }

    /// Writes `bytes` as the file `path` in one call.
    package static func write(
        _ bytes: UnsafeRawBufferPointer, to path: String, mode: UInt32 = 0o644
    ) throws(Diagnostic) {
        var file = try AtomicFile(path, mode: mode)
        try file.append(bytes)
        try file.publish()
    }

    package static func write(_ text: String, to path: String, mode: UInt32 = 0o644) throws(Diagnostic) {
        var file = try AtomicFile(path, mode: mode)
        try file.append(Array(text.utf8))
        try file.publish()
    }

    private mutating func flush() throws(Diagnostic) {
        guard !buffer.isEmpty else { return }
        let pending = buffer
        buffer.removeAll(keepingCapacity: true)
        let result = pending.withUnsafeBytes { bytes in
            Result { () throws(Diagnostic) in try write(bytes) }
        }
        try result.get()
    }

    private func write(_ bytes: UnsafeRawBufferPointer) throws(Diagnostic) {
        var rest = bytes[...]
        while !rest.isEmpty {
            // One call takes at most 2 GiB.
            let piece = UnsafeRawBufferPointer(rebasing: rest.prefix(1 << 30))
            let written = Glibc.write(descriptor, piece.baseAddress, piece.count)
            if written < 0 {
                if errno == EINTR { continue }
                throw failure("write")
            }
            rest = rest.dropFirst(written)
        }
    }

    private func failure(_ verb: String, _ number: Int32 = errno) -> Diagnostic {
        Diagnostic(
            FormatsCode.fileWrite, file: path, found: "cannot \(verb) the file: \(lastError(number))",
            fix: number == ENOSPC || number == EDQUOT ? "Make room on the disk" : nil)
    }
}

/// Makes the names in a folder survive a power cut.
package func syncFolder(_ path: String) throws(Diagnostic) {
    let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else {
        throw Diagnostic(FormatsCode.fileWrite, file: path, found: "cannot open the folder: \(lastError())")
    }
    defer { close(descriptor) }
    // Some network file systems cannot sync a folder and say EINVAL.
    guard retrying({ fsync(descriptor) }) == 0 || errno == EINVAL else {
        throw Diagnostic(FormatsCode.fileWrite, file: path, found: "cannot sync the folder: \(lastError())")
    }
}

func retrying(_ call: () -> Int32) -> Int32 {
    while true {
        let result = call()
        if result == 0 || errno != EINTR { return result }
    }
}

/// `path` without its last component; "." for a bare name.
package func parentFolder(of path: String) -> String {
    let trimmed = withoutTrailingSlashes(path)
    guard let slash = trimmed.utf8.lastIndex(of: UInt8(ascii: "/")) else { return "." }
    let parent = withoutTrailingSlashes(String(trimmed[..<slash]))
    return parent.isEmpty ? "/" : parent
}

/// The last component of `path`.
package func baseName(of path: String) -> String {
    let trimmed = withoutTrailingSlashes(path)
    guard let slash = trimmed.utf8.lastIndex(of: UInt8(ascii: "/")) else { return trimmed }
    return String(trimmed.utf8[trimmed.utf8.index(after: slash)...]) ?? trimmed
}

/// `name` inside `folder`.
package func joinPath(_ folder: String, _ name: String) -> String {
    folder.utf8.last == UInt8(ascii: "/") ? folder + name : folder + "/" + name
}

private func withoutTrailingSlashes(_ path: String) -> String {
    var trimmed = Substring(path)
    while trimmed.utf8.count > 1, trimmed.utf8.last == UInt8(ascii: "/") { trimmed.unicodeScalars.removeLast() }
    return String(trimmed)
}

func randomSuffix() -> String { String(UInt64.random(in: 0...UInt64.max), radix: 36) }
