import Datasets
import Testing

@Suite struct StepPackingTests {
    private func lengths(_ count: Int, seed: UInt64) -> [Int] {
        var random = KeyedRandom(seed: seed, purpose: .sample)
        return (0..<count).map { _ in 20 + random.below(30) + (random.below(10) == 0 ? random.below(150) : 0) }
    }

    @Test func everyRowIsInExactlyOneStepThatFits() {
        let lengths = lengths(3000, seed: 1)
        let steps = StepPacking.steps(lengths: lengths, batchTokens: 816, seed: 7, epoch: 0)
        #expect(steps.flatMap(\.self).sorted() == Array(0..<3000))
        #expect(steps.allSatisfy { $0.reduce(0) { $0 + lengths[$1] } <= 816 })
        let total = lengths.reduce(0, +)
        #expect(steps.count <= Int((Double(total) / 816 / 0.99).rounded(.up)))
    }

    @Test func stepsKeepAboutAsManyRowsAsPlainFilling() {
        let lengths = lengths(3000, seed: 2)
        let order = StepPacking.steps(lengths: lengths, batchTokens: 816, seed: 3, epoch: 0)
        var random = KeyedRandom(seed: 3, purpose: .rowOrder, epoch: 0)
        var plain = 1
        var room = 816
        for row in random.permutation(3000) {
            if lengths[row] > room { (plain, room) = (plain + 1, 816) }
            room -= lengths[row]
        }
        #expect(order.count <= plain && Double(order.count) > Double(plain) * 0.93)
        // Long rows do not gather: no step is made of rows far from the mean length.
        let means = order.map { Double($0.reduce(0) { $0 + lengths[$1] }) / Double($0.count) }
        let mean = Double(lengths.reduce(0, +)) / 3000
        #expect(means.filter { abs($0 - mean) < mean * 0.5 }.count > means.count * 95 / 100)
    }

    @Test func theOrderDependsOnSeedAndEpochAlone() {
        let lengths = lengths(500, seed: 4)
        let first = StepPacking.steps(lengths: lengths, batchTokens: 400, seed: 1, epoch: 0)
        #expect(first == StepPacking.steps(lengths: lengths, batchTokens: 400, seed: 1, epoch: 0))
        #expect(first != StepPacking.steps(lengths: lengths, batchTokens: 400, seed: 1, epoch: 1))
        #expect(first != StepPacking.steps(lengths: lengths, batchTokens: 400, seed: 2, epoch: 0))
    }

    @Test func aRowLongerThanAStepStandsAlone() {
        let steps = StepPacking.steps(lengths: [5, 100, 5, 5], batchTokens: 15, seed: 0, epoch: 0)
        #expect(steps.contains([1]) && steps.count == 2)
        #expect(StepPacking.steps(lengths: [], batchTokens: 15, seed: 0, epoch: 0).isEmpty)
    }

    @Test func aStepIsCutIntoPartsInOrder() {
        let lengths = [10, 20, 30, 5, 60]
        #expect(StepPacking.parts(of: [0, 1, 2, 3, 4], lengths: lengths, tokens: 40) == [[0, 1], [2, 3], [4]])
        #expect(StepPacking.parts(of: [], lengths: lengths, tokens: 40).isEmpty)
    }

    @Test(arguments: 1...6) func equalPartsAreInOrderAndNotEmpty(count: Int) {
        let lengths = [90, 1, 1, 1, 1, 6]
        let parts = StepPacking.parts(of: Array(lengths.indices), lengths: lengths, count: count)
        #expect(parts.count == count && parts.flatMap { Array($0) } == Array(lengths.indices))
        #expect(parts.allSatisfy { !$0.isEmpty })
    }

    @Test func keyedNumbersAreEvenAndIndependent() {
        var counts = [Int](repeating: 0, count: 7)
        var random = KeyedRandom(seed: 5, purpose: .bootstrap)
        for _ in 0..<70_000 { counts[random.below(7)] += 1 }
        // 7 classes of 10,000 with a standard deviation of 93: five of them either way.
        #expect(counts.allSatisfy { abs($0 - 10_000) < 465 })
        let firsts = (0..<100 as Range<UInt64>).map { index in
            var random = KeyedRandom(seed: 5, purpose: .bootstrap, index: index)
            return random.next()
        }
        #expect(Set(firsts).count == 100)
        #expect(Set((0..<100).map { random.permutation($0 + 1).sorted() == Array(0...$0) }) == [true])
    }
}
