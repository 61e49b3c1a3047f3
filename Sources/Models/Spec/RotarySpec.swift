import Glibc

package import Autograd

/// The frequencies of a rotary embedding (Su et al. 2021) and how they are stretched for longer texts.
package struct RotarySpec: Sendable, Equatable {
    package var theta: Double
    /// Elements of each head that are rotated; even.
    package var rotatedDim: Int
    package var scaling: Scaling = .none
    package var pairing: RotaryTable.Pairing = .half

    package enum Scaling: Sendable, Equatable {
        case none
        /// Positions divided by `factor` (Chen et al. 2023).
        case linear(factor: Double)
        /// A larger theta for sequences beyond the trained length (dynamic NTK).
        case dynamic(factor: Double, trainedLength: Int)
        case llama3(factor: Double, lowFrequency: Double, highFrequency: Double, trainedLength: Int)
        case yarn(Yarn)
        case longrope(LongRope)
        /// Divisors of the frequencies, one each, as GGUF files bake them in.
        case divisors([Float])
    }

    /// YaRN (Peng et al. 2023).
    package struct Yarn: Sendable, Equatable {
        package var factor: Double
        package var trainedLength: Int
        package var betaFast: Double
        package var betaSlow: Double
        /// On cos and sin.
        package var attentionFactor: Double
        package var truncates: Bool
    }

    /// LongRoPE (Ding et al. 2024): a divisor for each frequency, of which there are two sets.
    package struct LongRope: Sendable, Equatable {
        /// For sequences of at most `trainedLength` tokens.
        package var short: [Double]
        package var long: [Double]
        package var trainedLength: Int
        /// On cos and sin.
        package var attentionFactor: Double
    }

    /// Whether the angles of a row depend on how long its whole sequence is.
    package var dependsOnLength: Bool {
        switch scaling {
        case .dynamic, .longrope: true
        default: false
        }
    }

    /// What cos and sin are multiplied by.
    package var amplitude: Double {
        switch scaling {
        case .yarn(let yarn): yarn.attentionFactor
        case .longrope(let rope): rope.attentionFactor
        default: 1
        }
    }

    /// The angle per position of each pair, in f32 as the reference computes it.
    ///
    /// - Parameter length: of the sequence; it matters only if `dependsOnLength`.
    package func frequencies(length: Int) -> [Float] {
        let half = rotatedDim / 2
        var base = theta
        if case .dynamic(let factor, let trained) = scaling, length > trained {
            let stretch = factor * Double(length) / Double(trained) - (factor - 1)
            base = theta * pow(stretch, Double(rotatedDim) / Double(rotatedDim - 2))
        }
        let plain = (0..<half).map { 1 / pow(base, 2 * Double($0) / Double(rotatedDim)) }
        switch scaling {
        case .none, .dynamic: return plain.map { Float($0) }
        case .linear(let factor): return plain.map { Float($0 / factor) }
        case .longrope(let rope):
            let factors = length > rope.trainedLength ? rope.long : rope.short
            return zip(plain, factors).map { Float($0 / $1) }
        case .divisors(let divisors): return zip(plain, divisors).map { Float($0 / Double($1)) }
        case .llama3(let factor, let low, let high, let trained):
            return plain.map { frequency in
                let wavelength = 2 * Double.pi / frequency
                let length = Double(trained)
                if wavelength < length / high { return Float(frequency) }
                if wavelength > length / low { return Float(frequency / factor) }
                let smooth = (length / wavelength - low) / (high - low)
                return Float((1 - smooth) * frequency / factor + smooth * frequency)
            }
        case .yarn(let yarn): return yarn.frequencies(plain, theta: theta, dim: rotatedDim).map { Float($0) }
        }
    }
}

extension RotarySpec.Yarn {
    /// What attention grows by where texts are `factor` times longer (Peng et al. 2023, equation 22, with `scale`).
    static func magnitude(_ factor: Double, _ scale: Double) -> Double {
        factor <= 1 ? 1 : 0.1 * scale * log(factor) + 1
    }

    /// Peng et al. 2023, equations 17 to 23: interpolated where a pair turns rarely, left alone where it turns often.
    fileprivate func frequencies(_ plain: [Double], theta: Double, dim: Int) -> [Double] {
        func pairThatTurns(_ times: Double) -> Double {
            Double(dim) * log(Double(trainedLength) / (times * 2 * .pi)) / (2 * log(theta))
        }
        var low = pairThatTurns(betaFast)
        var high = pairThatTurns(betaSlow)
        if truncates { (low, high) = (low.rounded(.down), high.rounded(.up)) }
        low = max(low, 0)
        high = min(high, Double(dim - 1))
        if low == high { high += 0.001 }
        return plain.enumerated().map { index, frequency in
            let ramp = min(max((Double(index) - low) / (high - low), 0), 1)
            return frequency / factor * ramp + frequency * (1 - ramp)
        }
    }
}
