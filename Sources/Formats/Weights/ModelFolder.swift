package import Diagnostics
import Glibc

/// A model folder as hubs have them: `config.json`, and weights in one of several forms.
package struct ModelFolder: Sendable {
    package let path: String
    /// What holds the weights, best first; empty if nothing does.
    package let weightFiles: [WeightFiles]

    /// A form in which weights stand in a folder; the path is that of the file or of the index.
    package enum WeightFiles: Hashable, Sendable {
        case safetensors(String)
        case shardedSafetensors(index: String)
        case pytorch(String)
        case shardedPyTorch(index: String)

        package var path: String {
            switch self {
            case .safetensors(let path), .pytorch(let path): path
            case .shardedSafetensors(let index), .shardedPyTorch(let index): index
            }
        }
    }

    /// Looks at the names in the folder; nothing is read.
    ///
    /// - Throws: `fileMissing` if there is no folder, `modelFolder` if two forms of safetensors are there.
    package init(_ path: String) throws(Diagnostic) {
        guard isFolder(path) else {
            throw Diagnostic(
                FormatsCode.fileMissing, file: path, found: "no such folder", expected: "a model folder",
                fix: "Check the path")
        }
        self.path = path
        var found: [WeightFiles] = []
        let single = joinPath(path, "model.safetensors")
        let index = joinPath(path, "model.safetensors.index.json")
        switch (exists(single), exists(index)) {
        case (true, true):
            // An index of that one file only is a valid if needless index.
            guard try ShardIndex(index).shards == ["model.safetensors"] else {
                throw Diagnostic(
                    FormatsCode.modelFolder, file: path,
                    found: "both model.safetensors and an index of other files", expected: "one set of weights",
                    fix: "Remove the one that is not meant")
            }
            found.append(.shardedSafetensors(index: index))
        case (true, false): found.append(.safetensors(single))
        case (false, true): found.append(.shardedSafetensors(index: index))
        case (false, false): break
        }
        let pickled = joinPath(path, "pytorch_model.bin")
        let pickledIndex = joinPath(path, "pytorch_model.bin.index.json")
        if exists(pickled) { found.append(.pytorch(pickled)) }
        if exists(pickledIndex) { found.append(.shardedPyTorch(index: pickledIndex)) }
        weightFiles = found
    }

    package var configPath: String { joinPath(path, "config.json") }

    /// Opens the best of the weight files; tensor data is not touched.
    ///
    /// - Throws: `modelFolder` if there is none, and what the readers throw.
    package func openWeights() throws(Diagnostic) -> WeightSource {
        guard let best = weightFiles.first else {
            let parts = try listFolder(path).filter { $0.hasSuffix(".safetensors") || $0.hasSuffix(".bin") }
            throw Diagnostic(
                FormatsCode.modelFolder, file: path,
                found: parts.isEmpty ? "no weights" : "weights (\(parts[0])) without an index",
                expected: "model.safetensors, model.safetensors.index.json, or pytorch_model.bin",
                fix: "Download the missing files")
        }
        switch best {
        case .safetensors(let path): return try SafetensorsFile(path).source
        case .shardedSafetensors(let index):
            return try ShardIndex(index).open { (path) throws(Diagnostic) in try SafetensorsFile(path).source }
        case .pytorch(let path): return try PyTorchCheckpoint(path).source
        case .shardedPyTorch(let index):
            return try ShardIndex(index).open { (path) throws(Diagnostic) in try PyTorchCheckpoint(path).source }
        }
    }
}

/// What stands at a path, as far as its name and first bytes tell.
package enum PathKind: String, Sendable, Hashable {
    case modelFolder = "model folder"
    case adapterFolder = "adapter folder"
    case safetensors
    case gguf = "GGUF"
    case pytorch = "PyTorch checkpoint"

    /// - Throws: `fileMissing`, `fileKind`, `fileRead`, and `unknownKind` for what is none of these.
    package init(ofPath path: String) throws(Diagnostic) {
        if isFolder(path) {
            self = try Self.kind(ofFolder: path)
            return
        }
        let file = try MappedFile(path)
        defer { withExtendedLifetime(file) {} }
        if file.bytes.starts(with: Array("GGUF".utf8)) || path.hasSuffix(".gguf") {
            self = .gguf
        } else if path.hasSuffix(".safetensors") || Self.looksLikeSafetensors(file.bytes) {
            self = .safetensors
        } else if file.bytes.starts(with: Array("PK\u{3}\u{4}".utf8)) {
            self = .pytorch
        } else {
            throw Diagnostic(
                FormatsCode.unknownKind, file: path, found: "a file of unknown kind",
                expected: "safetensors, GGUF, a PyTorch checkpoint, a model folder or an adapter folder")
        }
    }

    private static func kind(ofFolder path: String) throws(Diagnostic) -> PathKind {
        if exists(joinPath(path, "adapter_config.json")) { return .adapterFolder }
        if exists(joinPath(path, "config.json")) { return .modelFolder }
        if try !ModelFolder(path).weightFiles.isEmpty { return .modelFolder }
        throw Diagnostic(
            FormatsCode.unknownKind, file: path, found: "a folder without config.json and adapter_config.json",
            expected: "a model folder or an adapter folder")
    }

    private static func looksLikeSafetensors(_ bytes: UnsafeRawBufferPointer) -> Bool {
        guard bytes.count > 8 else { return false }
        let length = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
        return length <= UInt64(bytes.count - 8) && bytes[8] == UInt8(ascii: "{")
    }
}

extension WeightSource {
    /// Opens the weights at `path`, whatever kind it is; a folder's best weight files, an adapter folder's tensors.
    ///
    /// - Throws: what the readers throw.
    package static func open(_ path: String) throws(Diagnostic) -> WeightSource {
        switch try PathKind(ofPath: path) {
        case .modelFolder: try ModelFolder(path).openWeights()
        case .adapterFolder: try PEFTAdapter(path).tensors
        case .safetensors: try SafetensorsFile(path).source
        case .gguf: try GGUFModel(path).weights
        case .pytorch: try PyTorchCheckpoint(path).source
        }
    }
}

/// Whether something has this name, even a symbolic link that leads nowhere.
func exists(_ path: String) -> Bool {
    var status = stat()
    return lstat(path, &status) == 0
}

func isFolder(_ path: String) -> Bool {
    var status = stat()
    return stat(path, &status) == 0 && status.st_mode & S_IFMT == S_IFDIR
}
