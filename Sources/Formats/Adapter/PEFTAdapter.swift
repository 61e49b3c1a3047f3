package import Diagnostics
import StrictJSON

/// A LoRA adapter in the layout of PEFT: a folder with `adapter_config.json` and `adapter_model.safetensors`, in which
/// configuration and tensors were found to fit each other.
package struct PEFTAdapter: Sendable {
    package let path: String
    package let config: PEFTConfig
    /// All tensors under the names of the file (`base_model.model.….lora_A.weight`).
    package let tensors: WeightSource
    /// The modules with LoRA, in bytewise order of their paths.
    package let modules: [Module]
    /// Parameters that are saved in full, by their names in the base model: `modules_to_save`, biases, and rows for single
    /// tokens.
    package let fullTensors: [FullTensor]

    /// The low-rank pair of one module.
    package struct Module: Sendable {
        /// In the base model: `model.layers.0.self_attn.q_proj`.
        package let path: String
        package let kind: Kind
        /// [rank, in]; of an embedding [rank, vocabulary].
        package let a: WeightTensor
        /// [out, rank].
        package let b: WeightTensor
        /// Of B, [out]; multiplied by the scaling as well.
        package let bias: WeightTensor?
        /// DoRA's magnitudes, [out].
        package let magnitude: WeightTensor?
        /// With `kind` `parameter` the rank of one expert.
        package let rank: Int
        package let alpha: Double
        /// What B·A is multiplied by.
        package let scaling: Double
    }

    package enum Kind: Sendable, Hashable {
        case linear, embedding
        /// `target_parameters`: A and B hold the pairs of all experts.
        case parameter
    }

    /// A parameter of the base that the adapter replaces.
    package struct FullTensor: Sendable {
        /// In the base model: `lm_head.weight`.
        package let name: String
        package let tensor: WeightTensor
        /// Whether it is a copy of the base that was only saved along (`base_layer`, except for trained biases).
        package let isCopyOfBase: Bool
    }

    /// Ends the name of a full tensor that holds rows for single tokens, after the path of its module.
    package static let tokenRowsEnding = ".trainable_tokens_delta"
    package static let configName = "adapter_config.json"
    package static let weightsName = "adapter_model.safetensors"

    /// Reads the folder at `path`; every tensor must find its place, and every value must be finite.
    ///
    /// - Throws: `adapterPickle` if there are only pickled weights, `adapterConfig`, `adapterKey`, `adapterPattern`,
    ///   `adapterTensors` with the tensor, and what reading safetensors throws.
    package init(_ path: String) throws(Diagnostic) {
        guard isFolder(path) else {
            throw Diagnostic(
                FormatsCode.fileMissing, file: path, found: "no such folder", expected: "an adapter folder",
                fix: "Check the path")
        }
        let weights = joinPath(path, Self.weightsName)
        if !exists(weights), exists(joinPath(path, "adapter_model.bin")) {
            throw Diagnostic(
                FormatsCode.adapterPickle, file: path,
                found: "only adapter_model.bin, a pickle, which can run code when it is opened",
                expected: Self.weightsName, fix: "Save the adapter again with PEFT's safe_serialization")
        }
        try self.init(
            config: PEFTConfig(contentsOf: joinPath(path, Self.configName)), tensors: SafetensorsFile(weights).source,
            path: path)
    }

    /// Checks a configuration and tensors that are in memory or from elsewhere.
    package init(config: PEFTConfig, tensors: WeightSource, path: String) throws(Diagnostic) {
        do {
            let sorter = try AdapterSorter(config: config, tensors: tensors)
            (modules, fullTensors) = (sorter.modules, sorter.fullTensors)
        } catch { throw error.inFile(path) }
        (self.config, self.tensors, self.path) = (config, tensors, path)
    }

    package func module(_ path: String) -> Module? { modules.first { sameBytes($0.path, path) } }
}

extension PEFTAdapter {
    /// Writes an adapter folder that appears whole or not at all.
    ///
    /// - Parameters:
    ///   - tensors: under the names of the file.
    ///   - others: more files of the folder, by name: the card, the tokenizer.
    ///   - replacing: whether a folder of that name is exchanged for the new one.
    /// - Throws: `fileCreate` if the name is taken, `fileWrite`, and what writing safetensors throws; a folder that had
    ///   the name is then unchanged.
    package static func write(
        config: PEFTConfig, tensors: [OutgoingTensor], others: [(name: String, bytes: [UInt8])] = [], to path: String,
        replacing: Bool = false
    ) throws(Diagnostic) {
        let folder = try StagedFolder(path)
        try write(config: config, tensors: tensors, in: folder.temporary)
        for (name, bytes) in others {
            var file = try AtomicFile(folder.filePath(name))
            try file.append(bytes)
            try file.publish()
        }
        try folder.publish(replacing: replacing)
    }

    /// Writes the two files of an adapter into a folder that is there.
    package static func write(
        config: PEFTConfig, tensors: [OutgoingTensor], in folder: String
    ) throws(Diagnostic) {
        try SafetensorsFile.write(tensors, to: joinPath(folder, weightsName))
        try AtomicFile.write(config.serialized, to: joinPath(folder, configName))
    }
}
