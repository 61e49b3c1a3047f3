import CLinux
package import Diagnostics
import Glibc
package import StrictJSON

/// A regular file, mapped read-only for as long as the object lives.
///
/// `@unchecked Sendable`: the mapping is never written and is released only with the last reference.
package final class MappedFile: @unchecked Sendable {
    /// The name as it was given.
    package let path: String
    /// The state of the file when it was mapped.
    package let identity: FileIdentity
    /// The whole content. Reading it after the file shrank raises SIGBUS; see `verifyUnchanged` and `reportFaults`.
    package let bytes: UnsafeRawBufferPointer
    private let descriptor: Int32
    /// By which the signal handler knows it.
    private let watch: Int32

    package var size: Int { bytes.count }

    /// Maps the file at `path`; symbolic links are followed, as model hubs' caches consist of them.
    ///
    /// A FIFO or device is refused without waiting for it.
    /// - Throws: `fileMissing`, `fileKind` for anything but a regular file, `fileRead`.
    package convenience init(_ path: String) throws(Diagnostic) {
        let (descriptor, identity) = try Self.open(path)
        try self.init(path: path, descriptor: descriptor, identity: identity)
    }

    private init(path: String, descriptor: Int32, identity: FileIdentity) throws(Diagnostic) {
        self.path = path
        self.identity = identity
        self.descriptor = descriptor
        guard identity.size > 0 else {
            bytes = UnsafeRawBufferPointer(start: nil, count: 0)
            watch = -1
            return
        }
        guard let start = mmap(nil, identity.size, PROT_READ, MAP_PRIVATE, descriptor, 0), start != MAP_FAILED else {
            let reason = lastError()
            close(descriptor)
            throw Diagnostic(FormatsCode.fileRead, file: path, found: "cannot map the file: \(reason)")
        }
        bytes = UnsafeRawBufferPointer(start: start, count: identity.size)
        watch = linux_watch_mapping(start, identity.size, Self.fault(path).description + "\n")
    }

    /// Ends the process with `fileChanged`'s message and status, not by a signal, where a mapped file cannot be read: it
    /// shrank, or its disk fails. For the program's start.
    package static func reportFaults() { linux_report_mapping_faults(FormatsCode.fileChanged.exit.rawValue) }

    private static func fault(_ path: String) -> Diagnostic {
        Diagnostic(
            FormatsCode.fileChanged, file: path,
            found: "the file shrank while it was in use, or its disk cannot be read",
            expected: "a file that stays as it was opened", fix: "Let nothing write to it, and start again")
    }

    deinit {
        linux_forget_mapping(watch)
        if let start = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: start), bytes.count) }
        close(descriptor)
    }

    /// Checks that the mapped file still has the size and the time of change that it had when it was mapped.
    ///
    /// - Throws: `fileChanged`, with the file's name.
    package func verifyUnchanged() throws(Diagnostic) {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            throw Diagnostic(FormatsCode.fileRead, file: path, found: "cannot look at the file: \(lastError())")
        }
        let now = FileIdentity(status)
        guard now.size == identity.size, now.modified == identity.modified else {
            throw Diagnostic(
                FormatsCode.fileChanged, file: path,
                found: now.size < identity.size
                    ? "the file shrank from \(identity.size) to \(now.size) bytes while it was in use"
                    : "the file was written while it was in use",
                expected: "a file that stays as it was opened", fix: "Let nothing write to it, and start again")
        }
    }

    /// Tells the kernel that the content will be read soon, or is no longer needed.
    package func advise(_ advice: Advice) {
        guard let start = bytes.baseAddress else { return }
        madvise(UnsafeMutableRawPointer(mutating: start), bytes.count, advice.rawValue)
    }

    /// How a mapping will be used.
    package enum Advice: Sendable {
        case sequential, willNeed, notNeeded

        fileprivate var rawValue: Int32 {
            switch self {
            case .sequential: Int32(MADV_SEQUENTIAL)
            case .willNeed: Int32(MADV_WILLNEED)
            case .notNeeded: Int32(MADV_DONTNEED)
            }
        }
    }

    private static func open(_ path: String) throws(Diagnostic) -> (Int32, FileIdentity) {
        guard !path.utf8.contains(0) else {
            throw Diagnostic(FormatsCode.fileMissing, file: path, found: "a file name with a NUL byte")
        }
        let descriptor = Glibc.open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY)
        guard descriptor >= 0 else { throw openError(path) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else {
            let reason = lastError()
            close(descriptor)
            throw Diagnostic(FormatsCode.fileRead, file: path, found: "cannot look at the file: \(reason)")
        }
        guard status.st_mode & S_IFMT == S_IFREG else {
            close(descriptor)
            throw Diagnostic(
                FormatsCode.fileKind, file: path, found: kindName(status.st_mode), expected: "a regular file",
                fix: "Name the file itself")
        }
        return (descriptor, FileIdentity(status))
    }

    private static func openError(_ path: String) -> Diagnostic {
        switch errno {
        case ENOENT, ENOTDIR:
            Diagnostic(
                FormatsCode.fileMissing, file: path, found: "no such file", expected: "a file", fix: "Check the path")
        // A socket, or a device without a driver.
        case ENXIO, ENODEV, ELOOP:
            Diagnostic(FormatsCode.fileKind, file: path, found: lastError(), expected: "a regular file")
        default: Diagnostic(FormatsCode.fileRead, file: path, found: "cannot open the file: \(lastError())")
        }
    }
}

/// The words of the C library for `errno`.
func lastError(_ number: Int32 = errno) -> String {
    var buffer = [CChar](repeating: 0, count: 128)
    guard strerror_r(number, &buffer, buffer.count) == 0 else { return "error \(number)" }
    return buffer.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
}

private func kindName(_ mode: mode_t) -> String {
    switch mode & S_IFMT {
    case S_IFDIR: "a folder"
    case S_IFIFO: "a FIFO"
    case S_IFSOCK: "a socket"
    case S_IFCHR, S_IFBLK: "a device"
    default: "something that is no file"
    }
}

extension MappedFile {
    /// Calls `body` with the bytes, which stay mapped until it returns: `bytes` alone keeps nothing alive.
    package func withBytes<Result>(
        _ body: (UnsafeRawBufferPointer) throws(Diagnostic) -> Result
    ) throws(Diagnostic) -> Result {
        defer { withExtendedLifetime(self) {} }
        return try body(bytes)
    }
}

/// The content of the file at `path`.
///
/// - Throws: `fileMissing`, `fileKind`, `fileRead`.
package func readBytes(_ path: String) throws(Diagnostic) -> [UInt8] {
    try MappedFile(path).withBytes { Array($0) }
}

/// The JSON document in the file at `path`, read strictly.
///
/// - Throws: as `readBytes`, and what the reader of JSON throws, with the file's name.
package func readJSON(_ path: String, maximumBytes: Int = 64 << 20) throws(Diagnostic) -> JSONValue {
    do throws(Diagnostic) {
        return try MappedFile(path).withBytes { bytes throws(Diagnostic) in
            try JSONValue(parsing: bytes, maximumBytes: maximumBytes)
        }
    } catch { throw error.inFile(path) }
}
