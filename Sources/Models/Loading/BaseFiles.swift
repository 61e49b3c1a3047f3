package import Autograd
package import Diagnostics
package import Formats
import StrictJSON

/// A base model as it lies on the disk: a Hugging Face folder or a GGUF file, opened but not read.
package struct BaseFiles {
    package let path: String
    package let spec: DecoderSpec
    package let weights: WeightSource
    package let form: Form
    private let newTask: NewTask?

    package enum Form: Sendable {
        case folder(ModelFolder)
        case gguf(GGUFModel)
    }

    /// - Parameter newTask: what to make of the base, where that is not what its config names.
    /// - Throws: `unsupported` for an architecture or a task that is not, `config` for a bad key, and what the readers
    ///   throw.
    package init(_ path: String, for newTask: NewTask? = nil) throws(Diagnostic) {
        self.path = path
        self.newTask = newTask
        switch try PathKind(ofPath: path) {
        case .gguf:
            if let newTask {
                throw Diagnostic(
                    ModelsCode.unsupported, file: path, found: "a GGUF file for \(newTask.kind.rawValue)",
                    expected: "a model folder", fix: "Use the Hugging Face folder of the model")
            }
            let model = try GGUFModel(path)
            form = .gguf(model)
            spec = try GGUFSpec(model).spec()
            weights = model.weights
        case .modelFolder:
            let folder = try ModelFolder(path)
            form = .folder(folder)
            var config = try Self.config(of: folder)
            config.newTask = newTask
            spec = try Architecture.spec(config)
            weights = try folder.openWeights()
        default:
            throw Diagnostic(
                ModelsCode.missing, file: path, found: "no base model",
                expected: "a folder with config.json and weights, or a .gguf file")
        }
    }

    private static func config(of folder: ModelFolder) throws(Diagnostic) -> ConfigReader {
        let value = try readJSON(folder.configPath, maximumBytes: 16 << 20)
        guard let object = value.object else {
            throw Diagnostic(
                ModelsCode.config, file: folder.configPath, found: "JSON that is no object", expected: "an object")
        }
        return ConfigReader(object, file: folder.configPath)
    }

    /// The model over these files, with the head that its config names; matrices stay mapped.
    ///
    /// Where the workspace computes in bf16, matrices that are not bf16 in the files are converted once into a file
    /// beside `cache` (see `BF16Copy`), unless `encoding` says otherwise.
    /// - Throws: `tensor` for one that is missing, has another shape, or has no place in the model; `fileChanged`.
    package func makeModel(
        in workspace: Workspace, encoding: BaseEncoding = .automatic, cache: DigestCache = DigestCache()
    ) throws(Diagnostic) -> any LanguageModel {
        guard let task = spec.task else { return try makeDecoder(in: workspace, encoding: encoding, cache: cache) }
        return try make(in: workspace, encoding, cache) { (binder) throws(Diagnostic) in
            try Encoder(spec, task, &binder, newHeadSeed: newTask?.seed)
        }
    }

    /// The same for a model that must guess the next token.
    ///
    /// - Throws: `unsupported` for one that does not, with what it is.
    package func makeDecoder(
        in workspace: Workspace, encoding: BaseEncoding = .automatic, cache: DigestCache = DigestCache()
    ) throws(Diagnostic) -> Decoder {
        guard spec.task == nil else {
            throw Diagnostic(
                ModelsCode.unsupported, file: path, at: "key \"architectures\"", found: spec.summary,
                expected: "a decoder for the next token",
                fix: "Generating and training on texts need one; inspect and parity take this model as well")
        }
        return try make(in: workspace, encoding, cache) { (binder) throws(Diagnostic) in try Decoder(spec, &binder) }
    }

    private func make<Model: LanguageModel>(
        in workspace: Workspace, _ encoding: BaseEncoding, _ cache: DigestCache,
        _ build: (inout WeightBinder) throws(Diagnostic) -> Model
    ) throws(Diagnostic) -> Model {
        var binder = try binder(in: workspace)
        let model = try build(&binder)
        let (names, tied) = (spec.names, spec.isTied)
        try binder.checkAllUsed { name in
            names.buffers.contains { name.hasSuffix($0) } || name == "rope_freqs.weight"
                || (tied && name.hasSuffix(names.head + ".weight"))
                || names.otherParts.contains { name.hasPrefix($0) }
        }
        let reduced = encoding.lowBit.map { model.reduce(to: $0, in: workspace) } ?? []
        if workspace.precision == .bf16, encoding != .stored {
            try BF16Copy(of: self, cache: cache, workspace: workspace).replaceMatrices(of: model, but: reduced)
        }
        return model
    }

    private func binder(in workspace: Workspace) throws(Diagnostic) -> WeightBinder {
        let file = if case .folder(let folder) = form { folder.weightFiles.first?.path ?? path } else { path }
        return WeightBinder(
            separatedWeights, file: file, workspace: workspace, candidates: candidates,
            permutedHeads: try permutedHeads())
    }

    /// The weights, a tensor for each expert.
    var separatedWeights: WeightSource {
        if case .gguf = form { GGUFSpec.separatingExperts(weights) } else { weights }
    }

    /// The names that the files may have for the tensor of a path, likeliest first.
    func candidates(_ path: String) -> [String] {
        guard case .folder = form else { return [GGUFSpec.name(of: path, spec: spec)] }
        let names = spec.names
        let body = (names.body.isEmpty ? names.storedBody : names.body) + "."
        return names.storedNames(of: path).flatMap { path in
            let bare = path.hasPrefix(body) ? String(path.dropFirst(body.count)) : path
            let full = names.body.isEmpty ? body + bare : path
            return [full, bare, "language_model." + full, "model.language_model." + bare]
        }
    }

    /// By path, the heads whose rows the files have in another order.
    func permutedHeads() throws(Diagnostic) -> (String) -> Int? {
        guard case .gguf(let model) = form else { return { _ in nil } }
        return try GGUFSpec(model).permutedHeads(spec)
    }
}

extension BaseFiles {
    /// The licence that the model's files name: GGUF's `general.license`, or the head of a folder's README.md.
    package func license() throws(Diagnostic) -> String? {
        switch form {
        case .gguf(let model): return try model.header.string("general.license")
        case .folder(let folder):
            let path = joinPath(folder.path, "README.md")
            guard FileIdentity(ofFileAt: path) != nil else { return nil }
            let lines = String(decoding: try readBytes(path), as: UTF8.self).split(separator: "\n")
            guard lines.first == "---" else { return nil }
            let head = lines.dropFirst().prefix { $0 != "---" }
            return head.first { $0.hasPrefix("license:") }.map {
                $0.dropFirst("license:".count).drop { $0 == " " }.description
            }
        }
    }
}
