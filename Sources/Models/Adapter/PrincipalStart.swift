import Autograd
import Diagnostics
import Formats
import NN

/// PiSSA's starting factors of a layer (Meng et al. 2024, equation 2): A = √(S/s)·Vᵀ and B = U·√(S/s) of the largest
/// singular values, so that s·B·A is the weight's principal part.
struct PrincipalStart {
    let a: Tensor
    let b: Tensor

    /// - Returns: for each site its factors; all sites on all threads.
    /// - Throws: `unsupported` for a rank that a weight does not have.
    static func factors(
        for sites: [(site: AdapterSite, rank: Int, scale: Double)], method: SingularValueMethod,
        in workspace: Workspace
    ) throws(Diagnostic) -> [PrincipalStart] {
        for (site, rank, _) in sites where rank > min(site.outputs, site.inputs) {
            throw Diagnostic(
                ModelsCode.unsupported, at: "init_lora_weights",
                found: "rank \(rank) for \(site.name), a weight of [\(site.outputs), \(site.inputs)]",
                expected: "a rank of at most \(min(site.outputs, site.inputs))")
        }
        var found = [SingularValues?](repeating: nil, count: sites.count)
        found.withUnsafeMutableBufferPointer { found in
            workspace.threads.forEach(sites.count) { index, _ in
                let (site, rank, _) = sites[index]
                guard let weight = site.linear?.weight else { return }
                var values = [Float](repeating: 0, count: weight.shape.count)
                values.withUnsafeMutableBufferPointer { weight.decode(rows: 0..<site.outputs, to: $0.baseAddress!) }
                found[index] = SingularValues(
                    of: values, rows: site.outputs, columns: site.inputs, count: rank, by: method)
            }
        }
        var starts: [PrincipalStart] = []
        for ((site, rank, scale), decomposition) in zip(sites, found) {
            guard let decomposition else {
                throw Diagnostic(
                    ModelsCode.unsupported, at: "init_lora_weights",
                    found: "\(site.name), whose singular values cannot be computed",
                    expected: "a layer of finite weights")
            }
            let roots = decomposition.values.map { ($0 / scale).squareRoot() }
            let (outputs, inputs) = (site.outputs, site.inputs)
            let a = (0..<rank * inputs).map { Float(roots[$0 / inputs] * decomposition.right[$0]) }
            let b = (0..<outputs * rank).map { index in
                Float(roots[index % rank] * decomposition.left[index % rank * outputs + index / rank])
            }
            starts.append(
                PrincipalStart(
                    a: Tensor(Shape(rank, inputs), a, in: workspace), b: Tensor(Shape(outputs, rank), b, in: workspace))
            )
        }
        return starts
    }
}

extension PEFTConfig {
    /// How the principal directions of the weights are found, where training starts from them.
    ///
    /// - Throws: `unsupported` for a start that changes the base in another way, or that cannot be repeated.
    func principalMethod(seed: UInt64?) throws(Diagnostic) -> SingularValueMethod? {
        guard case .named(let name) = initialization else { return nil }
        if name == "pissa" { return .exact }
        let rounds = name.hasPrefix("pissa_niter_") ? Int(name.dropFirst("pissa_niter_".count)) : nil
        if let rounds, (0...1000).contains(rounds), let seed {
            let random = CounterRandom(seed: seed, .adapterInitialization, index: UInt64(UInt32.max))
            return .iterative(rounds: rounds) { random.normal(at: UInt64($0)) }
        }
        // Of a finished adapter these say only how A and B were drawn.
        let harmless = ["gaussian", "eva", "orthogonal"]
        if seed == nil ? harmless.contains(name) : name == "gaussian" { return nil }
        throw Diagnostic(
            ModelsCode.unsupported, at: "init_lora_weights", found: "\"\(name)\"",
            expected: "true, false, \"gaussian\", \"pissa\" or \"pissa_niter_N\"",
            fix: seed == nil
                ? "Convert the adapter to an ordinary one with PEFT's path_initial_model_for_weight_conversion" : nil)
    }
}
