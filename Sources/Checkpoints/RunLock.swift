import CLinux
package import Diagnostics
import Formats
import Glibc
import StrictJSON

/// The right to write into a folder: one process has it, and loses it when it ends, however it ends.
///
/// The kernel keeps the lock, so a file that a killed process or a reboot has left behind locks nothing. What is written
/// in it only tells others who holds it.
package final class RunLock {
    package static let fileName = "run.lock"
    private let descriptor: Int32

    /// Takes the lock of `folder`, which exists.
    ///
    /// - Throws: `busy` at once if another process has it, naming that process; `fileCreate`.
    package init(_ folder: String) throws(Diagnostic) {
        let path = joinPath(folder, Self.fileName)
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else {
            throw Diagnostic(
                FormatsCode.fileCreate, file: path, found: "cannot open the file: \(String(cString: strerror(errno)))")
        }
        guard linux_try_lock(descriptor) == 0 else {
            let reason = errno
            let holder = Self.holder(descriptor)
            close(descriptor)
            guard reason == EWOULDBLOCK else {
                throw Diagnostic(
                    FormatsCode.fileCreate, file: path, found: "cannot lock: \(String(cString: strerror(reason)))")
            }
            throw Diagnostic(
                CheckpointCode.busy, file: folder, found: "a run that \(holder)", expected: "a folder of its own",
                fix: "Wait for it to end, or use another folder")
        }
        let text = Array((Self.description.serialized() + "\n").utf8)
        // Only a help for others: a full disk must not keep the run from starting.
        if ftruncate(descriptor, 0) == 0 { _ = pwrite(descriptor, text, text.count, 0) }
    }

    deinit { close(descriptor) }

    private static var description: JSONValue {
        var name = [CChar](repeating: 0, count: 256)
        gethostname(&name, name.count - 1)
        return .object([
            "pid": .integer(Int(getpid())), "host": .string(String(cString: name)), "started": .integer(time(nil)),
        ])
    }

    /// Who holds the lock, as it has written itself; nothing else of the file is shown.
    private static func holder(_ descriptor: Int32) -> String {
        var bytes = [UInt8](repeating: 0, count: 512)
        let count = pread(descriptor, &bytes, bytes.count, 0)
        guard count > 0, let text = String(validating: bytes[..<count], as: UTF8.self),
            let json = try? JSONValue(parsing: text), let pid = json["pid"]?.integer, let host = json["host"]?.string,
            let started = json["started"]?.integer
        else { return "another process writes" }
        return "process \(pid) on \(host) writes since \(timeText(started))"
    }

    /// Seconds since 1970 as date and time in UTC.
    private static func timeText(_ seconds: Int) -> String {
        var (moment, parts) = (time_t(seconds), tm())
        guard gmtime_r(&moment, &parts) != nil else { return "an unknown time" }
        var text = [CChar](repeating: 0, count: 64)
        return strftime(&text, text.count, "%Y-%m-%d %H:%M:%S UTC", &parts) > 0
            ? String(cString: text) : "an unknown time"
    }
}
