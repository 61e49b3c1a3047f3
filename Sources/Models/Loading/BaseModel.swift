package import Autograd
package import Diagnostics
package import Formats
import StrictJSON
package import Tokenization

/// A base model with all that makes text of it: weights, tokenizer, chat template, stop tokens.
package struct BaseModel {
    package let files: BaseFiles
    package let decoder: Decoder
    package let tokenizer: any TextTokenizer
    /// nil for a base that has none.
    package let template: ModelChatTemplate?
    /// The tokens after which generation ends.
    package let stopTokens: Set<Int32>

    package init(
        _ path: String, encoding: BaseEncoding = .automatic, in workspace: Workspace
    ) throws(Diagnostic) {
        files = try BaseFiles(path)
        decoder = try files.makeDecoder(in: workspace, encoding: encoding)
        tokenizer = try files.tokenizer()
        template = try files.chatTemplate()
        stopTokens = try files.stopTokens(tokenizer)
    }
}

extension BaseFiles {
    /// The tokenizer, every id of which has a row in the embedding.
    package func tokenizer() throws(Diagnostic) -> any TextTokenizer {
        let tokenizer: any TextTokenizer
        switch form {
        case .folder: tokenizer = try loadTokenizer(at: path)
        case .gguf(let model): tokenizer = try makeTokenizer(try VocabularyMetadata(model.header), file: path)
        }
        guard tokenizer.vocabularyCount <= spec.vocabulary else {
            throw Diagnostic(
                ModelsCode.config, file: path, at: "tokenizer",
                found: "a tokenizer of \(tokenizer.vocabularyCount) tokens",
                expected: "at most the \(spec.vocabulary) rows of the embedding",
                fix: "Use the tokenizer that belongs to the weights")
        }
        return tokenizer
    }

    /// As `tokenizer()`; nil for a base that comes without one.
    package func optionalTokenizer() throws(Diagnostic) -> (any TextTokenizer)? {
        if case .gguf(let model) = form, model.header["tokenizer.ggml.model"] == nil { return nil }
        do throws(Diagnostic) {
            return try tokenizer()
        } catch {
            if error.code as? TokenizerCode == .missing { return nil }
            throw error
        }
    }

    /// The code that a folder's configs want to be run (`auto_map`), by the names that they give it. None of it is.
    package func remoteCode() throws(Diagnostic) -> [String] {
        guard case .folder(let folder) = form else { return [] }
        var names: Set<String> = []
        for name in ["config.json", "tokenizer_config.json"] {
            guard let map = try Self.readOptionalJSON(joinPath(folder.path, name))?["auto_map"] else { continue }
            for value in map.object?.members.map(\.value) ?? [map] {
                names.formUnion((value.array ?? [value]).compactMap(\.string))
            }
        }
        return names.sorted()
    }

    /// The chat template with the special tokens that it refers to; nil for a base that has none.
    package func chatTemplate() throws(Diagnostic) -> ModelChatTemplate? {
        switch form {
        case .folder(let folder): return try ChatTemplate.load(folder: folder.path)
        case .gguf(let model):
            let header = model.header
            guard let text = try header.string("tokenizer.chat_template") else { return nil }
            let tokens = try header.strings("tokenizer.ggml.tokens") ?? []
            var variables = JSONObject()
            for (key, name) in [("bos", "bos"), ("eos", "eos"), ("unknown", "unk"), ("padding", "pad")] {
                guard let id = try header.integer("tokenizer.ggml.\(key)_token_id"), tokens.indices.contains(id) else {
                    continue
                }
                variables["\(name)_token"] = .string(tokens[id])
            }
            do throws(Diagnostic) {
                return ModelChatTemplate(template: try ChatTemplate(source: text), variables: variables, file: path)
            } catch { throw error.inFile(path) }
        }
    }

    /// Stop tokens by the generation settings, the config and the tokenizer, all of them together.
    package func stopTokens(_ tokenizer: any TextTokenizer) throws(Diagnostic) -> Set<Int32> {
        var ids: Set<Int32> = []
        if let end = tokenizer.endOfText { ids.insert(end) }
        switch form {
        case .gguf(let model):
            for key in ["eos", "eot", "eom"] {
                if let id = try model.header.integer("tokenizer.ggml.\(key)_token_id", in: 0...Int(Int32.max)) {
                    ids.insert(Int32(id))
                }
            }
        case .folder(let folder):
            for name in ["generation_config.json", "config.json"] {
                let value = try Self.readOptionalJSON(joinPath(folder.path, name))?["eos_token_id"]
                for id in value?.array?.compactMap(\.integer) ?? [value?.integer].compactMap(\.self) {
                    if let id = Int32(exactly: id), id >= 0 { ids.insert(id) }
                }
            }
        }
        return ids
    }

    /// A JSON file of a model folder; nil if it is not there.
    private static func readOptionalJSON(_ path: String) throws(Diagnostic) -> JSONValue? {
        FileIdentity(ofFileAt: path) == nil ? nil : try readJSON(path)
    }
}

extension VocabularyMetadata {
    /// The tokenizer that a GGUF file's metadata states.
    init(_ header: GGUFFile) throws(Diagnostic) {
        let key = "tokenizer.ggml."
        self.init(
            model: try header.required(key + "model", header.string(key + "model")),
            pre: try header.string(key + "pre"),
            tokens: try header.required(key + "tokens", header.strings(key + "tokens")))
        scores = try header.floats(key + "scores") ?? []
        tokenTypes = try (header.integers(key + "token_type") ?? []).map { Int32(truncatingIfNeeded: $0) }
        merges = try header.strings(key + "merges") ?? []
        beginningOfText = try header.integer(key + "bos_token_id")
        endOfText = try header.integer(key + "eos_token_id")
        unknown = try header.integer(key + "unknown_token_id")
        padding = try header.integer(key + "padding_token_id")
        addsBeginning = try header.bool(key + "add_bos_token")
        addsEnd = try header.bool(key + "add_eos_token")
        addsSpacePrefix = try header.bool(key + "add_space_prefix")
        removesExtraWhitespace = try header.bool(key + "remove_extra_whitespaces")
        precompiledCharacterMap = try (header.integers(key + "precompiled_charsmap") ?? []).map {
            UInt8(truncatingIfNeeded: $0)
        }
    }
}

/// The digests by which a run is tied to its base: SHA-256 in hex.
package struct BaseDigests: Sendable, Equatable {
    /// Over names, shapes, types and bytes of all tensors, however they are cut into files.
    package let weights: String
    package let tokenizer: String
    /// nil for a base without a template.
    package let template: String?

    /// Computes them, or takes them from the cache if no file has changed.
    package init(_ files: BaseFiles, cache: DigestCache = DigestCache()) throws(Diagnostic) {
        weights = try cache.weightsDigest(of: files.weights).description
        template = try files.chatTemplate().map { SHA256.digest($0.template.source).description }
        switch files.form {
        case .gguf(let model): tokenizer = try Self.tokenizer(model.header).description
        case .folder(let folder):
            let names = ["tokenizer.json", "tokenizer.model"].map { joinPath(folder.path, $0) }
            guard let name = names.first(where: { FileIdentity(ofFileAt: $0) != nil }) else {
                throw Diagnostic(
                    ModelsCode.missing, file: folder.path, found: "no tokenizer",
                    expected: "tokenizer.json or tokenizer.model")
            }
            tokenizer = try cache.fileDigest(of: try MappedFile(name)).description
        }
    }

    /// Of the values that make a GGUF file's tokenizer, each length-prefixed.
    private static func tokenizer(_ header: GGUFFile) throws(Diagnostic) -> SHA256Digest {
        let values = try VocabularyMetadata(header)
        var text = "gguf tokenizer 1\n\(values.model)\n\(values.pre ?? "")\n"
        for list in [values.tokens, values.merges] {
            text += "\(list.count)\n"
            for entry in list { text += "\(entry.utf8.count) \(entry)\n" }
        }
        for type in values.tokenTypes { text += "\(type) " }
        for score in values.scores { text += "\(score.bitPattern) " }
        text +=
            "\n\(values.beginningOfText ?? -1) \(values.endOfText ?? -1) \(values.addsBeginning.map { $0 ? 1 : 0 } ?? -1)"
        return SHA256.digest(text)
    }
}

extension BaseFiles {
    /// The files with which a base's text is made, to be kept with an adapter: tokenizer, its settings, template.
    package func textFiles() throws(Diagnostic) -> [(name: String, bytes: [UInt8])] {
        switch form {
        case .gguf:
            guard let template = try chatTemplate() else { return [] }
            return [("chat_template.jinja", Array(template.template.source.utf8))]
        case .folder(let folder):
            var files: [(name: String, bytes: [UInt8])] = []
            for name in [
                "tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
                "chat_template.jinja",
            ] {
                let path = joinPath(folder.path, name)
                guard FileIdentity(ofFileAt: path) != nil else { continue }
                files.append((name, try readBytes(path)))
            }
            return files
        }
    }
}

extension BaseFiles {
    /// The tokenizer of a model folder, a tokenizer.json, a SentencePiece model or a GGUF file.
    package static func tokenizer(at path: String) throws(Diagnostic) -> any TextTokenizer {
        if (try? PathKind(ofPath: path)) == .gguf {
            return try makeTokenizer(try VocabularyMetadata(try GGUFFile(path)), file: path)
        }
        return try loadTokenizer(at: path)
    }
}
