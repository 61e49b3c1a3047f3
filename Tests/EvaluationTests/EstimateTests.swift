import Testing

@testable import Evaluation

@Suite struct EstimateTests {
    /// Reference: the roots p of (share - p)² = z² p (1 - p) / n, solved with 50 digits.
    @Test(arguments: [
        (0, 10, 0.0, 0.277532799863), (10, 10, 0.722467200137, 1.0), (5, 10, 0.236593090513, 0.763406909487),
        (1354, 1540, 0.861994638427, 0.894559730111), (1, 1000, 0.000176546371, 0.005642558598),
    ])
    func wilsonsIntervalIsTheKnownOne(_ hits: Int, count: Int, low: Double, high: Double) {
        let estimate = Estimate.share(hits, of: count)
        #expect(estimate.value == Double(hits) / Double(count))
        #expect(abs(estimate.low - low) < 1e-11 && abs(estimate.high - high) < 1e-11, "\(estimate)")
    }

    @Test func aBootstrapReachesTheNormalInterval() {
        // 400 rows of 0 and 1 with mean 0.5: standard error 0.025, so about 0.5 ± 0.049.
        let values = (0..<400).map { Double($0 % 2) }
        let estimate = Estimate.ratio(values, seed: 1, draws: 2000)
        #expect(estimate.value == 0.5)
        #expect(abs(estimate.low - 0.451) < 0.006 && abs(estimate.high - 0.549) < 0.006, "\(estimate)")
        #expect(estimate == Estimate.ratio(values, seed: 1, draws: 2000))
        #expect(estimate != Estimate.ratio(values, seed: 2, draws: 2000))
    }

    @Test func weightsMakeAMeanOverTokens() {
        let estimate = Estimate.ratio([2, 9], over: [1, 3], seed: 0, draws: 100)
        #expect(estimate.value == 11.0 / 4 && estimate.low == 2 && estimate.high == 3)
        let single = Estimate.ratio([3], over: [2], seed: 0, draws: 10)
        #expect(single == Estimate(value: 1.5, low: 1.5, high: 1.5))
    }

    @Test func aPairedDifferenceIsTighterThanTwoShares() {
        // Every row that the base gets right the adapted gets right too; 30 of 300 more.
        let base = (0..<300).map { $0 < 150 }
        let adapted = (0..<300).map { $0 < 180 }
        let result = MetricResult.share("exact-match", base: base, adapted: adapted, seed: 3, draws: 2000)
        #expect(result.base?.value == 0.5 && result.adapted?.value == 0.6)
        let difference = result.difference!
        #expect(abs(difference.value - 0.1) < 1e-12)
        // Standard error of a share of 0.1 over 300 rows: 0.0173.
        #expect(abs(difference.low - 0.066) < 0.006 && abs(difference.high - 0.134) < 0.006, "\(difference)")
    }

    @Test func exactMatchesAreToTheLetter() {
        #expect(isExactMatch(" card_lost\n", "card_lost") && isExactMatch("", " \t"))
        #expect(!isExactMatch("Card_lost", "card_lost") && !isExactMatch("card_lost.", "card_lost"))
        #expect(!isExactMatch("e\u{301}", "\u{e9}") && !isExactMatch("a  b", "a b"))
    }
}
