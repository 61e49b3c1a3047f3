package import Diagnostics
import Glibc

/// The bytes of a regular file; nothing is opened that could block.
///
/// - Parameter shown: what messages call the file.
/// - Throws: `DataCode.missing`, `.read`, `.kind`, `.limit`, and `.changed` if the file changes meanwhile.
package func readWholeFile(_ path: String, shown: String, maximumBytes: Int) throws(Diagnostic) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else {
        let missing = errno == ENOENT || errno == ENOTDIR
        throw Diagnostic(
            missing ? DataCode.missing : DataCode.read, file: shown, found: String(cString: strerror(errno)),
            expected: "a readable file", fix: "Check the path; it is relative to the recipe's folder")
    }
    defer { close(descriptor) }
    let before = try status(descriptor, shown)
    guard before.st_mode & S_IFMT == S_IFREG else {
        throw Diagnostic(
            DataCode.kind, file: shown, found: "something that is not a regular file", expected: "a data file",
            fix: "Name a file, not a folder, pipe or device")
    }
    guard before.st_size <= maximumBytes else {
        throw Diagnostic(
            DataCode.limit, file: shown, found: "\(before.st_size) bytes", expected: "at most \(maximumBytes)",
            fix: "Split the file")
    }
    let bytes = try readBytes(descriptor, count: Int(before.st_size), shown)
    let after = try status(descriptor, shown)
    let same =
        after.st_size == before.st_size && after.st_mtim.tv_sec == before.st_mtim.tv_sec
        && after.st_mtim.tv_nsec == before.st_mtim.tv_nsec
    guard bytes.count == Int(before.st_size), same else {
        throw Diagnostic(
            DataCode.changed, file: shown, found: "a file that changed while it was read",
            expected: "a file that nobody writes", fix: "Run again when the file is complete")
    }
    return bytes
}

/// Up to `count` bytes; fewer if the file ends before.
private func readBytes(_ descriptor: Int32, count size: Int, _ shown: String) throws(Diagnostic) -> [UInt8] {
    var failure: Int32 = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: size) { buffer, count in
        while count < size {
            let got = Glibc.read(descriptor, buffer.baseAddress! + count, min(size - count, 1 << 30))
            if got < 0, errno == EINTR { continue }
            if got < 0 { failure = errno }
            if got <= 0 { return }
            count += got
        }
    }
    if failure != 0 {
        throw Diagnostic(
            DataCode.read, file: shown, found: String(cString: strerror(failure)), expected: "a readable file")
    }
    return bytes
}

private func status(_ descriptor: Int32, _ shown: String) throws(Diagnostic) -> stat {
    var result = stat()
    guard fstat(descriptor, &result) == 0 else {
        throw Diagnostic(DataCode.read, file: shown, found: String(cString: strerror(errno)))
    }
    return result
}
