package import Diagnostics

/// The answers of a `PEFTConfig` for single modules: whether one has LoRA, its rank, alpha and multiplier.
///
/// A module is named by its path in the base model (`model.layers.0.self_attn.q_proj`).
package struct PEFTRules: Sendable {
    private let config: PEFTConfig
    private let ranks: [(regex: ModuleRegex, rank: Int)]
    private let alphas: [(regex: ModuleRegex, alpha: Double)]
    private let targets: Selection
    private let exclusions: Selection
    private let layers: [ModuleRegex]

    private enum Selection {
        case nothing, everything
        case names([String])
        case regex(ModuleRegex)

        init(_ selection: PEFTConfig.ModuleSelection?) throws(Diagnostic) {
            switch selection {
            case nil: self = .nothing
            case .allLinear: self = .everything
            case .names(let names): self = .names(names)
            case .regex(let pattern): self = .regex(try ModuleRegex(pattern))
            }
        }

        func contains(_ path: String) throws(Diagnostic) -> Bool {
            switch self {
            case .nothing: false
            case .everything: true
            case .names(let names): names.contains { sameBytes($0, path) || endsInParts(path, $0) }
            case .regex(let regex): try regex.matches(path)
            }
        }
    }

    /// Compiles the patterns.
    ///
    /// - Throws: `adapterPattern`.
    package init(_ config: PEFTConfig) throws(Diagnostic) {
        self.config = config
        var ranks: [(ModuleRegex, Int)] = []
        for (pattern, rank) in config.rankPattern { ranks.append((try Self.suffix(pattern), rank)) }
        self.ranks = ranks
        var alphas: [(ModuleRegex, Double)] = []
        for (pattern, alpha) in config.alphaPattern { alphas.append((try Self.suffix(pattern), alpha)) }
        self.alphas = alphas
        targets = try Selection(config.targetModules)
        exclusions = try Selection(config.excludeModules)
        var layers: [ModuleRegex] = []
        for pattern in config.layersPattern.isEmpty ? ["[^.]*"] : config.layersPattern {
            layers.append(try ModuleRegex(".*\\.(?:\(pattern))\\.(\\d+)\\.", covering: .prefix))
        }
        self.layers = layers
    }

    /// A pattern covers the last parts of a path, from the start or from behind a dot.
    private static func suffix(_ pattern: String) throws(Diagnostic) -> ModuleRegex {
        try ModuleRegex("(?:.*\\.)?(?:\(pattern))")
    }

    /// The rank by the first pattern that matches, else `r`.
    package func rank(ofModule path: String) throws(Diagnostic) -> Int {
        for (regex, rank) in ranks where try regex.matches(path) { return rank }
        return config.r
    }

    /// The alpha by the first pattern that matches, else `alpha`.
    package func alpha(ofModule path: String) throws(Diagnostic) -> Double {
        for (regex, alpha) in alphas where try regex.matches(path) { return alpha }
        return config.alpha
    }

    /// What B·A is multiplied by: alpha / rank, or alpha / sqrt(rank) with rsLoRA.
    package func scaling(ofModule path: String) throws(Diagnostic) -> Double {
        let rank = Double(try rank(ofModule: path))
        return try alpha(ofModule: path) / (config.useRSLoRA ? rank.squareRoot() : rank)
    }

    /// Whether the module gets LoRA, by the rules of PEFT: exclusions and modules saved in full come first, then the
    /// names or the expression, and for names the choice of layers.
    ///
    /// `allLinear` takes every path: which modules are linear only the model knows.
    package func targets(module path: String) throws(Diagnostic) -> Bool {
        if try exclusions.contains(path) { return false }
        for name in config.modulesToSave ?? [] where Self.hasParts(path, name) { return false }
        guard try targets.contains(path) else { return false }
        // The whole path as a name, and an expression, overrule the choice of layers.
        guard case .names(let names) = targets, !names.contains(where: { sameBytes($0, path) }),
            let chosen = config.layersToTransform, !chosen.isEmpty
        else { return true }
        return try layerIndex(of: path).map { chosen.contains($0) } ?? false
    }

    private func layerIndex(of path: String) throws(Diagnostic) -> Int? {
        for regex in layers {
            if let digits = try regex.firstGroup(path) { return Int(digits) }
        }
        return nil
    }

    /// Whether `modules_to_save` names a module that the parameter at `path` is in.
    package static func saves(_ path: String, _ config: PEFTConfig) -> Bool {
        (config.modulesToSave ?? []).contains { hasParts(path, $0) }
    }

    /// Whether `name` is a run of whole parts of `path`.
    package static func hasParts(_ path: String, _ name: String) -> Bool {
        let text = Array(".\(path).".utf8)
        let part = Array(".\(name).".utf8)
        guard part.count <= text.count else { return false }
        return (0...(text.count - part.count)).contains { text[$0...].starts(with: part) }
    }
}

func sameBytes(_ a: String, _ b: String) -> Bool { a.utf8.elementsEqual(b.utf8) }

/// Whether `path` ends in `.name`.
func endsInParts(_ path: String, _ name: String) -> Bool {
    path.utf8.count > name.utf8.count && path.utf8.reversed().starts(with: ".\(name)".utf8.reversed())
}
