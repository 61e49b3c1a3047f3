package import Batches

/// Pairs of completions in one packed batch: example 2i is preferred to example 2i + 1. For KTO example 2i is a completion
/// by itself, and 2i + 1 the prompt with another record's completion, for the divergence.
package struct PreferenceBatch: Sendable {
    package let packed: PackedBatch
    /// log p of each example's completion under the reference, in nats; empty where the loss needs none.
    package var reference: [Double]
    /// The index of each example's first completion token; tokens before it count for the likelihood alone.
    package let completionStarts: [Int]
    /// For KTO, of each row: whether its completion is desirable.
    package let isDesirable: [Bool]

    package init(
        _ packed: PackedBatch, reference: [Double], completionStarts: [Int], isDesirable: [Bool] = []
    ) {
        self.isDesirable = isDesirable
        precondition(packed.exampleCount % 2 == 0, "\(packed.exampleCount) examples are no pairs")
        precondition(completionStarts.count == packed.exampleCount, "a completion for each example")
        precondition(reference.isEmpty || reference.count == packed.exampleCount, "a reference for each example")
        (self.packed, self.reference, self.completionStarts) = (packed, reference, completionStarts)
    }

    package var pairCount: Int { packed.exampleCount / 2 }

    /// The predictions that the likelihood of what is preferred counts: all of it, its prompt included.
    package var likelihoodCount: Int { packed.predictionExamples.count { $0 % 2 == 0 } }

    /// Whether a prediction is of a completion's token.
    private func isCompletion(_ prediction: Int) -> Bool {
        let position = Int(packed.positions[Int(packed.predictionIndices[prediction])])
        return position + 1 >= completionStarts[Int(packed.predictionExamples[prediction])]
    }

    /// log p of each example's completion, and its tokens, from −log p of every prediction.
    package func completions(_ losses: [Float]) -> [PreferenceLoss.Completion] {
        var completions = (0..<packed.exampleCount).map { index in
            PreferenceLoss.Completion(policy: 0, reference: reference.isEmpty ? 0 : reference[index], tokens: 0)
        }
        for (prediction, loss) in losses.enumerated() where isCompletion(prediction) {
            let example = Int(packed.predictionExamples[prediction])
            completions[example].policy -= Double(loss)
            completions[example].tokens += 1
        }
        return completions
    }

    /// What the pairs come to: sums over them.
    package struct Outcome: Sendable {
        package var loss = 0.0
        /// Pairs whose chosen completion has the larger reward (with KTO rows whose reward has the right sign), and the rewards β · (log p − log p of the reference).
        package var accurate = 0
        package var chosenReward = 0.0
        package var rejectedReward = 0.0
        /// What each prediction counts: the derivative of the loss by its −log p.
        package var weights: [Float] = []

        package init() {}

        /// Adds the sums of another batch.
        mutating func add(_ other: Outcome) {
            loss += other.loss
            accurate += other.accurate
            chosenReward += other.chosenReward
            rejectedReward += other.rejectedReward
        }
    }

    /// - Parameter likelihoodWeight: what −log p of a token counts in ORPO's likelihood: pairs over tokens of the step.
    package func outcome(_ losses: [Float], _ loss: PreferenceLoss, likelihoodWeight: Double) -> Outcome {
        let completions = completions(losses)
        var outcome = Outcome()
        var slopes = [Double](repeating: 0, count: completions.count)
        if !loss.isOfPairs {
            addUnpaired(completions, loss, to: &outcome, &slopes)
            outcome.weights = weights(losses, slopes)
            return outcome
        }
        for pair in 0..<pairCount {
            let (chosen, rejected) = (completions[2 * pair], completions[2 * pair + 1])
            let value = loss(chosen: chosen, rejected: rejected)
            outcome.loss += value.loss
            (slopes[2 * pair], slopes[2 * pair + 1]) = (value.chosen, value.rejected)
            let rewards = [chosen, rejected].map { completion in
                loss.needsReference
                    ? loss.beta * (completion.policy - completion.reference)
                    : loss.beta * completion.policy / Double(max(1, completion.tokens))
            }
            outcome.chosenReward += rewards[0]
            outcome.rejectedReward += rewards[1]
            if rewards[0] > rewards[1] { outcome.accurate += 1 }
        }
        outcome.weights = weights(losses, slopes)
        guard !loss.needsReference else { return outcome }
        for prediction in losses.indices where packed.predictionExamples[prediction] % 2 == 0 {
            outcome.weights[prediction] += Float(likelihoodWeight)
            outcome.loss += likelihoodWeight * Double(losses[prediction])
        }
        return outcome
    }

    /// −log p falls where log p grows.
    private func weights(_ losses: [Float], _ slopes: [Double]) -> [Float] {
        losses.indices.map { prediction in
            isCompletion(prediction) ? Float(-slopes[Int(packed.predictionExamples[prediction])]) : 0
        }
    }

    /// The divergence is the mean over this batch, as TRL's is over a device's; never below 0.
    private func addUnpaired(
        _ completions: [PreferenceLoss.Completion], _ loss: PreferenceLoss, to outcome: inout Outcome,
        _ slopes: inout [Double]
    ) {
        let others = (0..<pairCount).map { completions[2 * $0 + 1] }
        let divergence = max(
            0, others.reduce(0) { $0 + $1.policy - $1.reference } / Double(max(1, pairCount)))
        for row in 0..<pairCount {
            let completion = completions[2 * row]
            let (value, slope) = loss(completion, isDesirable: isDesirable[row], divergence: divergence)
            outcome.loss += value
            slopes[2 * row] = slope
            let reward = loss.beta * (completion.policy - completion.reference)
            if isDesirable[row] { outcome.chosenReward += reward } else { outcome.rejectedReward += reward }
            if (reward > 0) == isDesirable[row] { outcome.accurate += 1 }
        }
    }
}
