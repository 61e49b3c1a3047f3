import Diagnostics
import Glibc

/// A path in a recipe: as written, and as it is opened.
package struct RecipePath: Sendable, Equatable {
    package let written: String
    /// The written path below the recipe's folder, unless it is absolute.
    package let resolved: String

    package init(written: String, folder: String) {
        self.written = written
        let parent = folder.isEmpty || folder.hasSuffix("/") ? folder : folder + "/"
        resolved = written.hasPrefix("/") ? written : parent + written
    }

    /// The names from the root or the working folder down, without `.` and with `..` taken back where that is possible.
    var components: [Substring] {
        var result: [Substring] = resolved.hasPrefix("/") ? ["/"] : []
        for part in resolved.split(separator: "/") where part != "." {
            if part == "..", let last = result.last, last != ".." {
                if last != "/" { result.removeLast() }
            } else {
                result.append(part)
            }
        }
        return result
    }

    /// The folder `path` as seen from the folder `start`; both are below the working folder unless they are absolute.
    static func relative(_ path: String, from start: String) -> String {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX))
        let working = getcwd(&buffer, buffer.count) == nil ? "/" : String(cString: buffer)
        let to = RecipePath(written: path.isEmpty ? "." : path, folder: working).components
        let from = RecipePath(written: start.isEmpty ? "." : start, folder: working).components
        let shared = zip(to, from).prefix { $0 == $1 }.count
        let steps = Array(repeating: "..", count: from.count - shared) + to.dropFirst(shared)
        return steps.isEmpty ? "." : steps.joined(separator: "/")
    }

    /// Whether `other` is this path or lies below it.
    func contains(_ other: RecipePath) -> Bool { other.components.starts(with: components) }
}

extension SectionReader {
    /// A path that needs no shell to be understood.
    ///
    /// - Throws: `RecipeCode.path` for an empty one, `~`, variables, addresses of the network and control characters.
    func path(_ key: String, folder: String) throws(Diagnostic) -> RecipePath? {
        guard let node = node(key) else { return nil }
        return try path(node, key, folder: folder)
    }

    func path(_ node: RecipeNode, _ key: String, folder: String) throws(Diagnostic) -> RecipePath {
        if case .scalar("~", isPlain: true) = node.content { throw wrongPath(node, key, "\"~\"") }
        let written = try text(node, key)
        let problem: String? =
            if written.isEmpty {
                "an empty path"
            } else if written.hasPrefix("~") {
                "a path that begins with \"~\""
            } else if hasVariable(written) {
                "a path with a variable"
            } else if written.contains("://") {
                "a network address"
            } else if written.unicodeScalars.contains(where: { $0.value < 0x20 || $0.value == 0x7F }) {
                "a path with a control character"
            } else if written.utf8.count > 4096 {
                "a path of \(written.utf8.count) bytes"
            } else {
                nil
            }
        if let problem { throw wrongPath(node, key, problem) }
        return RecipePath(written: written, folder: folder)
    }

    private func hasVariable(_ path: String) -> Bool {
        let bytes = Array(path.utf8)
        return zip(bytes, bytes.dropFirst()).contains { first, second in
            first == UInt8(ascii: "$")
                && (second == UInt8(ascii: "{") || second == UInt8(ascii: "_") || second == UInt8(ascii: "(")
                    || (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(second | 0x20))
        }
    }

    private func wrongPath(_ node: RecipeNode, _ key: String, _ found: String) -> Diagnostic {
        Diagnostic(
            RecipeCode.path, at: node.place + naming(key), found: found,
            expected: "a path relative to the recipe's folder, or an absolute one",
            fix: "Write the path out; ~ and $HOME are not expanded, and nothing is downloaded")
    }
}
