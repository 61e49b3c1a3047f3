package import Autograd
import Batches
package import Diagnostics
package import Formats
import NN
import StrictJSON

/// A base with one or more adapters folded into its weights: base + Σ weight · (adapted − base).
///
/// The base's weights are those that were trained against: what a base in fewer bits says, not the file that it was made
/// from.
package struct MergedModel {
    private let base: BaseFiles
    private let model: any LanguageModel
    private let adapters: [(adapter: PEFTAdapter, weight: Float)]
    private let encoding: BaseEncoding
    private let workspace: Workspace
    private let tensors: [MergedTensor]
    private let losses = MergeLosses()

    /// - Parameters:
    ///   - adapters: what is folded in, and how much of each.
    ///   - encoding: of the base as the adapters were trained against it.
    /// - Throws: `adapter` if one does not fit the base, `merge` for what weights cannot hold.
    package init(
        _ base: BaseFiles, adapters: [(adapter: PEFTAdapter, weight: Float)], encoding: BaseEncoding,
        in workspace: Workspace
    ) throws(Diagnostic) {
        (self.base, self.adapters, self.workspace) = (base, adapters, workspace)
        self.encoding = encoding == .automatic ? .stored : encoding
        model = try base.makeModel(in: workspace, encoding: self.encoding)
        var updates: [WeightUpdate] = []
        for (adapter, weight) in adapters {
            let attached = try model.attach(adapter, trainable: false, in: workspace)
            updates.append(WeightUpdate(attached, of: model, weight: weight, in: workspace))
            model.detachAdapter()
        }
        tensors = try Self.tensors(of: model, base, updates, encoding: self.encoding)
    }

    /// Every parameter of `model` by its path, with what is to become of it.
    private static func tensors(
        of model: any LanguageModel, _ base: BaseFiles, _ updates: [WeightUpdate], encoding: BaseEncoding
    ) throws(Diagnostic) -> [MergedTensor] {
        let parameters = model.allParameters()
        let paths = Set(parameters.map(\.path))
        if let stray = updates.flatMap(\.weights.keys).filter({ !paths.contains($0) }).min() {
            throw Diagnostic(
                ModelsCode.merge, file: base.path, at: "parameter \"\(stray)\"",
                found: "a bias of the adapter for a layer of the base that has none", expected: "a bias to add it to",
                fix: "Serve the adapter beside the base: no model of this architecture can hold it")
        }
        let names = model.spec.names
        let blocks = names.inBody(names.layers) + "."
        let transposed =
            names.storesTransposed
            ? Set(model.descendants(ofType: Linear.self).map { $0.path + ".weight" }.filter { $0.hasPrefix(blocks) })
            : []
        let permuted = try base.permutedHeads()
        let reduced = encoding.lowBit == nil ? [] : model.reducibleMatrices
        return parameters.map { path, parameter in
            let rows = parameter.shape[0]
            var layout = MergedTensor.Layout.asIs
            if transposed.contains(path) { layout = .transposed }
            if let heads = permuted(path) { layout = .permuted(rowPermutation(rows: rows, heads: heads)) }
            return MergedTensor(
                path: path, contents: parameter.contents, rows: rows,
                columns: parameter.shape.rank == 2 ? parameter.shape[1] : 1,
                updates: updates.compactMap { update in update.weights[path].map { (update.weight, $0) } },
                isReduced: reduced.contains(ObjectIdentifier(parameter)), layout: layout)
        }
    }

    /// Parameters whose values are not the base's.
    package var changedCount: Int { tensors.count(where: \.isChanged) }

    /// Writes the model in the form of its base: a folder of the Hugging Face kind, or a GGUF file; it appears whole or
    /// not at all.
    ///
    /// - Parameter type: of the floating-point tensors: f32, f16 or bf16; nil: each as the base has it, and f16 for
    ///   changed ones that the base has in blocks.
    /// - Throws: `fileCreate` if the name is taken, `fileWrite`, and what reading the base throws.
    package func write(to path: String, as type: ElementType?) throws(Diagnostic) -> MergeReport {
        switch base.form {
        case .folder(let folder): try write(folder, to: path, as: type)
        case .gguf(let file): try write(file, to: path, as: type)
        }
        try base.weights.verifyUnchanged()
        let (share, worst) = losses.total
        return MergeReport(
            path: path, changed: changedCount, roundingShare: share, worst: worst,
            logits: try logitDifference(from: path))
    }

    private func write(_ folder: ModelFolder, to path: String, as type: ElementType?) throws(Diagnostic) {
        let staged = try StagedFolder(path)
        try ModelFolder.writeWeights(outgoing(as: type, convertingAll: true), in: staged.temporary)
        let config = mergedConfig(try readJSON(folder.configPath), type: type, unties: unties)
        try AtomicFile.write(config.serialized(.indented) + "\n", to: staged.filePath("config.json"))
        for (name, bytes) in try folder.companionFiles() where name != "espalier.json" {
            var file = try AtomicFile(staged.filePath(name))
            try file.append(bytes)
            try file.publish()
        }
        try AtomicFile.write(try origin().serialized(.indented) + "\n", to: staged.filePath("espalier.json"))
        try staged.publish()
    }

    private func write(_ file: GGUFModel, to path: String, as type: ElementType?) throws(Diagnostic) {
        guard FileIdentity(ofFileAt: path) == nil else {
            throw Diagnostic(
                FormatsCode.fileCreate, file: path, found: "the name is taken", expected: "a new name",
                fix: "Choose another name, or remove what is there")
        }
        let metadata = file.header.keys.filter { !$0.hasPrefix("split.") && $0 != "general.alignment" }
            .compactMap { key in file.header[key].map { (key: key, value: $0) } }
        try GGUFFile.write(metadata: metadata, tensors: outgoing(as: type, convertingAll: false), to: path)
    }

    // MARK: - Tensors

    private var headPath: String { model.spec.names.head + ".weight" }

    /// Whether embedding and head, one table in the base, are two from now on.
    private var unties: Bool {
        let table = model.spec.names.inBody(model.spec.names.embedding) + ".weight"
        return model.spec.isTied
            && tensors.contains { tensor in
                (tensor.path == table || tensor.path == headPath)
                    && tensor.updates.contains { !$0.adapted.factors.isEmpty }
            }
    }

    /// The tensors of the base in its order, merged where they change, and a head of its own where there was none.
    private func outgoing(as type: ElementType?, convertingAll: Bool) throws(Diagnostic) -> [OutgoingTensor] {
        let (byName, added) = try places()
        var outgoing: [OutgoingTensor] = []
        for stored in base.weights.tensors {
            var parts = byName[stored.name].map { [$0] } ?? []
            if parts.isEmpty, stored.shape.count == 3 {
                // A file may have a tensor for all experts.
                parts = (0..<stored.shape[0]).compactMap { byName["\(stored.name)/\($0)"] }
            }
            if parts.contains(where: \.isChanged) {
                outgoing.append(merged(parts, stored.name, shape: stored.shape, as: type ?? Self.ownType(stored)))
            } else if convertingAll, let type, stored.type != type, stored.type.isFloatingPoint {
                outgoing.append(
                    OutgoingTensor(name: stored.name, shape: stored.shape, type: type) { () throws(Diagnostic) in
                        try stored.floats().withUnsafeBufferPointer { WeightTensor.encode($0, as: type) } ?? []
                    })
            } else {
                outgoing.append(OutgoingTensor(stored))
            }
        }
        for (name, tensor) in added {
            let table = byName.values.first { $0.path != headPath && $0.count == tensor.count }
            let own = table.flatMap { table in base.candidates(table.path).lazy.compactMap { base.weights[$0] }.first }
            outgoing.append(
                merged(
                    [tensor], name, shape: [tensor.rows, tensor.columns], as: type ?? own.map(Self.ownType) ?? .f16))
        }
        return outgoing
    }

    /// The parameters by the names that the base's files have for them, and those that must be added.
    ///
    /// - Throws: `merge` for a changed parameter that the files have no tensor for.
    private func places() throws(Diagnostic) -> (byName: [String: MergedTensor], added: [(String, MergedTensor)]) {
        let source = base.separatedWeights
        var byName: [String: MergedTensor] = [:]
        var added: [(String, MergedTensor)] = []
        for tensor in tensors {
            let names = base.candidates(tensor.path)
            if let stored = names.first(where: { source[$0] != nil }) {
                byName[stored] = tensor
            } else if tensor.path == headPath, model.spec.isTied {
                if unties { added.append((names.first ?? tensor.path, tensor)) }
            } else if tensor.isChanged {
                throw Diagnostic(
                    ModelsCode.merge, file: base.path, at: "parameter \"\(tensor.path)\"",
                    found: "a part of the adapter that the base has no tensor for",
                    expected: "a base with a head of this kind", fix: "Serve the adapter beside the base")
            }
        }
        return (byName, added)
    }

    private func merged(
        _ parts: [MergedTensor], _ name: String, shape: [Int], as type: ElementType
    ) -> OutgoingTensor {
        let (workspace, losses) = (workspace, losses)
        return OutgoingTensor(name: name, shape: shape, type: type) {
            parts.flatMap { $0.bytes(as: type, in: workspace, losses: losses) }
        }
    }

    /// What a merged tensor is stored as where nobody says: as before, or in f16 if that was blocks.
    private static func ownType(_ tensor: WeightTensor) -> ElementType {
        tensor.type.isFloatingPoint ? tensor.type : .f16
    }

    // MARK: - What it was made of, and what it says

    private func origin() throws(Diagnostic) -> JSONValue {
        var entries: [JSONValue] = []
        for (adapter, weight) in adapters {
            let digest = try DigestCache().weightsDigest(of: adapter.tensors)
            entries.append(.object(["weights_sha256": .string(digest.hex), "weight": .number(Double(weight))]))
        }
        return .object([
            "merged_from": .object([
                "base_weights_sha256": .string(try DigestCache().weightsDigest(of: base.weights).hex),
                "base_encoding": .string(encoding.rawValue), "adapters": .array(entries),
            ])
        ])
    }

    /// How far the scores of the written model are from those of base and adapter; nil for several adapters, which
    /// nothing but their sum computes.
    private func logitDifference(from path: String) throws(Diagnostic) -> MergeReport.LogitDifference? {
        guard adapters.count == 1, adapters[0].weight == 1 else { return nil }
        let written = try BaseFiles(path).makeModel(in: workspace, encoding: .stored)
        let vocabulary = model.spec.vocabulary
        let examples = (0..<2).map { row in
            let tokens = (0..<16).map { Int32((($0 + 16 * row) * 7919 + 13) % vocabulary) }
            return Example(tokens: tokens, weights: tokens.map { _ in 0 })
        }
        let batch = PackedBatch(examples, sharingPrefixes: false)
        func scores(_ model: any LanguageModel) -> Tensor {
            let trace = model.trace(batch, paddedLength: nil, in: workspace)
            return trace.logits ?? trace.final
        }
        let untouched = scores(model)
        _ = try model.attach(adapters[0].adapter, trainable: false, in: workspace)
        defer { model.detachAdapter() }
        return MergeReport.LogitDifference(base: untouched, adapted: scores(model), merged: scores(written))
    }
}

/// `config` with the element type and the tie of the merged weights.
private func mergedConfig(_ config: JSONValue, type: ElementType?, unties: Bool) -> JSONValue {
    guard var object = config.object else { return config }
    let names: [ElementType: String] = [.f32: "float32", .f16: "float16", .bf16: "bfloat16"]
    for key in ["torch_dtype", "dtype"] where object[key] != nil {
        if let name = type.flatMap({ names[$0] }) { object[key] = .string(name) }
    }
    if unties { object["tie_word_embeddings"] = .bool(false) }
    if let text = object["text_config"] { object["text_config"] = mergedConfig(text, type: type, unties: unties) }
    return .object(object)
}
