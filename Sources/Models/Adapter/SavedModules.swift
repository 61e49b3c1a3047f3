import Autograd
import Diagnostics
import Formats
import NN

// Modules that an adapter trains in full and keeps as they are: PEFT's `modules_to_save`.
extension LanguageModel {
    /// Writes into `config` what PEFT does for models of this kind: the task, and that a classifier is always trained. So
    /// are layers of the head that were drawn, which nobody else would have.
    func state(_ config: inout PEFTConfig) {
        switch spec.task?.kind {
        case nil: break
        case .sequence: config.taskType = "SEQ_CLS"
        case .token: config.taskType = "TOKEN_CLS"
        case .states: config.taskType = "FEATURE_EXTRACTION"
        case .maskedToken: config.taskType = nil
        }
        var always = (self as? Encoder)?.head.drawn ?? []
        if spec.task?.kind == .sequence || spec.task?.kind == .token {
            always =
                Self.classifierNames
                + always.filter { path in
                    !Self.classifierNames.contains { PEFTRules.hasParts(path, $0) }
                }
        }
        let named = config.modulesToSave ?? []
        let all = named + always.filter { !named.contains($0) }
        if !all.isEmpty { config.modulesToSave = all }
    }

    /// The names under which PEFT looks for classifiers; it lists both, whichever a model has.
    private static var classifierNames: [String] { ["classifier", "score"] }

    /// The parameters of the modules that `config.modulesToSave` names.
    ///
    /// - Throws: `targets` for a name that matches nothing, `unsupported` for a parameter that PEFT stores otherwise.
    func savedParameters(_ config: PEFTConfig) throws(Diagnostic) -> [(path: String, parameter: Parameter)] {
        let parameters = allParameters()
        var saved: [(path: String, parameter: Parameter)] = []
        for (path, parameter) in parameters where PEFTRules.saves(path, config) {
            try checkSavable(path, parameter, among: parameters)
            saved.append((path, parameter))
        }
        for name in config.modulesToSave ?? [] where !Self.classifierNames.contains(name) {
            guard saved.contains(where: { PEFTRules.hasParts($0.path, name) }) else {
                throw Diagnostic(
                    ModelsCode.targets, at: "modules_to_save", found: "\(name) matches no module of the model",
                    expected: "names of modules")
            }
        }
        return saved
    }

    /// The biases that an adapter of `sites` trains with the base: those of its layers, or all.
    func trainedBiases(
        _ config: PEFTConfig, _ sites: [AdapterSite]
    ) throws(Diagnostic) -> [(path: String, parameter: Parameter)] {
        guard config.bias != .none else { return [] }
        let adapted = Set(sites.map { $0.path + ".bias" })
        return allParameters().filter { path, _ in
            let isWanted = config.bias == .all ? path.hasSuffix("bias") : adapted.contains(path)
            return isWanted && !PEFTRules.saves(path, config)
        }
    }

    /// The parameters that `saved`, an adapter of `sites`, has values of its own for, with these.
    ///
    /// - Parameter tokens: the modules whose single rows it has, which are read elsewhere.
    /// - Throws: `adapter` for a value that has no place here or another shape, and for one that is missing.
    func fullValues(
        _ saved: PEFTAdapter, _ sites: [AdapterSite], tokens: [String], in workspace: Workspace
    ) throws(Diagnostic) -> [(path: String, parameter: Parameter, value: Tensor)] {
        let expected = try savedParameters(saved.config) + trainedBiases(saved.config, sites)
        let rows = Set(tokens.map { $0 + PEFTAdapter.tokenRowsEnding })
        let tensors = saved.fullTensors.filter { !$0.isCopyOfBase && !rows.contains($0.name) }
        if let stray = tensors.first(where: { tensor in !expected.contains { $0.path == tensor.name } }) {
            throw mismatch(
                saved, at: "tensor \"\(stray.name)\"", found: "a parameter that the base does not have",
                expected: "the base that the adapter was trained on")
        }
        var values: [(path: String, parameter: Parameter, value: Tensor)] = []
        for (path, parameter) in expected {
            guard let tensor = tensors.first(where: { $0.name == path })?.tensor else {
                throw mismatch(
                    saved, at: "parameter \"\(path)\"",
                    found: "no values for a parameter that modules_to_save or bias names",
                    expected: "all of them")
            }
            let shape = (0..<parameter.shape.rank).map { parameter.shape[$0] }
            guard tensor.shape == shape else {
                throw mismatch(
                    saved, at: "tensor \"\(tensor.name)\"", found: "shape \(tensor.shape)", expected: "\(shape)")
            }
            values.append((path, parameter, Tensor(parameter.shape, try tensor.floats(), in: workspace)))
        }
        return values
    }

    private func checkSavable(
        _ path: String, _ parameter: Parameter, among all: [(path: String, parameter: Parameter)]
    ) throws(Diagnostic) {
        var reason: String?
        if all.count(where: { $0.parameter === parameter }) > 1 {
            reason = "\(path), which the embedding and the head share"
        } else if spec.names.storesTransposed, parameter.shape.rank == 2, path != spec.names.head + ".weight" {
            reason = "\(path), whose transpose the checkpoint has"
        } else if spec.mixture != nil, path.split(separator: ".").contains("experts") {
            reason = "\(path), which PEFT keeps in a stack"
        }
        guard let reason else { return }
        throw Diagnostic(
            ModelsCode.unsupported, at: "modules_to_save", found: reason,
            expected: "modules whose parameters are their own and stored as they are")
    }
}
