package import Autograd
package import Diagnostics
package import Formats
package import NN

/// The adapter that is attached to a decoder: its configuration and its factors by module path.
package struct AttachedAdapter {
    package let config: PEFTConfig
    /// In the order of the model.
    package let modules: [(path: String, adapter: LowRankAdapter)]

    /// The trained parameters, A before B, in the order of the model.
    package var parameters: [Parameter] { modules.flatMap { [$0.adapter.a, $0.adapter.b] } }

    package var parameterCount: Int { parameters.reduce(0) { $0 + $1.shape.count } }

    /// The parameters under the names that PEFT gives them in a file.
    package var namedParameters: [(name: String, parameter: Parameter)] {
        modules.flatMap { path, adapter in
            [(Self.name(path, "lora_A"), adapter.a), (Self.name(path, "lora_B"), adapter.b)]
        }
    }

    /// The tensors of the adapter file, f32.
    package func tensors() -> [OutgoingTensor] {
        namedParameters.map { name, parameter in
            OutgoingTensor(
                name: name, shape: [parameter.shape[0], parameter.shape[1]], values: parameter.floats?.elements ?? [])
        }
    }

    private static func name(_ path: String, _ factor: String) -> String {
        "base_model.model.\(path).\(factor).weight"
    }
}

extension Decoder {
    /// The paths of the layers that an adapter can have, all linear layers but the head.
    package var adaptablePaths: [String] {
        descendants(ofType: Linear.self).map(\.path).filter { $0 != spec.names.head }
    }

    /// Attaches a new adapter as PEFT initialises it: A uniform in ±1/sqrt(in) (Kaiming with a = sqrt 5), B zero.
    ///
    /// - Parameter seed: of the drawing; each module draws from a stream of its own.
    /// - Throws: `targets` if a target matches no layer, `unsupported` for an option that is not; the model is then
    ///   unchanged.
    package func attachNewAdapter(
        _ config: PEFTConfig, seed: UInt64, in workspace: Workspace
    ) throws(Diagnostic) -> AttachedAdapter {
        try config.checkSupported()
        let rules = try PEFTRules(config)
        let linears = descendants(ofType: Linear.self)
        var chosen: [(path: String, linear: Linear)] = []
        for (path, linear) in linears where try rules.targets(module: path) {
            // PEFT's all-linear leaves the head out; named by itself it would need gradients that the loss lacks.
            if path == spec.names.head {
                if config.targetModules == .allLinear { continue }
                throw Diagnostic(
                    ModelsCode.targets, at: "target_modules", found: "the output head \(path)",
                    expected: "layers inside the blocks")
            }
            chosen.append((path, linear))
        }
        try checkTargets(config, chosen: chosen.map(\.path))
        var modules: [(path: String, adapter: LowRankAdapter)] = []
        for (ordinal, (path, linear)) in chosen.enumerated() {
            let rank = try rules.rank(ofModule: path)
            let (inputs, outputs) = (linear.weight.shape[1], linear.weight.shape[0])
            let random = CounterRandom(seed: seed, .adapterInitialization, index: UInt64(ordinal))
            let bound = 1 / Float(inputs).squareRoot()
            let a = (0..<rank * inputs).map { bound * (2 * Float(random.uniform(at: UInt64($0))) - 1) }
            modules.append(
                (
                    path,
                    LowRankAdapter(
                        a: Parameter(Tensor(Shape(rank, inputs), a, in: workspace), isTrainable: true),
                        b: Parameter(Tensor(zeros: Shape(outputs, rank), in: workspace), isTrainable: true),
                        scale: Float(try rules.scaling(ofModule: path)), dropout: Float(config.dropout),
                        ordinal: ordinal)
                ))
        }
        for ((_, linear), (_, adapter)) in zip(chosen, modules) { linear.adapter = adapter }
        var config = config
        // For PEFT: whether the base's weights are [in, out]. Its factors are the same either way.
        config.fanInFanOut = spec.names.storesTransposed
        return AttachedAdapter(config: config, modules: modules)
    }

    /// Attaches an adapter that was read from a folder.
    ///
    /// - Throws: `adapter` if one of its modules is not in this model or has another shape, or if its configuration
    ///   names a layer that it has no factors for; the model is then unchanged.
    package func attach(
        _ saved: PEFTAdapter, trainable: Bool, in workspace: Workspace
    ) throws(Diagnostic) -> AttachedAdapter {
        try saved.config.checkSupported()
        let linears = descendants(ofType: Linear.self)
        var modules: [(path: String, adapter: LowRankAdapter)] = []
        var layers: [Linear] = []
        for module in saved.modules {
            guard let linear = linears.first(where: { $0.path == module.path })?.module, module.kind == .linear else {
                throw mismatch(
                    saved, at: "module \"\(module.path)\"", found: "a module that the base does not have",
                    expected: "the base that the adapter was trained on")
            }
            let (a, b) = (module.a.shape, module.b.shape)
            let (outputs, inputs) = (linear.weight.shape[0], linear.weight.shape[1])
            guard a == [module.rank, inputs], b == [outputs, module.rank] else {
                throw mismatch(
                    saved, at: "module \"\(module.path)\"", found: "A \(a) and B \(b)",
                    expected: "[\(module.rank), \(inputs)] and [\(outputs), \(module.rank)]")
            }
            let adapter = LowRankAdapter(
                a: Parameter(
                    Tensor(Shape(a[0], a[1]), try module.a.floats(), in: workspace), isTrainable: trainable),
                b: Parameter(
                    Tensor(Shape(b[0], b[1]), try module.b.floats(), in: workspace), isTrainable: trainable),
                scale: Float(module.scaling), dropout: Float(saved.config.dropout), ordinal: modules.count)
            modules.append((module.path, adapter))
            layers.append(linear)
        }
        let rules = try PEFTRules(saved.config)
        for (path, _) in linears where path != spec.names.head {
            if try rules.targets(module: path), saved.module(path) == nil {
                throw mismatch(
                    saved, at: "module \"\(path)\"", found: "no factors for a module that the configuration targets",
                    expected: "lora_A and lora_B for each")
            }
        }
        guard !modules.isEmpty else {
            throw mismatch(saved, at: nil, found: "no module", expected: "at least one adapted layer")
        }
        for (linear, (_, adapter)) in zip(layers, modules) { linear.adapter = adapter }
        return AttachedAdapter(config: saved.config, modules: modules)
    }

    /// The base alone again.
    package func detachAdapter() {
        for (_, linear) in descendants(ofType: Linear.self) { linear.adapter = nil }
    }

    /// Takes the adapter off, runs `body`, and puts it back.
    package func withoutAdapter<Result>(_ body: () throws(Diagnostic) -> Result) throws(Diagnostic) -> Result {
        let linears = descendants(ofType: Linear.self).map(\.module)
        let adapters = linears.map(\.adapter)
        for linear in linears { linear.adapter = nil }
        defer { for (linear, adapter) in zip(linears, adapters) { linear.adapter = adapter } }
        return try body()
    }

    private func checkTargets(_ config: PEFTConfig, chosen: [String]) throws(Diagnostic) {
        let names = Set(adaptablePaths.compactMap { $0.split(separator: ".").last.map(String.init) }).sorted()
        var unmatched: String?
        if case .names(let targets) = config.targetModules {
            unmatched = targets.first { target in
                !adaptablePaths.contains { $0 == target || $0.hasSuffix("." + target) }
            }
        }
        guard let found = unmatched ?? (chosen.isEmpty ? "the selection" : nil) else { return }
        throw Diagnostic(
            ModelsCode.targets, at: "target_modules", found: "\(found) matches no layer of the model",
            expected: "all-linear or some of " + names.joined(separator: ", "),
            fix: nearest(to: found, among: names).map { "Did you mean \($0)?" })
    }

    private func mismatch(_ saved: PEFTAdapter, at place: String?, found: String, expected: String) -> Diagnostic {
        Diagnostic(
            ModelsCode.adapter, file: saved.path, at: place, found: found, expected: expected,
            fix: "Use the base model that adapter_config.json names")
    }
}

extension PEFTConfig {
    /// Refuses by name what this version does not compute.
    fileprivate func checkSupported() throws(Diagnostic) {
        let options: [(String, Bool)] = [
            ("use_dora", useDoRA), ("lora_bias", loraBias), ("modules_to_save", modulesToSave?.isEmpty == false),
            ("target_parameters", targetParameters?.isEmpty == false), ("bias", bias != .none),
            ("trainable_token_indices", trainableTokenIndices != nil),
        ]
        if let (name, _) = options.first(where: { $0.1 }) {
            throw Diagnostic(
                ModelsCode.unsupported, at: name, found: "an option that this version does not support",
                expected: "plain LoRA or rsLoRA on linear layers")
        }
        if case .named(let name) = initialization, !inferenceMode {
            throw Diagnostic(
                ModelsCode.unsupported, at: "init_lora_weights", found: "\"\(name)\"", expected: "true")
        }
    }
}
