import Datasets
package import StrictJSON

/// A number from a sample, with its 95 % confidence interval.
package struct Estimate: Sendable, Equatable {
    package var value: Double
    package var low: Double
    package var high: Double

    package init(value: Double, low: Double, high: Double) {
        self.value = value
        self.low = low
        self.high = high
    }

    /// The 0.975 quantile of the normal distribution.
    private static let quantile = 1.959963984540054

    /// The share of `successes` among `count` trials with Wilson's interval (Wilson 1927).
    package static func share(_ successes: Int, of count: Int) -> Estimate {
        precondition(count > 0 && (0...count).contains(successes), "\(successes) successes among \(count)")
        let (n, z) = (Double(count), quantile)
        let share = Double(successes) / n
        let center = (share + z * z / (2 * n)) / (1 + z * z / n)
        let reach = z / (1 + z * z / n) * (share * (1 - share) / n + z * z / (4 * n * n)).squareRoot()
        // At the ends the bounds are 0 and 1 exactly; only rounding would move them.
        return Estimate(
            value: share, low: successes == 0 ? 0 : center - reach, high: successes == count ? 1 : center + reach)
    }

    /// Σ values / Σ weights over rows, with the percentile interval of the bootstrap over rows (Efron 1979).
    ///
    /// For the difference of two systems on the same rows, `values` are the rows' differences: drawing rows keeps the
    /// pairs together. The draws depend on the seed alone.
    ///
    /// - Parameters:
    ///   - values: one number a row.
    ///   - weights: what each row's number is a sum over, such as its tokens; 1 each for a mean over rows.
    ///   - draws: at least 1; 10,000 settle the bounds to about a hundredth of the interval.
    package static func ratio(
        _ values: [Double], over weights: [Double]? = nil, seed: UInt64, draws: Int = 10_000
    ) -> Estimate {
        let weights = weights ?? Array(repeating: 1, count: values.count)
        precondition(!values.isEmpty && values.count == weights.count, "\(values.count) rows, \(weights.count) weights")
        precondition(draws > 0, "a bootstrap without draws")
        let value = values.reduce(0, +) / weights.reduce(0, +)
        var random = KeyedRandom(seed: seed, purpose: .bootstrap)
        var drawn = [Double](repeating: 0, count: draws)
        values.withUnsafeBufferPointer { values in
            weights.withUnsafeBufferPointer { weights in
                for draw in drawn.indices {
                    var (sum, weight) = (0.0, 0.0)
                    for _ in 0..<values.count {
                        let row = random.below(values.count)
                        sum += values[row]
                        weight += weights[row]
                    }
                    drawn[draw] = sum / weight
                }
            }
        }
        drawn.sort()
        return Estimate(value: value, low: percentile(drawn, 0.025), high: percentile(drawn, 0.975))
    }

    /// The value below which `share` of the sorted numbers lie, interpolated between neighbours.
    private static func percentile(_ sorted: [Double], _ share: Double) -> Double {
        let place = share * Double(sorted.count - 1)
        let below = Int(place)
        let above = min(below + 1, sorted.count - 1)
        return sorted[below] + (sorted[above] - sorted[below]) * (place - Double(below))
    }

    package var json: JSONValue {
        .object(["value": .number(value), "low": .number(low), "high": .number(high)])
    }
}
