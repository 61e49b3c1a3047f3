package import Batches

/// Pairs of completions in one packed batch: example 2i is preferred to example 2i + 1.
package struct PreferenceBatch: Sendable {
    package let packed: PackedBatch
    /// log p of each example's completion under the reference, in nats; empty where the loss needs none.
    package var reference: [Double]
    /// The index of each example's first completion token; tokens before it count for the likelihood alone.
    package let completionStarts: [Int]

    package init(_ packed: PackedBatch, reference: [Double], completionStarts: [Int]) {
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
        /// Pairs whose chosen completion has the larger reward, and the rewards β · (log p − log p of the reference).
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
        outcome.weights = losses.indices.map { prediction in
            let example = Int(packed.predictionExamples[prediction])
            // −log p falls where log p grows.
            var weight = isCompletion(prediction) ? -slopes[example] : 0
            if !loss.needsReference, example % 2 == 0 {
                weight += likelihoodWeight
                outcome.loss += likelihoodWeight * Double(losses[prediction])
            }
            return Float(weight)
        }
        return outcome
    }
}
