/// A text as token ids, with the labels that a model should give it.
package struct LabelledExample: Sendable, Equatable {
    package var tokens: [Int32]
    /// The part of the text that each token belongs to; nil: all to the first.
    package var tokenTypes: [Int32]?
    package var labels: Labels

    package enum Labels: Sendable, Equatable {
        case none
        /// Of the text as a whole.
        case sequence(Int32)
        /// Of each token: a label, or the token that a mask stands for; nil: none is asked for.
        case tokens([Int32?])
    }

    package init(tokens: [Int32], tokenTypes: [Int32]? = nil, labels: Labels = .none) {
        precondition(tokenTypes.map { $0.count == tokens.count } ?? true, "another number of types than of tokens")
        if case .tokens(let labels) = labels {
            precondition(labels.count == tokens.count, "\(labels.count) labels for \(tokens.count) tokens")
        }
        self.tokens = tokens
        self.tokenTypes = tokenTypes
        self.labels = labels
    }
}

extension PackedBatch {
    /// Texts end to end, each a segment, with their labels as predictions of weight 1: at the labelled token, or for a
    /// whole text at its last.
    ///
    /// - Parameter examples: none of them empty.
    package init(labelled examples: [LabelledExample]) {
        let count = examples.reduce(0) { $0 + $1.tokens.count }
        var (tokens, positions, segments): ([Int32], [Int32], [Segment]) = ([], [], [])
        var (indices, targets, owners): ([Int32], [Int32], [Int32]) = ([], [], [])
        tokens.reserveCapacity(count)
        positions.reserveCapacity(count)
        for (index, example) in examples.enumerated() {
            precondition(!example.tokens.isEmpty, "example \(index) of a packed batch has no tokens")
            let start = tokens.count
            segments.append(Segment(start: start, count: example.tokens.count))
            tokens += example.tokens
            positions += (0..<Int32(example.tokens.count))
            let labels: [(at: Int, label: Int32)] =
                switch example.labels {
                case .none: []
                case .sequence(let label): [(example.tokens.count - 1, label)]
                case .tokens(let labels): labels.enumerated().compactMap { at, label in label.map { (at, $0) } }
                }
            for (at, label) in labels {
                indices.append(Int32(start + at))
                targets.append(label)
                owners.append(Int32(index))
            }
        }
        self.tokens = tokens
        self.positions = positions
        self.segments = segments
        let hasTypes = examples.contains { $0.tokenTypes != nil }
        tokenTypes =
            hasTypes ? examples.flatMap { $0.tokenTypes ?? Array(repeating: 0, count: $0.tokens.count) } : nil
        predictionIndices = indices
        predictionTargets = targets
        predictionWeights = Array(repeating: 1, count: targets.count)
        predictionExamples = owners
        lastTokens = segments.map { Int32($0.start + $0.count - 1) }
        rowTokenCount = count
    }
}
