import CLinux
package import Diagnostics
import Glibc

/// A folder that is filled under a temporary name next to its final one and then appears whole.
package struct StagedFolder: ~Copyable {
    /// The final name.
    package let path: String
    /// Where the files go until `publish`.
    package let temporary: String
    private var published = false

    /// Makes the temporary folder, and the folders above `path` that are missing.
    ///
    /// - Throws: `fileCreate`.
    package init(_ path: String, mode: UInt32 = 0o755) throws(Diagnostic) {
        let parent = parentFolder(of: path)
        try makeFolders(parent)
        let temporary = joinPath(parent, ".\(baseName(of: path)).tmp-\(randomSuffix())")
        guard mkdir(temporary, mode_t(mode)) == 0 else {
            throw Diagnostic(FormatsCode.fileCreate, file: path, found: "cannot make the folder: \(lastError())")
        }
        self.path = path
        self.temporary = temporary
    }

    deinit { if !published { removeTree(temporary) } }

    /// The temporary path of a file that will be called `name` in the folder.
    package func filePath(_ name: String) -> String { joinPath(temporary, name) }

    /// Gives the folder its name, and syncs it and its parent. The files in it must have been synced before, as
    /// `AtomicFile` does.
    ///
    /// - Parameter replacing: whether a folder that has the name is exchanged for this one and then removed.
    /// - Throws: `fileCreate` if the name is taken, `fileWrite`; whatever had the name is then unchanged.
    package consuming func publish(replacing: Bool = false) throws(Diagnostic) {
        try syncFolder(temporary)
        if linux_rename_new(temporary, path) == 0 {
            published = true
        } else if errno == EEXIST, replacing {
            guard linux_rename_exchange(temporary, path) == 0 else { throw failure() }
            // The temporary name now holds the old folder.
            removeTree(temporary)
            published = true
        } else if errno == EINVAL || errno == ENOSYS {
            // A file system without renameat2: rename(2) refuses a folder that is not empty.
            guard rename(temporary, path) == 0 else { throw failure() }
            published = true
        } else {
            throw failure()
        }
        try syncFolder(parentFolder(of: path))
    }

    private func failure() -> Diagnostic {
        if errno == EEXIST || errno == ENOTEMPTY {
            return Diagnostic(
                FormatsCode.fileCreate, file: path, found: "the name is taken", expected: "a new name",
                fix: "Choose another name, or remove what is there")
        }
        return Diagnostic(FormatsCode.fileWrite, file: path, found: "cannot rename the folder: \(lastError())")
    }
}

/// Makes the folder `path` and those above it; their names survive a power cut.
package func makeFolders(_ path: String) throws(Diagnostic) {
    if mkdir(path, 0o777) == 0 { return try syncFolder(parentFolder(of: path)) }
    switch errno {
    case EEXIST:
        var status = stat()
        if stat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR { return }
        throw Diagnostic(FormatsCode.fileCreate, file: path, found: "a file has the name", expected: "a folder")
    case ENOENT where parentFolder(of: path) != path:
        try makeFolders(parentFolder(of: path))
        if mkdir(path, 0o777) == 0 { return try syncFolder(parentFolder(of: path)) }
        if errno == EEXIST { return }
        fallthrough
    default:
        throw Diagnostic(FormatsCode.fileCreate, file: path, found: "cannot make the folder: \(lastError())")
    }
}

/// Removes a file or a folder with all that is in it; symbolic links are removed, not followed.
package func removeTree(_ path: String) {
    if unlink(path) == 0 || errno == ENOENT { return }
    for name in (try? listFolder(path)) ?? [] { removeTree(joinPath(path, name)) }
    rmdir(path)
}

/// The names in a folder, sorted by their bytes, without `.` and `..`.
package func listFolder(_ path: String) throws(Diagnostic) -> [String] {
    guard let folder = opendir(path) else {
        let code: FormatsCode = errno == ENOENT || errno == ENOTDIR ? .fileMissing : .fileRead
        throw Diagnostic(code, file: path, found: "cannot list the folder: \(lastError())")
    }
    defer { closedir(folder) }
    var names: [String] = []
    while let entry = readdir(folder) {
        let name = withUnsafePointer(to: &entry.pointee.d_name) { field in
            field.withMemoryRebound(to: CChar.self, capacity: MemoryLayout.size(ofValue: field.pointee)) {
                String(cString: $0)
            }
        }
        if name != ".", name != ".." { names.append(name) }
    }
    return names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
}
