import Autograd
import Diagnostics
import Formats
import NN

/// A place in a model that can have an adapter: a linear layer, or a parameter that PEFT adapts by its name.
struct AdapterSite {
    /// Under which PEFT keeps the factors. Where several parameters of a module are adapted, all but the last stand
    /// behind a `base_layer` each, as PEFT wraps the module once for each of them.
    let path: String
    /// By which a configuration names it.
    let name: String
    let outputs: Int
    let inputs: Int
    /// Stacked weights that share the factors' file; 1 for a layer.
    let experts: Int
    private let owner: Owner

    private enum Owner {
        case linear(Linear)
        case parameter(any ParameterOwner, String)
    }

    init(path: String, _ linear: Linear) {
        (self.path, name) = (path, path)
        (outputs, inputs, experts) = (linear.weight.shape[0], linear.weight.shape[1], 1)
        owner = .linear(linear)
    }

    init(path: String, name: String, _ parameter: AdaptableParameter, of owner: any ParameterOwner) {
        (self.path, self.name) = (path, name)
        (outputs, inputs, experts) = (parameter.outputs, parameter.inputs, parameter.experts)
        self.owner = .parameter(owner, parameter.name)
    }

    var isParameter: Bool { if case .parameter = owner { true } else { false } }

    func set(_ adapter: LowRankAdapter?) {
        switch owner {
        case .linear(let linear): linear.adapter = adapter
        case .parameter(let owner, let name): owner.setAdapter(adapter, ofParameter: name)
        }
    }

    var adapter: LowRankAdapter? {
        switch owner {
        case .linear(let linear): linear.adapter
        case .parameter(let owner, let name): owner.adapter(ofParameter: name)
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
        linearSites
            + descendants(ofType: (any ParameterOwner).self).flatMap { path, owner in
                owner.adaptableParameters.map { AdapterSite(path: path, name: path, $0, of: owner) }
            }
    }

    /// What a configuration's `target_modules` name, in the order of the model.
    ///
    /// All linear layers of a mixture of experts are those of its attention: PEFT takes the names of its feed-forward
    /// layers for the experts' stacked weights.
    func targetedLayers(_ rules: PEFTRules, _ config: PEFTConfig) throws(Diagnostic) -> [AdapterSite] {
        var chosen: [AdapterSite] = []
        let leavesOut = config.targetModules == .allLinear && spec.mixture != nil
        for site in linearSites where try rules.targets(module: site.path) {
            if leavesOut, site.path.split(separator: ".").contains(Substring(spec.names.feedForward)) { continue }
            chosen.append(site)
        }
        return chosen
    }
}
