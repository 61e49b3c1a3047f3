import Autograd
import Diagnostics
import Formats
import NN

/// A place in a model that can have an adapter: a linear layer, the embedding, or a parameter that PEFT adapts by its
/// name.
struct AdapterSite {
    /// Under which PEFT keeps the factors. Where several parameters of a module are adapted, all but the last stand
    /// behind a `base_layer` each, as PEFT wraps the module once for each of them.
    let path: String
    /// By which a configuration names it.
    let name: String
    let kind: PEFTAdapter.Kind
    /// The rows of B and the columns of A; of an embedding its width and its vocabulary.
    let outputs: Int
    let inputs: Int
    /// Stacked weights that share the factors' file; 1 for a layer.
    let experts: Int
    private let owner: Owner

    private enum Owner {
        case linear(Linear)
        case parameter(any ParameterOwner, String)
        case embedding(Backbone)
    }

    init(path: String, _ linear: Linear) {
        (self.path, name, kind) = (path, path, .linear)
        (outputs, inputs, experts) = (linear.weight.shape[0], linear.weight.shape[1], 1)
        owner = .linear(linear)
    }

    init(path: String, embeddingOf backbone: Backbone) {
        (self.path, name, kind) = (path, path, .embedding)
        (outputs, inputs, experts) = (backbone.embedding.shape[1], backbone.embedding.shape[0], 1)
        owner = .embedding(backbone)
    }

    init(path: String, name: String, _ parameter: AdaptableParameter, of owner: any ParameterOwner) {
        (self.path, self.name, kind) = (path, name, .parameter)
        (outputs, inputs, experts) = (parameter.outputs, parameter.inputs, parameter.experts)
        self.owner = .parameter(owner, parameter.name)
    }

    /// The parameters of a site that PEFT adapts by its name: which rows of B and whose factors change them.
    var parameterParts: [(path: String, rows: Range<Int>, expert: Int)] {
        guard case .parameter(let owner, let parameter) = owner else { return [] }
        let module = name.dropLast(parameter.count)
        return owner.parts(ofParameter: parameter).map { (module + $0.name, $0.rows, $0.expert) }
    }

    /// The layer, where the site is one.
    var linear: Linear? { if case .linear(let linear) = owner { linear } else { nil } }

    func set(_ adapter: LowRankAdapter?) {
        switch owner {
        case .linear(let linear): linear.adapter = adapter
        case .parameter(let owner, let name): owner.setAdapter(adapter, ofParameter: name)
        case .embedding(let backbone): backbone.embeddingAdapter = adapter
        }
    }

    var adapter: LowRankAdapter? {
        switch owner {
        case .linear(let linear): linear.adapter
        case .parameter(let owner, let name): owner.adapter(ofParameter: name)
        case .embedding(let backbone): backbone.embeddingAdapter
        }
    }
}

extension LanguageModel {
    /// The linear layers but that of the scores, in the order of the model.
    var linearSites: [AdapterSite] {
        descendants(ofType: Linear.self).filter { $0.path != spec.names.head }.map {
            AdapterSite(path: $0.path, $0.module)
        }
    }

    /// What PEFT's `all-linear` leaves out, but a configuration can name: the embedding and a decoder's head.
    var vocabularySites: [AdapterSite] {
        var sites = [AdapterSite(path: spec.names.inBody(spec.names.embedding), embeddingOf: backbone)]
        if let decoder = self as? Decoder { sites.append(AdapterSite(path: spec.names.head, decoder.head)) }
        return sites
    }

    /// The parameters that `targets` name by their whole path or its last parts, in the order of the model.
    func parameterSites(_ targets: [String]) -> [AdapterSite] {
        descendants(ofType: (any ParameterOwner).self).flatMap { path, owner in
            let chosen = owner.adaptableParameters.filter { parameter in
                targets.contains {
                    "\(path).\(parameter.name)" == $0 || "\(path).\(parameter.name)".hasSuffix("." + $0)
                }
            }
            return chosen.enumerated().map { index, parameter in
                let wrappers = String(repeating: ".base_layer", count: chosen.count - 1 - index)
                return AdapterSite(
                    path: path + wrappers, name: "\(path).\(parameter.name)", parameter, of: owner)
            }
        }
    }

    /// Every site there is, adapted or not.
    var allSites: [AdapterSite] {
        linearSites + vocabularySites
            + descendants(ofType: (any ParameterOwner).self).flatMap { path, owner in
                owner.adaptableParameters.map { AdapterSite(path: path, name: path, $0, of: owner) }
            }
    }

    /// What a configuration's `target_modules` name, in the order of the model, the embedding and the head last.
    ///
    /// All linear layers of a mixture of experts are those of its attention: PEFT takes the names of its feed-forward
    /// layers for the experts' stacked weights.
    func targetedLayers(_ rules: PEFTRules, _ config: PEFTConfig) throws(Diagnostic) -> [AdapterSite] {
        var chosen: [AdapterSite] = []
        let takesAll = config.targetModules == .allLinear
        for site in takesAll ? linearSites : linearSites + vocabularySites
        where try rules.targets(module: site.path) {
            let isFeedForward = site.path.split(separator: ".").contains(Substring(spec.names.feedForward))
            if takesAll, spec.mixture != nil, isFeedForward { continue }
            chosen.append(site)
        }
        return chosen
    }
}
