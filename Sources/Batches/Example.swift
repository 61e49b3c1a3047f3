/// One training record as token ids, with a weight for every token as a target.
///
/// `weights[i]` says how much predicting `tokens[i]` from the tokens before it counts; 0 leaves it out. The first
/// weight has no prediction and must be 0. Nothing else in the program carries a mask.
package struct Example: Sendable, Equatable {
    package var tokens: [Int32]
    package var weights: [Float]

    package init(tokens: [Int32], weights: [Float]) {
        precondition(tokens.count == weights.count, "\(tokens.count) tokens with \(weights.count) weights")
        self.tokens = tokens
        self.weights = weights
    }

    /// The number of tokens that count as targets.
    package var targetCount: Int { weights.count { $0 != 0 } }
}
