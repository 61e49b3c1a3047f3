package import Diagnostics
import StrictJSON

extension ModelFolder {
    /// Writes the weights of a model into a folder that is there, as transformers does: one file, or several of at most
    /// `shardBytes` each with an index.
    ///
    /// - Throws: what writing safetensors throws.
    package static func writeWeights(
        _ tensors: [OutgoingTensor], in folder: String, shardBytes: Int = 5_000_000_000
    ) throws(Diagnostic) {
        var shards: [[OutgoingTensor]] = [[]]
        var (total, filled) = (0, 0)
        for tensor in tensors {
            let size = try tensor.byteCount()
            if filled > 0, filled + size > shardBytes {
                shards.append([])
                filled = 0
            }
            shards[shards.count - 1].append(tensor)
            filled += size
            total += size
        }
        guard shards.count > 1 else {
            return try SafetensorsFile.write(tensors, to: joinPath(folder, "model.safetensors"))
        }
        var places = JSONObject()
        for (index, shard) in shards.enumerated() {
            let name = "model-\(fiveDigits(index + 1))-of-\(fiveDigits(shards.count)).safetensors"
            try SafetensorsFile.write(shard, to: joinPath(folder, name))
            for tensor in shard { places[tensor.name] = .string(name) }
        }
        let document: JSONValue = .object([
            "metadata": .object(["total_size": .integer(total)]), "weight_map": .object(places),
        ])
        try AtomicFile.write(
            document.serialized(.indented) + "\n", to: joinPath(folder, "model.safetensors.index.json"))
    }

    /// The files beside the weights and `config.json` that belong to the model: tokenizer, template, generation settings,
    /// licences. No card, and no code.
    package func companionFiles() throws(Diagnostic) -> [(name: String, bytes: [UInt8])] {
        let endings = [".json", ".jinja", ".model", ".txt", ".tiktoken"]
        let notices = ["LICENSE", "LICENCE", "NOTICE", "COPYING", "USE_POLICY"]
        var files: [(name: String, bytes: [UInt8])] = []
        for name in try listFolder(path).sorted() {
            let belongs =
                endings.contains { name.hasSuffix($0) } || notices.contains { name.uppercased().hasPrefix($0) }
            let path = joinPath(path, name)
            guard belongs, name != "config.json", !name.hasSuffix(".index.json"), !name.hasPrefix("adapter_"),
                !isFolder(path)
            else { continue }
            files.append((name, try readBytes(path)))
        }
        return files
    }

    private static func fiveDigits(_ number: Int) -> String {
        let text = String(number)
        return String(repeating: "0", count: max(0, 5 - text.count)) + text
    }
}
