package import Autograd
import Batches
import Glibc
import NN

/// How the next token is chosen from its logits.
package struct Sampling: Sendable {
    /// 0: always the likeliest.
    package var temperature: Float
    /// Only the likeliest tokens that together have this probability are drawn from.
    package var topP: Float
    package var seed: UInt64

    package static let greedy = Sampling(temperature: 0, topP: 1, seed: 0)

    package init(temperature: Float, topP: Float, seed: UInt64) {
        self.temperature = temperature
        self.topP = topP
        self.seed = seed
    }

    /// - Parameters:
    ///   - sequence, index: which token of which sequence is drawn: the same ones always draw the same number.
    func choose(_ logits: UnsafeBufferPointer<Float>, sequence: Int, index: Int) -> Int32 {
        var best = 0
        for token in logits.indices where logits[token] > logits[best] { best = token }
        guard temperature > 0 else { return Int32(best) }
        let top = logits[best]
        var weights = logits.enumerated().map { (token: $0, weight: exp(Double(($1 - top) / temperature))) }
        if topP < 1 {
            weights.sort { $0.weight > $1.weight }
            let wanted = weights.reduce(0) { $0 + $1.weight } * Double(topP)
            var sum = 0.0
            let count = weights.firstIndex { candidate in
                sum += candidate.weight
                return sum >= wanted
            }
            weights.removeSubrange(((count ?? weights.count - 1) + 1)...)
        }
        let random = CounterRandom(seed: seed, .sampling, index: UInt64(sequence))
        var left = random.uniform(at: UInt64(index)) * weights.reduce(0) { $0 + $1.weight }
        for (token, weight) in weights {
            left -= weight
            if left < 0 { return Int32(token) }
        }
        return Int32(weights.last?.token ?? best)
    }
}

/// Continues prompts token by token, several at once, with what they share computed once.
package struct Generator {
    private let decoder: Decoder
    private let workspace: Workspace

    package init(_ decoder: Decoder, in workspace: Workspace) {
        self.decoder = decoder
        self.workspace = workspace
    }

    /// The continuation of each prompt, without the stop token that ended it.
    ///
    /// - Parameters:
    ///   - prompts: none empty, ids below the vocabulary.
    ///   - maximumTokens: of each continuation, which also ends where the model's positions do.
    ///   - stopTokens: end a continuation.
    ///   - receive: gets each token as it comes, with the index of its prompt; false ends that continuation.
    package func generate(
        _ prompts: [[Int32]], maximumTokens: Int, stopTokens: Set<Int32>, sampling: Sampling = .greedy,
        receive: (Int, Int32) -> Bool = { _, _ in true }
    ) -> [[Int32]] {
        guard maximumTokens > 0, !prompts.isEmpty else { return prompts.map { _ in [] } }
        var done: [[Int32]] = prompts.map { _ in [] }
        var (sequences, cache, logits) = start(prompts.indices.map { ($0, prompts[$0]) }, done, maximumTokens)
        let spec = decoder.spec
        while true {
            var active: [Sequence] = []
            for (row, sequence) in sequences.enumerated() {
                let values = UnsafeBufferPointer(start: logits.pointer + row * spec.vocabulary, count: spec.vocabulary)
                let count = done[sequence.index].count
                let token = sampling.choose(values, sequence: sequence.index, index: count)
                if stopTokens.contains(token) { continue }
                done[sequence.index].append(token)
                let goesOn = receive(sequence.index, token)
                let hasRoom = spec.positionLimit.map { sequence.length < $0 } ?? true
                if goesOn, hasRoom, count + 1 < maximumTokens { active.append(sequence) }
            }
            guard !active.isEmpty else { return done }
            if active.contains(where: { spec.rotationDiffers($0.length, $0.length + 1) }) {
                // The keys in the cache were rotated as those of a shorter text.
                let texts = active.map { ($0.index, prompts[$0.index] + done[$0.index]) }
                (sequences, cache, logits) = start(texts, done, maximumTokens)
            } else {
                logits = decode(&active, done, cache)
                sequences = active
            }
        }
    }

    /// Reads `texts`, each with the index of its prompt, into a cache with room for what is still to come.
    private func start(
        _ texts: [(index: Int, tokens: [Int32])], _ done: [[Int32]], _ maximumTokens: Int
    ) -> (sequences: [Sequence], cache: KeyValueCache, logits: Tensor) {
        let batch = decoder.spec.pack(
            texts.map { Example(tokens: $0.tokens, weights: Array(repeating: 0, count: $0.tokens.count)) },
            sharingPrefixes: true)
        var next = batch.tokens.count
        let sequences = texts.enumerated().map { row, text in
            let start = next
            next += maximumTokens - done[text.index].count
            return Sequence(
                index: text.index, promptRuns: batch.runs(ofExample: row), generated: start..<start,
                length: text.tokens.count)
        }
        let cache = KeyValueCache(spec: decoder.spec, capacity: next, workspace: workspace)
        return (sequences, cache, prefill(batch, cache))
    }

    /// The logits after a prompt, read at once, and after each of the tokens that follow it, read one by one through
    /// the cache: [1 + following, V].
    ///
    /// Keys keep the rotation that they had when they were read, even where a longer text has another.
    ///
    /// - Parameter prompt: not empty, ids below the vocabulary.
    package func logits(after prompt: [Int32], then following: [Int32]) -> Tensor {
        var (sequences, cache, logits) = start([(0, prompt)], [[]], following.count)
        let vocabulary = decoder.spec.vocabulary
        return Tensor(Shape(1 + following.count, vocabulary), in: workspace) { out in
            for (index, token) in following.enumerated() {
                (out + index * vocabulary).update(from: logits.pointer, count: vocabulary)
                logits = decode(&sequences, [[token]], cache)
            }
            (out + following.count * vocabulary).update(from: logits.pointer, count: vocabulary)
        }
    }

    /// One sequence on its way: where its keys stand in the cache, and what it has said.
    private struct Sequence {
        let index: Int
        let promptRuns: [Range<Int>]
        /// Rows of the cache for what is generated.
        var generated: Range<Int>
        /// Tokens whose keys are in the cache.
        var length: Int
    }

    /// Reads the prompts and returns the logits after each: [prompts, V].
    private func prefill(_ batch: PackedBatch, _ cache: KeyValueCache) -> Tensor {
        let tape = Tape(workspace, recording: false)
        let context = ForwardContext(
            batch: batch, spec: decoder.spec, workspace: workspace, dropoutKey: nil, cache: cache)
        let h = decoder.backbone.states(of: batch.tokens, context, on: tape)
        return decoder.logits(decoder.backbone.finished(gatherRows(h, batch.lastTokens)))
    }

    /// Feeds each sequence the last token that it has said and returns the logits after it: [active, V].
    private func decode(_ active: inout [Sequence], _ done: [[Int32]], _ cache: KeyValueCache) -> Tensor {
        var (tokens, positions, rows): ([Int32], [Int32], [Int]) = ([], [], [])
        for index in active.indices {
            let row = active[index].generated.upperBound
            active[index].generated = active[index].generated.lowerBound..<row + 1
            tokens += done[active[index].index].suffix(1)
            positions.append(Int32(active[index].length))
            active[index].length += 1
            rows.append(row)
        }
        let plan = AttentionPlan(
            decoding: active.map { .init(runs: $0.promptRuns + [$0.generated], newCount: 1) })
        let tape = Tape(workspace, recording: false)
        let context = ForwardContext(
            plan: plan, positions: positions, cache: cache, cacheRows: rows, spec: decoder.spec, workspace: workspace)
        return decoder.logits(decoder.backbone.finished(decoder.backbone.states(of: tokens, context, on: tape)))
    }
}

extension PackedBatch {
    /// The runs of rows that make up an example, from its beginning.
    fileprivate func runs(ofExample example: Int) -> [Range<Int>] {
        let last = Int(lastTokens[example])
        var segment = segments.firstIndex { $0.range.contains(last) }
        var runs: [Range<Int>] = []
        while let index = segment {
            let range = segments[index].range
            runs.insert(runs.isEmpty ? range.lowerBound..<last + 1 : range, at: 0)
            segment = segments[index].parent
        }
        return runs
    }
}
