import StrictJSON

/// One metric of several systems on the same rows.
package struct MetricResult: Sendable, Equatable {
    package var name: String
    /// Whether the values are shares between 0 and 1, to be shown in per cent.
    package var isShare: Bool
    package var base: Estimate?
    package var adapted: Estimate?
    /// Adapted minus base, row by row.
    package var difference: Estimate?
    /// A word-count classifier trained on the training rows: what the task needs no language model for.
    package var naiveBayes: Estimate?

    package init(
        name: String, isShare: Bool, base: Estimate? = nil, adapted: Estimate? = nil, difference: Estimate? = nil,
        naiveBayes: Estimate? = nil
    ) {
        self.name = name
        self.isShare = isShare
        self.base = base
        self.adapted = adapted
        self.difference = difference
        self.naiveBayes = naiveBayes
    }

    /// The share of rows that each system got right.
    ///
    /// - Parameters:
    ///   - base, adapted, naiveBayes: whether each row is right; all of the same rows in the same order.
    ///   - seed: of the bootstrap for the difference.
    package static func share(
        _ name: String, base: [Bool]? = nil, adapted: [Bool]? = nil, naiveBayes: [Bool]? = nil, seed: UInt64,
        draws: Int = 10_000
    ) -> MetricResult {
        func estimate(_ hits: [Bool]?) -> Estimate? { hits.map { Estimate.share($0.count { $0 }, of: $0.count) } }
        var result = MetricResult(
            name: name, isShare: true, base: estimate(base), adapted: estimate(adapted),
            naiveBayes: estimate(naiveBayes))
        if let base, let adapted {
            precondition(base.count == adapted.count, "\(base.count) and \(adapted.count) rows")
            let gains = zip(base, adapted).map { ($1 ? 1.0 : 0.0) - ($0 ? 1.0 : 0.0) }
            result.difference = Estimate.ratio(gains, seed: seed, draws: draws)
        }
        return result
    }

    /// The mean loss in nats per token.
    ///
    /// - Parameters:
    ///   - base, adapted: for every row the sum of its tokens' losses.
    ///   - tokens: for every row how many tokens that sum is over.
    package static func loss(
        base: [Double]? = nil, adapted: [Double]? = nil, tokens: [Double], seed: UInt64, draws: Int = 10_000
    ) -> MetricResult {
        func estimate(_ sums: [Double]?) -> Estimate? {
            sums.map { Estimate.ratio($0, over: tokens, seed: seed, draws: draws) }
        }
        var result = MetricResult(name: "loss", isShare: false, base: estimate(base), adapted: estimate(adapted))
        if let base, let adapted { result.difference = estimate(zip(base, adapted).map { $1 - $0 }) }
        return result
    }
}

/// Whether an answer is the reference to the letter, white space at the ends aside.
package func isExactMatch(_ answer: String, _ reference: String) -> Bool {
    trimmed(answer).elementsEqual(trimmed(reference))
}

private func trimmed(_ text: String) -> Substring.UnicodeScalarView {
    let scalars = text.unicodeScalars
    guard let first = scalars.firstIndex(where: { !$0.properties.isWhitespace }),
        let last = scalars.lastIndex(where: { !$0.properties.isWhitespace })
    else { return scalars[scalars.endIndex...] }
    return scalars[first...last]
}
