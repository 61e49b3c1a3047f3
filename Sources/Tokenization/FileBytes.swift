import Diagnostics
import Glibc

/// Reading of whole files, for tokenizers and what lies beside them.
enum FileBytes {
    enum Kind { case file, folder, missing }

    static func kind(_ path: String) -> Kind {
        var status = stat()
        guard stat(path, &status) == 0 else { return .missing }
        return status.st_mode & S_IFMT == S_IFDIR ? .folder : .file
    }

    /// Calls `body` with the file's bytes.
    ///
    /// - Throws: `TokenizerCode.missing`, `.unreadable`, `.limit` for more than `maximum` bytes, or what `body` throws.
    static func read<R>(
        _ path: String, maximum: Int, _ body: (UnsafeRawBufferPointer) throws(Diagnostic) -> R
    ) throws(Diagnostic) -> R {
        // Not blocking, so that a pipe in a file's place cannot hold the program.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else {
            let code: TokenizerCode = errno == ENOENT || errno == ENOTDIR ? .missing : .unreadable
            throw Diagnostic(code, file: path, found: String(cString: strerror(errno)), expected: "a readable file")
        }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else {
            throw Diagnostic(TokenizerCode.unreadable, file: path, found: "something else", expected: "a regular file")
        }
        let size = Int(status.st_size)
        guard size <= maximum else {
            throw Diagnostic(
                TokenizerCode.limit, file: path, found: "\(size) bytes", expected: "at most \(maximum)")
        }
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: max(size, 1), alignment: 16)
        defer { buffer.deallocate() }
        var count = 0
        while count < size {
            let result = Glibc.read(descriptor, buffer.baseAddress! + count, size - count)
            if result == 0 { break }
            if result < 0 {
                if errno == EINTR { continue }
                throw Diagnostic(
                    TokenizerCode.unreadable, file: path, found: String(cString: strerror(errno)),
                    expected: "a readable file")
            }
            count += result
        }
        return try body(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
    }
}
