import Glibc

package import Diagnostics

/// Reads the rotary settings in both spellings: `rope_scaling` with `rope_theta` beside it, and `rope_parameters` of
/// transformers 5. Where a config has both, `rope_scaling` wins, as in transformers.
package struct RotaryConfig {
    private let config: ConfigReader
    private let maximumPositions: Int
    private let headDim: Int
    /// Where the config does not say: theta, and the share of a head that is rotated.
    var defaultTheta = 10_000.0
    var defaultPartial = 1.0
    /// The keys beside the section.
    var thetaKey = "rope_theta"
    var partialKey = "partial_rotary_factor"
    /// The length before stretching, where the family has it outside of the section.
    var trainedLength: Int?
    /// Names of scalings that the family calls otherwise.
    var renamed: [String: String] = [:]

    package init(_ config: ConfigReader, maximumPositions: Int, headDim: Int) {
        self.config = config
        self.maximumPositions = maximumPositions
        self.headDim = headDim
    }

    /// The section that holds the settings; nil if the config has none.
    func section(layerType: String? = nil) throws(Diagnostic) -> ConfigReader? {
        if let section = try config.nested("rope_scaling"), !section.keys.isEmpty { return section }
        guard let section = try config.nested("rope_parameters") else { return nil }
        if let layerType, let own = try section.nested(layerType) { return own }
        return section
    }

    /// The spec for all layers, or for those of `layerType` where `rope_parameters` has an entry for each type.
    package func spec(layerType: String? = nil) throws(Diagnostic) -> RotarySpec {
        let section = try section(layerType: layerType)
        let outerTheta = try config.positive(thetaKey) ?? defaultTheta
        let theta = try section?.positive("rope_theta") ?? outerTheta
        let outerPartial = try config.positive(partialKey) ?? defaultPartial
        let partial = try section?.positive("partial_rotary_factor") ?? outerPartial
        // The product is checked before it becomes a whole number: a huge share must not trap.
        let product = Double(headDim) * partial
        guard product >= 2, product <= Double(headDim), Int(product) % 2 == 0 else {
            throw config.wrong(
                partial == 1 ? "head_dim" : partialKey, expected: "an even number of rotated elements per head")
        }
        var spec = RotarySpec(theta: theta, rotatedDim: Int(product))
        if let section { spec.scaling = try scaling(section, rotated: spec.rotatedDim) }
        return spec
    }

    private func scaling(_ section: ConfigReader, rotated: Int) throws(Diagnostic) -> RotarySpec.Scaling {
        let key = section.has("rope_type") ? "rope_type" : "type"
        let written = try section.string(key) ?? "default"
        let inSection = try section.extent("original_max_position_embeddings")
        let trained = trainedLength ?? inSection ?? maximumPositions
        func factor() throws(Diagnostic) -> Double {
            guard let factor = try section.positive("factor") else {
                throw section.wrong("factor", expected: "a number above 0")
            }
            return factor
        }
        switch renamed[written] ?? written {
        case "default": return .none
        case "linear": return .linear(factor: try factor())
        case "dynamic":
            guard rotated > 2 else { throw section.unsupported(key, supported: "heads wider than 2") }
            return .dynamic(factor: try factor(), trainedLength: maximumPositions)
        case "llama3":
            let low = try section.positive("low_freq_factor") ?? 1
            let high = try section.positive("high_freq_factor") ?? 4
            guard high > low else { throw section.wrong("high_freq_factor", expected: "more than low_freq_factor") }
            return .llama3(factor: try factor(), lowFrequency: low, highFrequency: high, trainedLength: trained)
        case "yarn": return .yarn(try yarn(section, trained: trained))
        case "longrope": return .longrope(try longRope(section, rotated: rotated, trained: trained))
        default:
            throw section.unsupported(key, supported: "default, linear, dynamic, llama3, yarn or longrope")
        }
    }

    /// How many times longer texts are to be than those of the training.
    private func stretch(_ section: ConfigReader, trained: Int) throws(Diagnostic) -> Double {
        try section.positive("factor") ?? Double(maximumPositions) / Double(trained)
    }

    private func yarn(_ section: ConfigReader, trained: Int) throws(Diagnostic) -> RotarySpec.Yarn {
        let factor = try stretch(section, trained: trained)
        var attention = try section.positive("attention_factor")
        let (scale, all) = (try section.nonnegative("mscale") ?? 0, try section.nonnegative("mscale_all_dim") ?? 0)
        if attention == nil, scale > 0, all > 0 {
            attention = RotarySpec.Yarn.magnitude(factor, scale) / RotarySpec.Yarn.magnitude(factor, all)
        }
        return RotarySpec.Yarn(
            factor: factor, trainedLength: trained, betaFast: try section.positive("beta_fast") ?? 32,
            betaSlow: try section.positive("beta_slow") ?? 1,
            attentionFactor: attention ?? RotarySpec.Yarn.magnitude(factor, 1),
            truncates: try section.bool("truncate", default: true))
    }

    private func longRope(
        _ section: ConfigReader, rotated: Int, trained: Int
    ) throws(Diagnostic) -> RotarySpec.LongRope {
        let factor = try stretch(section, trained: trained)
        guard trained > 1 else { throw section.wrong("original_max_position_embeddings", expected: "at least 2") }
        let usual = factor <= 1 ? 1 : (1 + log(factor) / log(Double(trained))).squareRoot()
        return RotarySpec.LongRope(
            short: try section.positives("short_factor", count: rotated / 2),
            long: try section.positives("long_factor", count: rotated / 2), trainedLength: trained,
            attentionFactor: try section.positive("attention_factor") ?? usual)
    }
}
