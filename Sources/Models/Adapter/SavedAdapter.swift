package import Autograd
package import Diagnostics
package import Formats
import NN

extension LanguageModel {
    /// Attaches an adapter that was read from a folder.
    ///
    /// - Throws: `adapter` if one of its modules is not in this model or has another shape, or if its configuration
    ///   names a layer that it has no factors for, `unsupported` for an option that is not; the model is then unchanged.
    package func attach(
        _ saved: PEFTAdapter, trainable: Bool, in workspace: Workspace
    ) throws(Diagnostic) -> AttachedAdapter {
        let rules = try PEFTRules(saved.config)
        let chosen = try sites(of: saved, rules)
        let targeted =
            try targetedLayers(rules, saved.config) + parameterSites(saved.config.targetParameters ?? [])
        if let site = targeted.first(where: { saved.module($0.path) == nil }) {
            throw mismatch(
                saved, at: "module \"\(site.path)\"",
                found: "no factors for a module that the configuration targets", expected: "lora_A and lora_B for each")
        }
        try checkSupported(saved.config, chosen)
        let selection = try tokenSelection(saved.config)
        guard !chosen.isEmpty || !selection.isEmpty else {
            throw mismatch(saved, at: nil, found: "no module", expected: "at least one adapted layer")
        }
        let reading = AdapterReading(saved: saved, rules: rules, isTrainable: trainable, workspace: workspace)
        let modules = try reading.modules(chosen)
        let tokens = try reading.tokens(selection, width: backbone.embedding.shape[1], model: self)
        let full = try fullValues(saved, chosen, tokens: tokens.map(\.path), in: workspace)
        for (site, module) in zip(chosen, modules) { site.set(module.adapter) }
        for (_, parameter, value) in full { parameter.substitute(value, isTrainable: trainable) }
        setTokenRows(tokens)
        return AttachedAdapter(
            config: saved.config, modules: modules, saved: full.map { ($0.path, $0.parameter) }, tokens: tokens)
    }

    /// The place of each module of `saved`.
    private func sites(of saved: PEFTAdapter, _ rules: PEFTRules) throws(Diagnostic) -> [AdapterSite] {
        let all = linearSites + vocabularySites + parameterSites(saved.config.targetParameters ?? [])
        var chosen: [AdapterSite] = []
        for module in saved.modules {
            guard let site = all.first(where: { $0.path == module.path && $0.kind == module.kind }) else {
                throw mismatch(
                    saved, at: "module \"\(module.path)\"", found: "a module that the base does not have",
                    expected: "the base that the adapter was trained on")
            }
            let rank = try rules.rank(ofModule: site.name) * site.experts
            let (a, b) = (module.a.shape, module.b.shape)
            guard a == [rank, site.inputs], b == [site.outputs, rank] else {
                throw mismatch(
                    saved, at: "module \"\(module.path)\"", found: "A \(a) and B \(b)",
                    expected: "[\(rank), \(site.inputs)] and [\(site.outputs), \(rank)]")
            }
            chosen.append(site)
        }
        return chosen
    }

    /// The base alone again.
    package func detachAdapter() {
        for site in allSites { site.set(nil) }
        for (_, parameter) in allParameters() { parameter.restore() }
        setTokenRows([])
    }

    /// Takes the adapter off, runs `body`, and puts it back.
    package func withoutAdapter<Result>(_ body: () throws(Diagnostic) -> Result) throws(Diagnostic) -> Result {
        let sites = allSites
        let adapters = sites.map(\.adapter)
        let substitutes = allParameters().compactMap { path, parameter in
            parameter.substitute.map { (parameter, $0, parameter.isTrainable) }
        }
        let (embeddingRows, headRows) = (backbone.tokenRows, (self as? Decoder)?.headRows)
        detachAdapter()
        defer {
            for (site, adapter) in zip(sites, adapters) { site.set(adapter) }
            for (parameter, value, isTrainable) in substitutes {
                parameter.substitute(value, isTrainable: isTrainable)
            }
            backbone.tokenRows = embeddingRows
            (self as? Decoder)?.headRows = headRows
        }
        return try body()
    }

    func mismatch(_ saved: PEFTAdapter, at place: String?, found: String, expected: String) -> Diagnostic {
        Diagnostic(
            ModelsCode.adapter, file: saved.path, at: place, found: found, expected: expected,
            fix: "Use the base model that adapter_config.json names")
    }

    /// Refuses by name what is not computed, alone or together.
    func checkSupported(_ config: PEFTConfig, _ sites: [AdapterSite]) throws(Diagnostic) {
        let hasParameters = sites.contains { $0.kind == .parameter }
        let hasEmbedding = sites.contains { $0.kind == .embedding }
        let hasHead = sites.contains { $0.path == spec.names.head }
        let isPrincipal = try config.principalMethod(seed: 0).map { _ in true } ?? false
        let onVocabulary = hasHead || hasEmbedding
        let savesEmbedding = PEFTRules.saves(spec.names.inBody(spec.names.embedding) + ".weight", config)
        let combinations: [(String, Bool)] = [
            ("lora_dropout with target_parameters", hasParameters && config.dropout > 0),
            ("lora_dropout with an adapted embedding or head", onVocabulary && config.dropout > 0),
            (
                "use_dora with target_parameters, an adapted embedding or head",
                config.useDoRA && (hasParameters || onVocabulary)
            ),
            (
                "lora_bias with target_parameters, an adapted embedding or head",
                config.loraBias && (hasParameters || onVocabulary)
            ),
            ("use_dora with lora_bias", config.useDoRA && config.loraBias),
            ("PiSSA with use_dora", isPrincipal && config.useDoRA),
            (
                "PiSSA with target_parameters, an adapted embedding or head",
                isPrincipal && (hasParameters || onVocabulary)
            ),
            (
                "trainable_token_indices with an embedding that is adapted or trained in full",
                config.trainableTokenIndices != nil && (hasEmbedding || savesEmbedding)
            ),
        ]
        guard let (name, _) = combinations.first(where: { $0.1 }) else { return }
        throw Diagnostic(
            ModelsCode.unsupported, at: "adapter_config.json", found: name, expected: "one of them",
            fix: "Leave one of the options out")
    }
}

/// The values of an adapter that was read from a folder.
private struct AdapterReading {
    let saved: PEFTAdapter
    let rules: PEFTRules
    let isTrainable: Bool
    let workspace: Workspace

    func modules(_ sites: [AdapterSite]) throws(Diagnostic) -> [AttachedAdapter.Module] {
        var starts: [PrincipalStart]?
        if case .named(let name) = saved.config.initialization, name.hasPrefix("pissa") {
            // The weights that A and B were trained against begin at the principal part, which is computed again.
            guard let method = try saved.config.principalMethod(seed: nil) else { return [] }
            starts = try PrincipalStart.factors(
                for: zip(sites, saved.modules).map { ($0, $1.rank, $1.scaling) }, method: method, in: workspace)
        }
        var modules: [AttachedAdapter.Module] = []
        for (ordinal, (site, module)) in zip(sites, saved.modules).enumerated() {
            let start = starts?[ordinal]
            modules.append(
                .init(
                    path: module.path, kind: module.kind,
                    adapter: LowRankAdapter(
                        a: try matrix(module.a), b: try matrix(module.b),
                        scale: Float(try rules.scaling(ofModule: site.name)), dropout: Float(saved.config.dropout),
                        bias: try vector(module.bias), magnitude: try vector(module.magnitude),
                        start: start.map { (Parameter($0.a), Parameter($0.b)) }, ordinal: ordinal)))
        }
        return modules
    }

    func tokens(
        _ selection: [(path: String, ids: [Int])], width: Int, model: some LanguageModel
    ) throws(Diagnostic) -> [(path: String, rows: TokenRows)] {
        var tokens: [(path: String, rows: TokenRows)] = []
        for (path, ids) in selection {
            let name = path + PEFTAdapter.tokenRowsEnding
            let tensor = saved.fullTensors.first { $0.name == name }?.tensor
            guard let tensor, tensor.shape == [ids.count, width] else {
                throw model.mismatch(
                    saved, at: "module \"\(path)\"",
                    found: tensor.map { "rows of shape \($0.shape)" } ?? "no rows for tokens",
                    expected: "[\(ids.count), \(width)], a row for each of trainable_token_indices")
            }
            tokens.append((path, TokenRows(ids: ids, values: try matrix(tensor))))
        }
        return tokens
    }

    private func matrix(_ tensor: WeightTensor) throws(Diagnostic) -> Parameter {
        Parameter(
            Tensor(Shape(tensor.shape[0], tensor.shape[1]), try tensor.floats(), in: workspace),
            isTrainable: isTrainable)
    }

    private func vector(_ tensor: WeightTensor?) throws(Diagnostic) -> Parameter? {
        guard let tensor else { return nil }
        return Parameter(Tensor(Shape(tensor.count), try tensor.floats(), in: workspace), isTrainable: isTrainable)
    }
}
