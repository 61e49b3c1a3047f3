import Diagnostics
import StrictJSON

/// Puts each tensor of an adapter in its place, and refuses what has none or does not fit the configuration.
struct AdapterSorter {
    private(set) var modules: [PEFTAdapter.Module] = []
    private(set) var fullTensors: [PEFTAdapter.FullTensor] = []
    private let config: PEFTConfig
    private let rules: PEFTRules
    private var fullNames: Set<BytewiseString> = []
    private var parts: [BytewiseString: [AdapterTensorName.LoRAPart: WeightTensor]] = [:]

    init(config: PEFTConfig, tensors: WeightSource) throws(Diagnostic) {
        self.config = config
        rules = try PEFTRules(config)
        for tensor in tensors.tensors { try sort(tensor) }
        for path in parts.keys.sorted(by: { $0.text.utf8.lexicographicallyPrecedes($1.text.utf8) }) {
            modules.append(try module(path.text, parts[path] ?? [:]))
        }
        guard !modules.isEmpty || config.trainableTokenIndices != nil else {
            throw Diagnostic(
                FormatsCode.adapterTensors, found: "no lora_A and lora_B", expected: "at least one pair",
                fix: "Save the adapter again")
        }
        try checkTypes(tensors)
        try checkValues(tensors)
    }

    private mutating func sort(_ tensor: WeightTensor) throws(Diagnostic) {
        switch AdapterTensorName(tensor.name) {
        case nil:
            throw error(
                tensor, "a name that PEFT does not write",
                expected: "base_model.model.PATH.lora_A.weight and the like",
                fix: "Save the adapter with PEFT's save_pretrained")
        case .part(let module, let part):
            guard parts[BytewiseString(module), default: [:]].updateValue(tensor, forKey: part) == nil else {
                throw error(tensor, "the part of a module a second time", expected: "every part once")
            }
        case .baseLayer(let module, let parameter):
            try checkBaseLayer(tensor, module: module, parameter: parameter)
            let trained = parameter == "bias" && config.bias != .none
            try append(tensor, "\(module).\(parameter)", isCopy: !trained)
        case .full(let name):
            let isSaved = PEFTRules.saves(name, config)
            let isBias = config.bias == .all && endsInParts(name, "bias")
            guard isSaved || isBias else {
                throw error(
                    tensor, "a parameter that the configuration does not mention",
                    expected: "parameters of modules_to_save, or biases with bias \"all\"",
                    fix: "Use the configuration that was saved with these tensors")
            }
            try append(tensor, name, isCopy: false)
        case .tokens(let module):
            guard config.trainableTokenIndices != nil else {
                throw error(
                    tensor, "trained token rows", expected: "trainable_token_indices in the configuration")
            }
            try append(tensor, module + PEFTAdapter.tokenRowsEnding, isCopy: false)
        }
    }

    private mutating func append(_ tensor: WeightTensor, _ name: String, isCopy: Bool) throws(Diagnostic) {
        guard fullNames.insert(BytewiseString(name)).inserted else {
            throw error(tensor, "a parameter that the file holds twice", expected: "every parameter once")
        }
        fullTensors.append(PEFTAdapter.FullTensor(name: name, tensor: tensor, isCopyOfBase: isCopy))
    }

    private func checkBaseLayer(_ tensor: WeightTensor, module: String, parameter: String) throws(Diagnostic) {
        guard try rules.targets(module: module) else {
            throw error(
                tensor, "a base parameter of a module that target_modules does not name",
                expected: "parameters of adapted modules")
        }
        let rank = parameter == "weight" ? 2 : 1
        guard tensor.shape.count == rank else {
            throw error(tensor, "shape \(tensor.shape)", expected: "\(rank) dimensions")
        }
    }

    private func module(
        _ path: String, _ parts: [AdapterTensorName.LoRAPart: WeightTensor]
    ) throws(Diagnostic) -> PEFTAdapter.Module {
        let kind = try kind(of: path, parts)
        let isEmbedding = kind == .embedding
        let a = try pairMember(parts, isEmbedding ? .embeddingA : .a, path)
        let b = try pairMember(parts, isEmbedding ? .embeddingB : .b, path)
        let rank = try rules.rank(ofModule: path)
        try checkShapes(a, b, rank: rank, kind: kind)
        if isEmbedding || kind == .parameter, let bias = parts[.biasOfB] {
            throw error(bias, "a bias", expected: "none on \(isEmbedding ? "an embedding" : "a parameter")")
        }
        let bias = try vector(parts[.biasOfB], b, wanted: config.loraBias && kind == .linear, "lora_bias", path)
        let magnitude = try vector(parts[.magnitude], b, wanted: config.useDoRA, "use_dora", path)
        return PEFTAdapter.Module(
            path: path, kind: kind, a: a, b: b, bias: bias, magnitude: magnitude, rank: rank,
            alpha: try rules.alpha(ofModule: path), scaling: try rules.scaling(ofModule: path))
    }

    private func kind(
        of path: String, _ parts: [AdapterTensorName.LoRAPart: WeightTensor]
    ) throws(Diagnostic) -> PEFTAdapter.Kind {
        let embedding = parts[.embeddingA] ?? parts[.embeddingB]
        if let embedding, parts[.a] != nil || parts[.b] != nil {
            throw error(embedding, "both lora_embedding_A/B and lora_A/B for one module", expected: "one pair")
        }
        if isTargetParameter(path) { return .parameter }
        guard try rules.targets(module: path) else {
            // A parameter named without its module can belong to any.
            if (config.targetParameters ?? []).contains(where: { !$0.utf8.contains(UInt8(ascii: ".")) }) {
                return .parameter
            }
            throw Diagnostic(
                FormatsCode.adapterTensors, at: "module \"\(path)\"",
                found: "LoRA on a module that the configuration does not target", expected: describeTargets(),
                fix: "Use the configuration that was saved with these tensors")
        }
        return embedding == nil ? .linear : .embedding
    }

    /// PEFT wraps a module once for each of its parameters, so the outer wrappers are `base_layer`s of the inner.
    private func isTargetParameter(_ path: String) -> Bool {
        var module = Substring(path)
        while module.hasSuffix(".base_layer") { module = module.dropLast(".base_layer".count) }
        return (config.targetParameters ?? []).contains { parameter in
            let owner = parameter.utf8.lastIndex(of: UInt8(ascii: ".")).map { String(parameter[..<$0]) }
            guard let owner else { return false }
            return sameBytes(owner, String(module)) || endsInParts(String(module), owner)
        }
    }

    private func pairMember(
        _ parts: [AdapterTensorName.LoRAPart: WeightTensor], _ part: AdapterTensorName.LoRAPart, _ path: String
    ) throws(Diagnostic) -> WeightTensor {
        if let tensor = parts[part] { return tensor }
        throw Diagnostic(
            FormatsCode.adapterTensors, at: "module \"\(path)\"", found: "no \(part.rawValue.dropFirst())",
            expected: "both halves of the pair", fix: "Save the adapter again")
    }

    private func checkShapes(
        _ a: WeightTensor, _ b: WeightTensor, rank: Int, kind: PEFTAdapter.Kind
    ) throws(Diagnostic) {
        guard a.shape.count == 2, b.shape.count == 2 else {
            throw error(a.shape.count == 2 ? b : a, "another number of dimensions", expected: "a matrix")
        }
        guard a.count > 0, b.count > 0 else { throw error(a, "an empty matrix", expected: "values") }
        let (rows, columns) = (a.shape[0], b.shape[1])
        let fits = kind == .parameter ? rows % rank == 0 && rows == columns : rows == rank && columns == rank
        guard fits else {
            let (tensor, found) = rows == rank ? (b, b.shape) : (a, a.shape)
            throw error(
                tensor, "shape \(found)",
                expected: kind == .parameter
                    ? "A with a multiple of \(rank) rows and B with as many columns"
                    : "A with \(rank) rows and B with \(rank) columns, the rank of this module",
                fix: "Check r and rank_pattern")
        }
    }

    private func vector(
        _ tensor: WeightTensor?, _ b: WeightTensor, wanted: Bool, _ key: String, _ path: String
    ) throws(Diagnostic) -> WeightTensor? {
        switch (tensor, wanted) {
        case (nil, false): return nil
        case (let tensor?, true):
            guard tensor.count == b.shape[0] else {
                throw error(tensor, "shape \(tensor.shape)", expected: "[\(b.shape[0])], the rows of B")
            }
            return tensor
        case (let tensor?, false):
            throw error(tensor, "a tensor of \(key)", expected: "none, as \(key) is off", fix: "Check \(key)")
        case (nil, true):
            throw Diagnostic(
                FormatsCode.adapterTensors, at: "module \"\(path)\"", found: "no tensor of \(key)",
                expected: "one, as \(key) is on", fix: "Check \(key)")
        }
    }

    private func checkTypes(_ tensors: WeightSource) throws(Diagnostic) {
        let floating: Set<ElementType> = [.f64, .f32, .f16, .bf16]
        for tensor in tensors.tensors where !floating.contains(tensor.type) {
            throw error(tensor, "element type \(tensor.type.rawValue)", expected: "F32, F16, BF16 or F64")
        }
        guard let first = modules.first?.a else { return }
        for module in modules {
            for tensor in [module.a, module.b, module.bias, module.magnitude] {
                guard let tensor, tensor.type != first.type else { continue }
                throw error(
                    tensor, "element type \(tensor.type.rawValue)",
                    expected: "\(first.type.rawValue), as \"\(first.name)\" has", fix: "Save the adapter in one type")
            }
        }
    }

    private func checkValues(_ tensors: WeightSource) throws(Diagnostic) {
        for tensor in tensors.tensors {
            let count = try tensor.nonfiniteCount()
            guard count == 0 else {
                throw error(
                    tensor, "\(count) values that are NaN or infinite", expected: "finite values",
                    fix: "Train again with a lower learning rate")
            }
        }
    }

    private func describeTargets() -> String {
        switch config.targetModules {
        case .names(let names): "one of \(names.prefix(20).joined(separator: ", "))"
        case .regex(let pattern): "a path that matches \(pattern.prefix(80))"
        default: "a targeted module"
        }
    }

    private func error(_ tensor: WeightTensor, _ found: String, expected: String, fix: String? = nil) -> Diagnostic {
        Diagnostic(
            FormatsCode.adapterTensors, at: "tensor \"\(tensor.name)\"", found: found, expected: expected, fix: fix)
    }
}
