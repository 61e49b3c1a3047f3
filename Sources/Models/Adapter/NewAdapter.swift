package import Autograd
package import Diagnostics
package import Formats
import NN

extension LanguageModel {
    /// The paths of the layers that an adapter can have, all linear layers but that of the scores.
    package var adaptablePaths: [String] { linearSites.map(\.path) }

    /// Attaches a new adapter as PEFT initialises it: A uniform in ±1/sqrt(in) (Kaiming with a = sqrt 5) and B zero, of an
    /// embedding A zero and B normal, or as `init_lora_weights` says; magnitudes are the lengths of the weights' rows.
    ///
    /// What `modules_to_save` names is trained in full, and with a classifier always the classifier.
    /// - Parameter seed: of the drawing; each module draws from a stream of its own.
    /// - Throws: `targets` if a target matches no layer, `unsupported` for an option that is not; the model is then
    ///   unchanged.
    package func attachNewAdapter(
        _ config: PEFTConfig, seed: UInt64, in workspace: Workspace
    ) throws(Diagnostic) -> AttachedAdapter {
        var config = config
        state(&config)
        let rules = try PEFTRules(config)
        let layers = try targetedLayers(rules, config)
        let sites = layers + parameterSites(config.targetParameters ?? [])
        try checkTargets(config, chosen: sites)
        try checkSupported(config, sites)
        let saved = try savedParameters(config) + trainedBiases(config, sites)
        let selection = try tokenSelection(config)
        let drawing = AdapterDrawing(config: config, rules: rules, seed: seed, workspace: workspace)
        let modules = try drawing.modules(sites)
        for (site, module) in zip(sites, modules) { site.set(module.adapter) }
        for (_, parameter) in saved { parameter.substitute(parameter.decoded(in: workspace), isTrainable: true) }
        let tokens = selection.map { path, ids in
            (path: path, rows: TokenRows(ids: ids, values: tokenRows(of: path, ids, in: workspace)))
        }
        setTokenRows(tokens)
        // For PEFT: whether the base's weights are [in, out]. Its factors are the same either way.
        config.fanInFanOut = spec.names.storesTransposed
        if config.targetModules == .allLinear, spec.mixture != nil {
            config.targetModules = .names(Self.lastParts(of: layers))
        }
        return AttachedAdapter(config: config, modules: modules, saved: saved, tokens: tokens)
    }

    /// A trainable copy of rows of the embedding or of the head.
    private func tokenRows(of path: String, _ ids: [Int], in workspace: Workspace) -> Parameter {
        let table = path == spec.names.head ? (self as? Decoder)?.head.weight : nil
        let source = table ?? backbone.embedding
        let width = source.shape[1]
        let values = Tensor(Shape(ids.count, width), in: workspace) { values in
            for (index, id) in ids.enumerated() { source.decode(rows: id..<id + 1, to: values + index * width) }
        }
        return Parameter(values, isTrainable: true)
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
            let paths = (linearSites + vocabularySites).map(\.path)
            unmatched = targets.first { target in !paths.contains { $0 == target || $0.hasSuffix("." + target) } }
        }
        let isNothing = chosen.isEmpty && config.trainableTokenIndices == nil
        guard let found = unmatched ?? (isNothing ? "the selection" : nil) else { return }
        throw Diagnostic(
            ModelsCode.targets, at: "target_modules", found: "\(found) matches no layer of the model",
            expected: "all-linear or some of " + names.joined(separator: ", "),
            fix: nearest(to: found, among: names).map { "Did you mean \($0)?" })
    }
}

/// The first values of a new adapter.
private struct AdapterDrawing {
    let config: PEFTConfig
    let rules: PEFTRules
    let seed: UInt64
    let workspace: Workspace

    func modules(_ sites: [AdapterSite]) throws(Diagnostic) -> [AttachedAdapter.Module] {
        let method = try config.principalMethod(seed: seed)
        var starts: [PrincipalStart]?
        if let method {
            var wanted: [(site: AdapterSite, rank: Int, scale: Double)] = []
            for site in sites {
                wanted.append(
                    (site, try rules.rank(ofModule: site.name), try rules.scaling(ofModule: site.name)))
            }
            starts = try PrincipalStart.factors(for: wanted, method: method, in: workspace)
        }
        var modules: [AttachedAdapter.Module] = []
        for (ordinal, site) in sites.enumerated() {
            let rank = try rules.rank(ofModule: site.name) * site.experts
            let start = starts?[ordinal]
            let (a, b) = start.map { ($0.a, $0.b) } ?? drawn(site, rank: rank, ordinal: ordinal)
            var (bias, magnitude): (Parameter?, Parameter?)
            if config.loraBias {
                bias = Parameter(Tensor(zeros: Shape(site.outputs), in: workspace), isTrainable: true)
            }
            if config.useDoRA, let weight = site.linear?.weight {
                magnitude = Parameter(rowLengths(of: weight, plus: [], in: workspace), isTrainable: true)
            }
            modules.append(
                .init(
                    path: site.path, kind: site.kind,
                    adapter: LowRankAdapter(
                        a: Parameter(a, isTrainable: true), b: Parameter(b, isTrainable: true),
                        scale: Float(try rules.scaling(ofModule: site.name)), dropout: Float(config.dropout),
                        bias: bias, magnitude: magnitude, start: start.map { (Parameter($0.a), Parameter($0.b)) },
                        ordinal: ordinal)))
        }
        return modules
    }

    private func drawn(_ site: AdapterSite, rank: Int, ordinal: Int) -> (a: Tensor, b: Tensor) {
        let random = CounterRandom(seed: seed, .adapterInitialization, index: UInt64(ordinal))
        func uniform(_ rows: Int, _ columns: Int, bound: Float, from first: Int = 0) -> Tensor {
            let values = (first..<first + rows * columns).map {
                bound * (2 * Float(random.uniform(at: UInt64($0))) - 1)
            }
            return Tensor(Shape(rows, columns), values, in: workspace)
        }
        func normal(_ rows: Int, _ columns: Int, deviation: Double) -> Tensor {
            let values = (0..<rows * columns).map { Float(deviation * random.normal(at: UInt64($0))) }
            return Tensor(Shape(rows, columns), values, in: workspace)
        }
        func zeros(_ rows: Int, _ columns: Int) -> Tensor { Tensor(zeros: Shape(rows, columns), in: workspace) }
        let (outputs, inputs) = (site.outputs, site.inputs)
        if site.kind == .embedding { return (zeros(rank, inputs), normal(outputs, rank, deviation: 1)) }
        let bound = 1 / Float(inputs).squareRoot()
        switch config.initialization {
        case .standard: return (uniform(rank, inputs, bound: bound), zeros(outputs, rank))
        case .random:
            let b = uniform(outputs, rank, bound: 1 / Float(rank).squareRoot(), from: rank * inputs)
            return (uniform(rank, inputs, bound: bound), b)
        // The only other one that has no start.
        case .named: return (normal(rank, inputs, deviation: 1 / Double(rank)), zeros(outputs, rank))
        }
    }
}
