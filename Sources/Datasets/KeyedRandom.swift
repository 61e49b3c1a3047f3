/// Random numbers that depend on nothing but their key: seed, purpose and two counters.
///
/// The stream is SplitMix64 (Steele, Lea and Flood 2014) from a starting point that its own finaliser mixes out of the
/// key, so a run that resumes draws what the uninterrupted run drew, and no stream depends on how often another was
/// used.
package struct KeyedRandom: RandomNumberGenerator, Sendable {
    /// What the numbers are drawn for; purposes never share a stream.
    package enum Purpose: UInt64, Sendable {
        case rowOrder = 1
        case stepOrder = 2
        case sample = 3
        case bootstrap = 4
        case split = 5
    }

    private var state: UInt64

    package init(seed: UInt64, purpose: Purpose, epoch: UInt64 = 0, index: UInt64 = 0) {
        var key: UInt64 = 0
        for part in [seed, purpose.rawValue, epoch, index] { key = mixed(key ^ mixed(part &+ 0x9E37_79B9_7F4A_7C15)) }
        state = key
    }

    package mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        return mixed(state)
    }

    /// A whole number below `bound`, each equally likely (Lemire 2019).
    package mutating func below(_ bound: Int) -> Int {
        precondition(bound > 0, "no number is below \(bound)")
        let range = UInt64(bound)
        var product = next().multipliedFullWidth(by: range)
        if product.low < range {
            let threshold = (0 &- range) % range
            while product.low < threshold { product = next().multipliedFullWidth(by: range) }
        }
        return Int(product.high)
    }

    /// The numbers below `count` in random order (Fisher and Yates).
    package mutating func permutation(_ count: Int) -> [Int] {
        var result = Array(0..<count)
        for last in stride(from: count - 1, to: 0, by: -1) { result.swapAt(last, below(last + 1)) }
        return result
    }
}

/// The finaliser of SplitMix64: every bit of the result depends on every bit of `value`.
private func mixed(_ value: UInt64) -> UInt64 {
    var z = value
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
}
