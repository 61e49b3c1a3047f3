import Glibc

/// Random numbers that are a function of a key and a counter (Philox 4x32-10, Salmon et al. 2011).
///
/// Nothing depends on how often something was drawn before, so a resumed run draws what the whole run would have.
package struct CounterRandom: Sendable {
    private let key: (UInt32, UInt32)

    package init(key: UInt64) { self.key = (UInt32(truncatingIfNeeded: key), UInt32(key >> 32)) }

    /// What is drawn; each purpose has a stream of its own.
    package enum Purpose: UInt64, Sendable {
        case adapterInitialization = 1
        case dropout = 2
        case sampling = 3
        /// Weights of a model that only has a shape, and the tokens for it.
        case benchmark = 4
        case headInitialization = 5
    }

    /// The stream for `purpose` and `index` (a module, a step) of a run with `seed`.
    package init(seed: UInt64, _ purpose: Purpose, index: UInt64 = 0) {
        let bits = CounterRandom(key: seed).block(purpose.rawValue, index)
        self.init(key: UInt64(bits.0) << 32 | UInt64(bits.1))
    }

    package func bits(at counter: UInt64) -> UInt64 {
        let bits = block(counter, 0)
        return UInt64(bits.0) << 32 | UInt64(bits.1)
    }

    /// Uniform in [0, 1), with 53 bits.
    package func uniform(at counter: UInt64) -> Double { Double(bits(at: counter) >> 11) * 0x1p-53 }

    /// Normally distributed with a standard deviation of 1 (Box and Muller 1958).
    package func normal(at counter: UInt64) -> Double {
        let (radius, angle) = (1 - uniform(at: 2 * counter), uniform(at: 2 * counter + 1))
        return (-2 * log(radius)).squareRoot() * cos(2 * .pi * angle)
    }

    private func block(_ low: UInt64, _ high: UInt64) -> (UInt32, UInt32, UInt32, UInt32) {
        var x = (
            UInt32(truncatingIfNeeded: low), UInt32(low >> 32), UInt32(truncatingIfNeeded: high), UInt32(high >> 32)
        )
        var k = key
        for _ in 0..<10 {
            let a = x.0.multipliedFullWidth(by: 0xD251_1F53), b = x.2.multipliedFullWidth(by: 0xCD9E_8D57)
            x = (b.high ^ x.1 ^ k.0, b.low, a.high ^ x.3 ^ k.1, a.low)
            k = (k.0 &+ 0x9E37_79B9, k.1 &+ 0xBB67_AE85)
        }
        return x
    }
}
