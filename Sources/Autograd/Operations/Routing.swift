import Glibc

/// How a mixture of experts chooses experts for a token, and what their outputs weigh.
package struct RoutingSettings: Sendable {
    package enum Scores: Sendable {
        case softmax
        case sigmoid
    }

    /// Experts compete in groups first: only those of the best groups can be chosen.
    package struct Groups: Sendable {
        package var count: Int
        package var chosen: Int
        /// The sum of a group's two best scores decides, instead of the best one.
        package var countsTopTwo: Bool

        package init(count: Int, chosen: Int, countsTopTwo: Bool) {
            self.count = count
            self.chosen = chosen
            self.countsTopTwo = countsTopTwo
        }
    }

    package var perToken: Int
    package var scores: Scores
    package var groups: Groups?
    /// The weights of a token's experts are divided by their sum.
    package var normalizes: Bool
    package var scale: Float

    package init(perToken: Int, scores: Scores, groups: Groups? = nil, normalizes: Bool, scale: Float = 1) {
        self.perToken = perToken
        self.scores = scores
        self.groups = groups
        self.normalizes = normalizes
        self.scale = scale
    }
}

/// The experts of every token.
package struct Routing {
    /// [T, perToken]
    package let weights: Variable
    /// The expert of each of the weights, T · perToken of them.
    package let experts: [Int32]
}

/// Chooses `perToken` experts for each row of `logits` [T, E] by their scores, among equals the first.
///
/// - Parameter correction: added to the scores for the choice only, [E] (Wang et al. 2024, balancing without a loss).
package func route(_ logits: Variable, correction: [Float]? = nil, _ settings: RoutingSettings) -> Routing {
    let workspace = logits.tape.workspace
    let (rows, count, chosen) = (logits.value.shape[0], logits.value.shape[1], settings.perToken)
    precondition(chosen <= count, "\(chosen) of \(count) experts")
    precondition(correction.map { $0.count == count } ?? true, "a correction for other experts")
    var experts = [Int32](repeating: 0, count: rows * chosen)
    var scores = Tensor(Shape(rows, count), in: workspace) { _ in }  // written with the weights, row by row
    let weights = Tensor(Shape(rows, chosen), in: workspace) { weights in
        experts.withUnsafeMutableBufferPointer { experts in
            let experts = experts.baseAddress!
            scores.update(in: workspace) { scores in
                workspace.threads.forEachRange(rows, grain: rowGrain(width: count)) { range, _ in
                    for row in range {
                        let own = UnsafeMutableBufferPointer(start: scores + row * count, count: count)
                        settings.fillScores(own, from: logits.value.pointer + row * count)
                        settings.choose(
                            own, correction, experts: experts + row * chosen, weights: weights + row * chosen)
                    }
                }
            }
        }
    }
    let (slot, savedScores, savedExperts) = (logits.slot, scores, experts)
    let variable = logits.tape.record(weights, from: logits) { dweights, adjoints in
        adjoints.add(to: slot) { dlogits, accumulate in
            if !accumulate { dlogits.update(repeating: 0, count: rows * count) }
            for row in 0..<rows {
                settings.addGradient(
                    dweights: dweights.pointer + row * chosen, scores: savedScores.pointer + row * count,
                    experts: savedExperts[row * chosen..<(row + 1) * chosen], into: dlogits + row * count,
                    count: count)
            }
        }
    }
    return Routing(weights: variable, experts: experts)
}

extension RoutingSettings {
    fileprivate func fillScores(_ scores: UnsafeMutableBufferPointer<Float>, from logits: UnsafePointer<Float>) {
        switch self.scores {
        case .sigmoid:
            for index in scores.indices { scores[index] = 1 / (1 + exp(-logits[index])) }
        case .softmax:
            var top = -Float.infinity
            for index in scores.indices { top = max(top, logits[index]) }
            var sum: Float = 0
            for index in scores.indices {
                scores[index] = exp(logits[index] - top)
                sum += scores[index]
            }
            for index in scores.indices { scores[index] /= sum }
        }
    }

    fileprivate func choose(
        _ scores: UnsafeMutableBufferPointer<Float>, _ correction: [Float]?, experts: UnsafeMutablePointer<Int32>,
        weights: UnsafeMutablePointer<Float>
    ) {
        var choice = correction.map { zip(scores, $0).map { $0 + $1 } } ?? Array(scores)
        if let groups {
            let size = choice.count / groups.count
            let merits = (0..<groups.count).map { group -> Float in
                let best = choice[group * size..<(group + 1) * size].sorted(by: >)
                return groups.countsTopTwo ? best[0] + best[1] : best[0]
            }
            let open = Self.largest(groups.chosen, of: merits)
            for group in 0..<groups.count where !open.contains(group) {
                for index in group * size..<(group + 1) * size { choice[index] = -.infinity }
            }
        }
        var sum: Float = 0
        for (place, expert) in Self.largest(perToken, of: choice).enumerated() {
            experts[place] = Int32(expert)
            weights[place] = scores[expert]
            sum += scores[expert]
        }
        let factor = normalizes ? scale / (sum + Self.leastSum) : scale
        for place in 0..<perToken { weights[place] *= factor }
    }

    /// Keeps the division defined where every score has vanished.
    private static let leastSum: Float = 1e-20

    /// The places of the `count` largest values, the first among equals, largest first.
    private static func largest(_ count: Int, of values: [Float]) -> [Int] {
        var left = values
        return (0..<count).map { _ in
            var best = left.startIndex
            for index in left.indices where left[index] > left[best] || left[best].isNaN { best = index }
            left[best] = .nan
            return best
        }
    }

    /// dlogits += the gradient through weights, scores and their normalisation; the choice itself has none.
    fileprivate func addGradient(
        dweights: UnsafePointer<Float>, scores: UnsafePointer<Float>, experts: ArraySlice<Int32>,
        into dlogits: UnsafeMutablePointer<Float>, count: Int
    ) {
        let chosen = experts.map { Double(scores[Int($0)]) }
        let dw = (0..<chosen.count).map { Double(dweights[$0]) * Double(scale) }
        var dscores = dw
        if normalizes {
            let sum = chosen.reduce(Double(Self.leastSum), +)
            let pull = zip(dw, chosen).reduce(0) { $0 + $1.0 * $1.1 } / (sum * sum)
            dscores = dw.map { $0 / sum - pull }
        }
        switch self.scores {
        case .sigmoid:
            for ((expert, score), d) in zip(zip(experts, chosen), dscores) {
                dlogits[Int(expert)] += Float(d * score * (1 - score))
            }
        case .softmax:
            let inner = zip(dscores, chosen).reduce(0) { $0 + $1.0 * $1.1 }
            for index in 0..<count { dlogits[index] -= Float(inner * Double(scores[index])) }
            for ((expert, score), d) in zip(zip(experts, chosen), dscores) { dlogits[Int(expert)] += Float(d * score) }
        }
    }
}
