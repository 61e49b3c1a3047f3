import Glibc

package import Diagnostics

/// Reads the rotary settings in both spellings: `rope_parameters` of transformers 5, which wins, and `rope_theta` with
/// `rope_scaling` before it.
package struct RotaryConfig {
    private let config: ConfigReader
    private let maximumPositions: Int
    private let headDim: Int
    private let defaultTheta: Double

    package init(_ config: ConfigReader, maximumPositions: Int, headDim: Int, defaultTheta: Double = 10_000) {
        self.config = config
        self.maximumPositions = maximumPositions
        self.headDim = headDim
        self.defaultTheta = defaultTheta
    }

    /// The spec for all layers, or for those of `layerType` where `rope_parameters` has an entry for each type.
    package func spec(layerType: String? = nil) throws(Diagnostic) -> RotarySpec {
        var section = try config.nested("rope_parameters")
        if let types = section, let layerType, let own = try types.nested(layerType) { section = own }
        if section == nil { section = try config.nested("rope_scaling") }
        let theta = try own(section, "rope_theta") ?? defaultTheta
        let partial = try own(section, "partial_rotary_factor") ?? 1
        let rotated = Int(Double(headDim) * partial)
        guard rotated >= 2, rotated <= headDim, rotated % 2 == 0 else {
            throw config.wrong("partial_rotary_factor", expected: "an even number of rotated elements per head")
        }
        var spec = RotarySpec(theta: theta, rotatedDim: rotated)
        if let section { spec.scaling = try scaling(section, rotated: rotated) }
        return spec
    }

    /// A number of the section, else of the config around it.
    private func own(_ section: ConfigReader?, _ key: String) throws(Diagnostic) -> Double? {
        if let number = try section?.positive(key) { return number }
        return try config.positive(key)
    }

    private func scaling(_ section: ConfigReader, rotated: Int) throws(Diagnostic) -> RotarySpec.Scaling {
        var kind = try section.string("rope_type")
        if kind == nil { kind = try section.string("type") }
        let trained = try section.extent("original_max_position_embeddings") ?? maximumPositions
        func factor() throws(Diagnostic) -> Double {
            guard let factor = try section.positive("factor") else {
                throw section.wrong("factor", expected: "a number above 0")
            }
            return factor
        }
        switch kind ?? "default" {
        case "default": return .none
        case "linear": return .linear(factor: try factor())
        case "dynamic":
            guard rotated > 2 else { throw section.unsupported("rope_type", supported: "heads wider than 2") }
            return .dynamic(factor: try factor(), trainedLength: maximumPositions)
        case "llama3":
            let low = try section.positive("low_freq_factor") ?? 1
            let high = try section.positive("high_freq_factor") ?? 4
            guard high > low else { throw section.wrong("high_freq_factor", expected: "more than low_freq_factor") }
            return .llama3(factor: try factor(), lowFrequency: low, highFrequency: high, trainedLength: trained)
        case "yarn": return .yarn(try yarn(section, trained: trained))
        default:
            throw section.unsupported(
                section.has("rope_type") ? "rope_type" : "type", supported: "default, linear, dynamic, llama3 or yarn")
        }
    }

    private func yarn(_ section: ConfigReader, trained: Int) throws(Diagnostic) -> RotarySpec.Yarn {
        let factor = try section.positive("factor") ?? Double(maximumPositions) / Double(trained)
        func magnitude(_ scale: Double) -> Double { factor <= 1 ? 1 : 0.1 * scale * log(factor) + 1 }
        var attention = try section.positive("attention_factor")
        if attention == nil, let m = try section.positive("mscale"), let all = try section.positive("mscale_all_dim") {
            attention = magnitude(m) / magnitude(all)
        }
        return RotarySpec.Yarn(
            factor: factor, trainedLength: trained, betaFast: try section.positive("beta_fast") ?? 32,
            betaSlow: try section.positive("beta_slow") ?? 1, attentionFactor: attention ?? magnitude(1),
            truncates: try section.bool("truncate", default: true))
    }
}
