import Diagnostics
import Glibc
import StrictJSON

/// The index of a model that is cut into several files (`model.safetensors.index.json`): which file holds what.
struct ShardIndex {
    let path: String
    /// File names, without a folder, in bytewise order.
    let shards: [String]
    let shardOfTensor: [BytewiseString: Int]
    /// `metadata.total_size`.
    let totalSize: Int?

    static let maximumShards = 4096
    static let maximumBytes = 64 << 20

    /// - Throws: `shardIndex` with the file's name; `fileMissing`, `fileKind`, `fileRead`.
    init(_ path: String) throws(Diagnostic) {
        do {
            try self.init(reading: path)
        } catch { throw error.inFile(path) }
    }

    private init(reading path: String) throws(Diagnostic) {
        self.path = path
        let document = try readJSON(path, maximumBytes: Self.maximumBytes)
        guard let map = document["weight_map"]?.object, map.count > 0 else {
            throw Self.error("no weight_map with entries", expected: "an object of tensor and file names")
        }
        switch document["metadata"] {
        case nil, .null?: totalSize = nil
        case .object(let metadata)?: totalSize = try Self.totalSize(metadata["total_size"])
        default: throw Self.error("metadata that is no object", expected: "an object")
        }
        var numbers: [BytewiseString: Int] = [:]
        var names: [String] = []
        var tensors: [BytewiseString: Int] = [:]
        for (tensor, value) in map.members {
            guard let name = value.string else {
                throw Self.error("no file name", at: tensor, expected: "the name of a file")
            }
            let number: Int
            if let known = numbers[BytewiseString(name)] {
                number = known
            } else {
                try Self.checkName(name, tensor: tensor)
                guard names.count < Self.maximumShards else {
                    throw Self.error("more than \(Self.maximumShards) files", expected: "at most that many")
                }
                number = names.count
                numbers[BytewiseString(name)] = number
                names.append(name)
            }
            tensors[BytewiseString(tensor)] = number
        }
        let order = names.indices.sorted { names[$0].utf8.lexicographicallyPrecedes(names[$1].utf8) }
        var place = [Int](repeating: 0, count: names.count)
        for (new, old) in order.enumerated() { place[old] = new }
        shards = order.map { names[$0] }
        shardOfTensor = tensors.mapValues { place[$0] }
    }

    private static func totalSize(_ value: JSONValue?) throws(Diagnostic) -> Int? {
        guard let value, !value.isNull else { return nil }
        guard let size = value.integer, size >= 0 else {
            throw error("a total_size that is no size", expected: "a number of bytes")
        }
        return size
    }

    private static func checkName(_ name: String, tensor: String) throws(Diagnostic) {
        let plain =
            !name.isEmpty && name != "." && name != ".." && name.utf8.count <= 255
            && !name.utf8.contains { $0 < 0x20 || $0 == 0x7F || $0 == UInt8(ascii: "/") || $0 == UInt8(ascii: "\\") }
        guard plain else {
            throw error(
                "the file name \"\(name.prefix(80))\"", at: tensor,
                expected: "the plain name of a file in the same folder", fix: "Download the index again")
        }
    }

    /// Opens every shard, and checks that index and shards list the same tensors.
    ///
    /// - Parameter read: what is in the file at a path.
    /// - Throws: `shardFile` for a shard that is missing, no regular file, or reached by a symbolic link that leads out
    ///   of the model; `shardTensors` if the lists differ; what `read` throws.
    func open(_ read: (String) throws(Diagnostic) -> WeightSource) throws(Diagnostic) -> WeightSource {
        let folder = parentFolder(of: path)
        var tensors: [WeightTensor] = []
        var files: [MappedFile] = []
        var seen: [BytewiseString: Int] = [:]
        for (number, name) in shards.enumerated() {
            let shard = joinPath(folder, name)
            try checkPlace(of: shard, folder: folder)
            let source: WeightSource
            do {
                source = try read(shard)
            } catch  where error.code as? FormatsCode == .fileMissing {
                throw Diagnostic(
                    FormatsCode.shardFile, file: path, at: "\"\(name)\"", found: "a file that is not in the folder",
                    expected: "all \(shards.count) files", fix: "Download the missing file")
            }
            for tensor in source.tensors {
                try check(
                    tensor, inShard: number, seenIn: seen.updateValue(number, forKey: BytewiseString(tensor.name)))
            }
            tensors += source.tensors
            files += source.files
        }
        try checkComplete(seen)
        let bytes = tensors.reduce(0) { $0 + $1.bytes.count }
        if let totalSize, totalSize != bytes {
            throw Diagnostic(
                FormatsCode.shardTensors, file: path, at: "metadata.total_size", found: "\(totalSize) bytes",
                expected: "\(bytes), the sum of all tensors", fix: "Download the index and the files again")
        }
        return WeightSource(tensors: tensors, files: files)
    }

    private func check(_ tensor: WeightTensor, inShard number: Int, seenIn other: Int?) throws(Diagnostic) {
        let place = "tensor \"\(tensor.name)\""
        if let other {
            throw Diagnostic(
                FormatsCode.shardTensors, file: path, at: place,
                found: "it in both \(shards[other]) and \(shards[number])", expected: "every tensor in one file")
        }
        guard let expected = shardOfTensor[BytewiseString(tensor.name)] else {
            throw Diagnostic(
                FormatsCode.shardTensors, file: path, at: place, found: "it in \(shards[number]) but not in the index",
                expected: "an index of all tensors", fix: "Download the index again")
        }
        guard expected == number else {
            throw Diagnostic(
                FormatsCode.shardTensors, file: path, at: place,
                found: "it in \(shards[number])", expected: "it in \(shards[expected])",
                fix: "Download the index and the files again")
        }
    }

    private func checkComplete(_ seen: [BytewiseString: Int]) throws(Diagnostic) {
        guard seen.count < shardOfTensor.count else { return }
        let missing =
            shardOfTensor.keys.filter { seen[$0] == nil }.map(\.text)
            .min { $0.utf8.lexicographicallyPrecedes($1.utf8) } ?? ""
        throw Diagnostic(
            FormatsCode.shardTensors, file: path, at: "tensor \"\(missing)\"",
            found:
                "it in the index but not in \(shardOfTensor[BytewiseString(missing)].map { shards[$0] } ?? "a file")",
            expected: "every tensor of the index", fix: "Download that file again")
    }

    /// An index is foreign data that names files, so a symbolic link is followed only where hubs' caches use them: into
    /// the model's own folder, or from `snapshots/REVISION` to the `blobs` folder beside `snapshots`.
    private func checkPlace(of shard: String, folder: String) throws(Diagnostic) {
        var status = stat()
        guard lstat(shard, &status) == 0, status.st_mode & S_IFMT == S_IFLNK else { return }
        guard let home = resolved(folder) else { return }
        guard let target = resolved(shard) else {
            throw Diagnostic(
                FormatsCode.shardFile, file: path, at: "\"\(baseName(of: shard))\"",
                found: "a symbolic link that leads nowhere", expected: "a file", fix: "Download the missing file")
        }
        let targetFolder = parentFolder(of: target)
        let snapshots = parentFolder(of: home)
        let blobs = joinPath(parentFolder(of: snapshots), "blobs")
        let inCache = baseName(of: snapshots) == "snapshots" && targetFolder == blobs
        guard targetFolder == home || inCache else {
            throw Diagnostic(
                FormatsCode.shardFile, file: path, at: "\"\(baseName(of: shard))\"",
                found: "a symbolic link out of the model's folder", expected: "a file in the folder",
                fix: "Put the file itself into the folder")
        }
    }

    private static func error(
        _ found: String, at tensor: String? = nil, expected: String, fix: String? = nil
    ) -> Diagnostic {
        Diagnostic(
            FormatsCode.shardIndex, at: tensor.map { "weight_map, \"\($0.prefix(200))\"" }, found: found,
            expected: expected, fix: fix)
    }
}

/// The absolute path without symbolic links; nil if there is no such file.
func resolved(_ path: String) -> String? {
    guard let result = realpath(path, nil) else { return nil }
    defer { free(result) }
    return String(cString: result)
}
