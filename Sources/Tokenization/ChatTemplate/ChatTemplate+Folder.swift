package import Diagnostics
package import StrictJSON

import Glibc

/// What a model's files say about its conversations.
package struct ModelChatTemplate: Sendable {
    package var template: ChatTemplate
    /// The special tokens by name (`bos_token`, `eos_token`, …), as templates know them.
    package var variables: JSONObject
    /// The file that the template stands in.
    package var file: String

    package init(template: ChatTemplate, variables: JSONObject, file: String) {
        self.template = template
        self.variables = variables
        self.file = file
    }
}

extension ChatTemplate {
    /// Finds the chat template of a model folder: `chat_template.jinja` with `additional_chat_templates/*.jinja`, else
    /// `chat_template` in `tokenizer_config.json`, a text or a list of named texts.
    ///
    /// Of several templates `tool_use` is taken for conversations with tools, otherwise `default`, otherwise the only
    /// one. Nil if the folder has none.
    ///
    /// - Throws: what `init` throws, with the file's name; `ChatTemplateCode.missing` if it has several and none is
    ///   called so; `ChatTemplateCode.file` for a file of another form;
    ///   `.read` if a file cannot be read.
    package static func load(folder: String, withTools: Bool = false) throws(Diagnostic) -> ModelChatTemplate? {
        let configuration = try configuration(folder)
        let variables = specialTokens(configuration)
        var named: [(name: String, source: String, file: String)] = []
        if let source = try read("\(folder)/chat_template.jinja") {
            named.append(("default", source, "\(folder)/chat_template.jinja"))
            for name in try templateNames("\(folder)/additional_chat_templates") {
                let path = "\(folder)/additional_chat_templates/\(name).jinja"
                if let source = try read(path) { named.append((name, source, path)) }
            }
        } else if let entry = configuration["chat_template"], !entry.isNull {
            let path = "\(folder)/tokenizer_config.json"
            named = try Self.named(entry, path).map { ($0.name, $0.source, path) }
        }
        guard
            let chosen = (withTools ? named.first { $0.name == "tool_use" } : nil)
                ?? named.first(where: { $0.name == "default" }) ?? (named.count == 1 ? named[0] : nil)
        else {
            if named.isEmpty { return nil }
            throw Diagnostic(
                ChatTemplateCode.missing, file: named[0].file, found: "several chat templates, none named \"default\"",
                expected: "one of that name", fix: "Rename the template that is to be used")
        }
        do {
            return ModelChatTemplate(
                template: try ChatTemplate(source: chosen.source), variables: variables, file: chosen.file)
        } catch {
            throw error.inFile(chosen.file)
        }
    }

    private static func named(
        _ entry: JSONValue, _ path: String
    ) throws(Diagnostic) -> [(name: String, source: String)] {
        if let source = entry.string { return [("default", source)] }
        guard let entries = entry.array else { throw wrongForm(path) }
        var named: [(name: String, source: String)] = []
        for entry in entries {
            guard let name = entry["name"]?.string, let source = entry["template"]?.string else {
                throw wrongForm(path)
            }
            named.append((name, source))
        }
        return named
    }

    private static func wrongForm(_ path: String) -> Diagnostic {
        Diagnostic(
            ChatTemplateCode.file, file: path, at: "key \"chat_template\"", found: "something else than a template",
            expected: "a text, or a list of objects with name and template")
    }

    /// The tokens that templates know by name: entries such as `bos_token`, each a text or an object with `content`.
    private static func specialTokens(_ configuration: JSONObject) -> JSONObject {
        var tokens = JSONObject()
        for (key, value) in configuration.members where key.hasSuffix("_token") {
            if let text = value.string ?? value["content"]?.string { tokens[key] = .string(text) }
        }
        for (key, value) in (configuration["extra_special_tokens"]?.object ?? [:]).members {
            if let text = value.string ?? value["content"]?.string { tokens[key] = .string(text) }
        }
        return tokens
    }

    // MARK: Files

    private static let maximumFileBytes = 64 << 20

    private static func configuration(_ folder: String) throws(Diagnostic) -> JSONObject {
        let path = "\(folder)/tokenizer_config.json"
        guard let text = try read(path) else { return [:] }
        do throws(Diagnostic) {
            guard let object = try JSONValue(parsing: text).object else {
                throw Diagnostic(ChatTemplateCode.file, found: "no JSON object", expected: "an object")
            }
            return object
        } catch {
            throw error.inFile(path)
        }
    }

    /// The names of the templates in a folder, sorted; none if there is no such folder.
    private static func templateNames(_ folder: String) throws(Diagnostic) -> [String] {
        guard let directory = opendir(folder) else {
            if errno == ENOENT || errno == ENOTDIR { return [] }
            throw unreadable(folder)
        }
        defer { closedir(directory) }
        var names: [String] = []
        while let entry = readdir(directory) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { tuple in
                tuple.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name.hasSuffix(".jinja"), !name.hasPrefix(".") { names.append(String(name.dropLast(6))) }
        }
        return names.sorted()
    }

    /// The text of a regular file; nil if there is none. Does not block on what is no file.
    private static func read(_ path: String) throws(Diagnostic) -> String? {
        let descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else {
            if errno == ENOENT || errno == ENOTDIR { return nil }
            throw unreadable(path)
        }
        defer { close(descriptor) }
        var information = stat()
        guard fstat(descriptor, &information) == 0 else { throw unreadable(path) }
        guard information.st_mode & S_IFMT == S_IFREG else {
            throw Diagnostic(ChatTemplateCode.file, file: path, found: "no regular file", expected: "a file")
        }
        guard information.st_size <= maximumFileBytes else {
            throw Diagnostic(
                ChatTemplateCode.limit, file: path, found: "a file of \(information.st_size) bytes",
                expected: "at most \(maximumFileBytes)")
        }
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 1 << 16)
        while bytes.count <= maximumFileBytes {
            let count = Glibc.read(descriptor, &chunk, chunk.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw unreadable(path) }
            if count == 0 { break }
            bytes += chunk[..<count]
        }
        guard let text = String(validating: bytes, as: UTF8.self) else {
            throw Diagnostic(ChatTemplateCode.file, file: path, found: "bytes that are not UTF-8", expected: "UTF-8")
        }
        return text
    }

    private static func unreadable(_ path: String) -> Diagnostic {
        Diagnostic(
            ChatTemplateCode.read, file: path,
            found: "a file that cannot be read (\(String(cString: strerror(errno))))",
            fix: "Check its permissions")
    }
}
