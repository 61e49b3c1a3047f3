package import Diagnostics
import Glibc

/// Checks, before anything is written, that `bytes` fit on the disk where `path` is or will be.
///
/// - Throws: `fileWrite` with what is free. Where the file system does not say, nothing is thrown: writing will tell.
package func checkSpace(for bytes: Int, at path: String) throws(Diagnostic) {
    var folder = path
    var status = statvfs()
    while statvfs(folder, &status) != 0 {
        let parent = parentFolder(of: folder)
        guard errno == ENOENT, parent != folder else { return }
        folder = parent
    }
    let (free, overflows) = Int(clamping: status.f_bavail).multipliedReportingOverflow(
        by: Int(clamping: status.f_frsize))
    guard !overflows, free < bytes else { return }
    throw Diagnostic(
        FormatsCode.fileWrite, file: path, found: "\(free >> 20) MiB free on the disk",
        expected: "\((bytes + (1 << 20) - 1) >> 20) MiB for what is to be written", fix: "Make room, and try again")
}
