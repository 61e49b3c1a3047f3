import Batches
import Testing

@Suite struct PackedBatchTests {
    /// The tokens and positions that the example's last token sees, from the root down.
    private func path(of example: Int, in batch: PackedBatch) -> (tokens: [Int32], positions: [Int32], indices: [Int]) {
        let last = Int(batch.lastTokens[example])
        var segment = batch.segments.firstIndex { $0.range.contains(last) }
        var indices: [Int] = []
        var end = last + 1
        while let current = segment {
            indices = Array(batch.segments[current].start..<end) + indices
            segment = batch.segments[current].parent
            if let segment { end = batch.segments[segment].range.upperBound }
        }
        return (indices.map { batch.tokens[$0] }, indices.map { batch.positions[$0] }, indices)
    }

    @Test func labelsStandAtTheirTokensOrAtTheLastOfATheirText() {
        let batch = PackedBatch(labelled: [
            LabelledExample(tokens: [5, 6, 7], labels: .tokens([nil, 2, 1])),
            LabelledExample(tokens: [8], tokenTypes: [1]),
            LabelledExample(tokens: [9, 4], labels: .sequence(3)),
        ])
        #expect(batch.tokens == [5, 6, 7, 8, 9, 4] && batch.positions == [0, 1, 2, 0, 0, 1])
        #expect(batch.tokenTypes == [0, 0, 0, 1, 0, 0])
        #expect(batch.segments.map(\.range) == [0..<3, 3..<4, 4..<6] && batch.segments.allSatisfy { $0.parent == nil })
        #expect(batch.predictionIndices == [1, 2, 5] && batch.predictionTargets == [2, 1, 3])
        #expect(batch.predictionExamples == [0, 0, 2] && batch.predictionWeights == [1, 1, 1])
        #expect(batch.lastTokens == [2, 3, 5] && batch.rowTokenCount == 6 && batch.exampleCount == 3)
        #expect(PackedBatch(labelled: [LabelledExample(tokens: [5])]).tokenTypes == nil)
    }

    private func expectReproduced(_ examples: [Example], _ batch: PackedBatch) {
        var end = 0
        for (index, segment) in batch.segments.enumerated() {
            #expect(segment.start == end && segment.count > 0)
            #expect(segment.parent.map { $0 < index } ?? true)
            end = segment.range.upperBound
        }
        #expect(end == batch.tokens.count && batch.positions.count == end)
        #expect(batch.predictionIndices == batch.predictionIndices.sorted())
        #expect(batch.exampleCount == examples.count)
        #expect(batch.rowTokenCount == examples.reduce(0) { $0 + $1.tokens.count })
        var seen = 0
        for (index, example) in examples.enumerated() {
            let (tokens, positions, indices) = path(of: index, in: batch)
            #expect(tokens == example.tokens)
            #expect(positions == Array(0..<Int32(tokens.count)))
            var weights = [Float](repeating: 0, count: tokens.count)
            for prediction in 0..<batch.predictionCount where batch.predictionExamples[prediction] == Int32(index) {
                let depth = indices.firstIndex(of: Int(batch.predictionIndices[prediction]))!
                #expect(batch.predictionTargets[prediction] == example.tokens[depth + 1])
                #expect(weights[depth + 1] == 0)
                weights[depth + 1] = batch.predictionWeights[prediction]
                seen += 1
            }
            #expect(weights == example.weights)
        }
        #expect(seen == batch.predictionCount)
    }

    private func randomExamples(_ random: inout TestRandom, count: Int, alphabet: Int32) -> [Example] {
        var rows: [[Int32]] = []
        for _ in 0..<count {
            // Half of the rows go on from a part of an earlier row, so that tries of every depth come about.
            var tokens: [Int32] = []
            if let earlier = rows.randomElement(using: &random), Bool.random(using: &random) {
                tokens = Array(earlier.prefix(Int.random(in: 0...earlier.count, using: &random)))
            }
            let extra = Int.random(in: tokens.isEmpty ? 1...12 : 0...12, using: &random)
            tokens += (0..<extra).map { _ in Int32.random(in: 0..<alphabet, using: &random) }
            rows.append(tokens)
        }
        return rows.map { tokens in
            let weights = tokens.indices.map { $0 == 0 ? 0 : [0, 1, 0.5].randomElement(using: &random)! as Float }
            return Example(tokens: tokens, weights: weights)
        }
    }

    @Test(arguments: 0..<60 as Range<UInt64>)
    func everyExampleIsReproduced(seed: UInt64) {
        var random = TestRandom(state: seed)
        let examples = randomExamples(&random, count: 1 + Int(seed) % 23, alphabet: seed % 2 == 0 ? 2 : 9)
        expectReproduced(examples, PackedBatch(examples, sharingPrefixes: false))
        for minimum in [1, 2, 4, 7] {
            let batch = PackedBatch(examples, sharingPrefixes: true, minimumSharedCount: minimum)
            expectReproduced(examples, batch)
            #expect(batch == PackedBatch(examples, sharingPrefixes: true, minimumSharedCount: minimum))
            #expect(batch.tokens.count + batch.savedTokenCount == batch.rowTokenCount)
        }
    }

    @Test func sharesAPrefixOnceAndKeepsEveryPrediction() {
        let prefix: [Int32] = [1, 2, 3, 4, 5]
        let rows = [prefix + [6, 7], prefix + [8], prefix + [6, 9]]
        let examples = rows.map {
            Example(tokens: $0, weights: [0, 0, 0, 0, 1] + Array(repeating: 1, count: $0.count - 5))
        }
        let batch = PackedBatch(examples, sharingPrefixes: true)
        #expect(batch.tokens == [1, 2, 3, 4, 5, 6, 7, 6, 9, 8])
        #expect(batch.positions == [0, 1, 2, 3, 4, 5, 6, 5, 6, 5])
        #expect(
            batch.segments == [
                Segment(start: 0, count: 5), Segment(start: 5, count: 2, parent: 0),
                Segment(start: 7, count: 2, parent: 0), Segment(start: 9, count: 1, parent: 0),
            ])
        #expect(batch.predictionIndices == [3, 3, 3, 4, 4, 4, 5, 7])
        #expect(batch.predictionTargets == [5, 5, 5, 6, 8, 6, 7, 9])
        #expect(batch.predictionExamples == [0, 1, 2, 0, 1, 2, 0, 2])
        #expect(batch.summedWeight == 8 && batch.savedTokenCount == 10)
        expectReproduced(examples, batch)
    }

    @Test func aPrefixThatIsTooShortIsNotShared() {
        let examples = [[1, 2, 3, 4], [1, 2, 3, 5]].map { Example(tokens: $0, weights: [0, 1, 1, 1]) }
        #expect(PackedBatch(examples, sharingPrefixes: true).segments.count == 2)
        #expect(PackedBatch(examples, sharingPrefixes: true, minimumSharedCount: 3).segments.count == 3)
    }

    @Test func equalRowsShareEverything() {
        let row = Example(tokens: [1, 2, 3, 4, 5], weights: [0, 1, 1, 1, 1])
        let batch = PackedBatch([row, row, row], sharingPrefixes: true)
        #expect(batch.tokens.count == 5 && batch.lastTokens == [4, 4, 4] && batch.predictionCount == 12)
        expectReproduced([row, row, row], batch)
    }

    @Test func noExamplesGiveAnEmptyBatch() {
        let batch = PackedBatch([], sharingPrefixes: true)
        #expect(batch.tokens.isEmpty && batch.segments.isEmpty && batch.exampleCount == 0)
    }

    @Test func aDeepChainOfPrefixesNeedsNoDeepStack() {
        let row = (0..<4000).map { Int32($0 % 50) }
        let examples = stride(from: 4, through: 4000, by: 4).map { count in
            Example(tokens: Array(row.prefix(count)), weights: Array(repeating: 0, count: count - 1) + [1])
        }
        let batch = PackedBatch(examples, sharingPrefixes: true)
        #expect(batch.tokens == row && batch.segments.count == 1000)
    }
}

/// SplitMix64, so that every run draws the same rows.
struct TestRandom: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
        return z ^ z >> 31
    }
}
