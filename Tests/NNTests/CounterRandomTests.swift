import NN
import Testing

@Suite struct CounterRandomTests {
    /// Of 20,000 draws the mean strays by 0.007 and the second moment by 0.01; the bounds are four times that.
    @Test func normalNumbersHaveTheirMoments() {
        let random = CounterRandom(seed: 3, .headInitialization)
        let draws = (0..<20_000).map { random.normal(at: UInt64($0)) }
        let mean = draws.reduce(0, +) / Double(draws.count)
        let square = draws.reduce(0) { $0 + $1 * $1 } / Double(draws.count)
        let inside = Double(draws.count { abs($0) < 1 }) / Double(draws.count)
        #expect(abs(mean) < 0.03 && abs(square - 1) < 0.04 && abs(inside - 0.6827) < 0.014)
        #expect(draws.allSatisfy { $0.isFinite } && Set(draws).count == draws.count)
    }
}
