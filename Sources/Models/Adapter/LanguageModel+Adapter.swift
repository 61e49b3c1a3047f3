package import Autograd
package import Diagnostics
package import Formats
import NN

extension LanguageModel {
    /// The paths of the layers that an adapter can have, all linear layers but that of the scores.
    package var adaptablePaths: [String] { linearSites.map(\.path) }

    /// Attaches a new adapter as PEFT initialises it: A uniform in ±1/sqrt(in) (Kaiming with a = sqrt 5), B zero.
    ///
    /// What `modules_to_save` names is trained in full, and with a classifier always the classifier.
    /// - Parameter seed: of the drawing; each module draws from a stream of its own.
    /// - Throws: `targets` if a target matches no layer, `unsupported` for an option that is not; the model is then
    ///   unchanged.
    package func attachNewAdapter(
        _ config: PEFTConfig, seed: UInt64, in workspace: Workspace
    ) throws(Diagnostic) -> AttachedAdapter {
        try config.checkSupported()
        var config = config
        state(&config)
        let rules = try PEFTRules(config)
        try checkHead(config, rules)
        let layers = try targetedLayers(rules, config)
        let sites = layers + parameterSites(config.targetParameters ?? [])
        try checkTargets(config, chosen: sites)
        let saved = try savedParameters(config)
        var modules: [(path: String, adapter: LowRankAdapter)] = []
        for (ordinal, site) in sites.enumerated() {
            let rank = try rules.rank(ofModule: site.name) * site.experts
            let random = CounterRandom(seed: seed, .adapterInitialization, index: UInt64(ordinal))
            let bound = 1 / Float(site.inputs).squareRoot()
            let a = (0..<rank * site.inputs).map { bound * (2 * Float(random.uniform(at: UInt64($0))) - 1) }
            modules.append(
                (
                    site.path,
                    LowRankAdapter(
                        a: Parameter(Tensor(Shape(rank, site.inputs), a, in: workspace), isTrainable: true),
                        b: Parameter(Tensor(zeros: Shape(site.outputs, rank), in: workspace), isTrainable: true),
                        scale: Float(try rules.scaling(ofModule: site.name)), dropout: Float(config.dropout),
                        ordinal: ordinal)
                ))
        }
        for (site, (_, adapter)) in zip(sites, modules) { site.set(adapter) }
        for (_, parameter) in saved { parameter.substitute(parameter.decoded(in: workspace), isTrainable: true) }
        // For PEFT: whether the base's weights are [in, out]. Its factors are the same either way.
        config.fanInFanOut = spec.names.storesTransposed
        if config.targetModules == .allLinear, spec.mixture != nil {
            config.targetModules = .names(Self.lastParts(of: layers))
        }
        return AttachedAdapter(config: config, modules: modules, saved: saved)
    }

    /// Attaches an adapter that was read from a folder.
    ///
    /// - Throws: `adapter` if one of its modules is not in this model or has another shape, or if its configuration
    ///   names a layer that it has no factors for; the model is then unchanged.
    package func attach(
        _ saved: PEFTAdapter, trainable: Bool, in workspace: Workspace
    ) throws(Diagnostic) -> AttachedAdapter {
        try saved.config.checkSupported()
        let rules = try PEFTRules(saved.config)
        let sites = linearSites + parameterSites(saved.config.targetParameters ?? [])
        var modules: [(path: String, adapter: LowRankAdapter)] = []
        var chosen: [AdapterSite] = []
        for module in saved.modules {
            guard let site = sites.first(where: { $0.path == module.path && $0.accepts(module.kind) }) else {
                throw mismatch(
                    saved, at: "module \"\(module.path)\"", found: "a module that the base does not have",
                    expected: "the base that the adapter was trained on")
            }
            let (a, b) = (module.a.shape, module.b.shape)
            let rank = try rules.rank(ofModule: site.name) * site.experts
            guard a == [rank, site.inputs], b == [site.outputs, rank] else {
                throw mismatch(
                    saved, at: "module \"\(module.path)\"", found: "A \(a) and B \(b)",
                    expected: "[\(rank), \(site.inputs)] and [\(site.outputs), \(rank)]")
            }
            let adapter = LowRankAdapter(
                a: Parameter(
                    Tensor(Shape(a[0], a[1]), try module.a.floats(), in: workspace), isTrainable: trainable),
                b: Parameter(
                    Tensor(Shape(b[0], b[1]), try module.b.floats(), in: workspace), isTrainable: trainable),
                scale: Float(try rules.scaling(ofModule: site.name)), dropout: Float(saved.config.dropout),
                ordinal: modules.count)
            modules.append((module.path, adapter))
            chosen.append(site)
        }
        let targeted = try targetedLayers(rules, saved.config) + sites.filter(\.isParameter)
        if let site = targeted.first(where: { saved.module($0.path) == nil }) {
            throw mismatch(
                saved, at: "module \"\(site.path)\"",
                found: "no factors for a module that the configuration targets", expected: "lora_A and lora_B for each")
        }
        guard !modules.isEmpty else {
            throw mismatch(saved, at: nil, found: "no module", expected: "at least one adapted layer")
        }
        let full = try fullValues(saved, in: workspace)
        for (site, (_, adapter)) in zip(chosen, modules) { site.set(adapter) }
        for (_, parameter, value) in full { parameter.substitute(value, isTrainable: trainable) }
        return AttachedAdapter(config: saved.config, modules: modules, saved: full.map { ($0.path, $0.parameter) })
    }

    /// The base alone again.
    package func detachAdapter() {
        for site in allSites { site.set(nil) }
        for (_, parameter) in allParameters() { parameter.restore() }
    }

    /// Takes the adapter off, runs `body`, and puts it back.
    package func withoutAdapter<Result>(_ body: () throws(Diagnostic) -> Result) throws(Diagnostic) -> Result {
        let sites = allSites
        let adapters = sites.map(\.adapter)
        let substitutes = allParameters().compactMap { path, parameter in
            parameter.substitute.map { (parameter, $0, parameter.isTrainable) }
        }
        detachAdapter()
        defer {
            for (site, adapter) in zip(sites, adapters) { site.set(adapter) }
            for (parameter, value, isTrainable) in substitutes {
                parameter.substitute(value, isTrainable: isTrainable)
            }
        }
        return try body()
    }

    /// PEFT's all-linear leaves the head out; named by itself it would need gradients that the loss lacks.
    private func checkHead(_ config: PEFTConfig, _ rules: PEFTRules) throws(Diagnostic) {
        guard config.targetModules != .allLinear, try rules.targets(module: spec.names.head) else { return }
        throw Diagnostic(
            ModelsCode.targets, at: "target_modules", found: "the output head \(spec.names.head)",
            expected: "layers inside the blocks")
    }

    private static func lastParts(of sites: [AdapterSite]) -> [String] {
        Set(sites.compactMap { $0.path.split(separator: ".").last.map(String.init) }).sorted()
    }

    private func checkTargets(_ config: PEFTConfig, chosen: [AdapterSite]) throws(Diagnostic) {
        if let target = config.targetParameters?.first(where: { parameterSites([$0]).isEmpty }) {
            throw Diagnostic(
                ModelsCode.targets, at: "target_parameters", found: "\(target) matches no parameter of the model",
                expected: "parameters of experts, such as experts.gate_up_proj")
        }
        let names = Self.lastParts(of: linearSites)
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

    func mismatch(_ saved: PEFTAdapter, at place: String?, found: String, expected: String) -> Diagnostic {
        Diagnostic(
            ModelsCode.adapter, file: saved.path, at: place, found: found, expected: expected,
            fix: "Use the base model that adapter_config.json names")
    }
}

extension AdapterSite {
    fileprivate func accepts(_ kind: PEFTAdapter.Kind) -> Bool {
        switch kind {
        case .linear: !isParameter
        case .parameter: isParameter
        case .embedding: false
        }
    }
}

extension PEFTConfig {
    /// Refuses by name what this version does not compute.
    fileprivate func checkSupported() throws(Diagnostic) {
        let hasParameters = targetParameters?.isEmpty == false
        let options: [(String, Bool)] = [
            ("use_dora", useDoRA), ("lora_bias", loraBias),
            ("bias", bias != .none), ("trainable_token_indices", trainableTokenIndices != nil),
            ("lora_dropout with target_parameters", hasParameters && dropout > 0),
        ]
        if let (name, _) = options.first(where: { $0.1 }) {
            throw Diagnostic(
                ModelsCode.unsupported, at: name, found: "an option that this version does not support",
                expected: "plain LoRA or rsLoRA on linear layers and on experts")
        }
        if case .named(let name) = initialization, !inferenceMode {
            throw Diagnostic(
                ModelsCode.unsupported, at: "init_lora_weights", found: "\"\(name)\"", expected: "true")
        }
    }
}
