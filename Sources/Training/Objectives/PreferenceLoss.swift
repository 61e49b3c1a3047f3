import Glibc

/// What is to be preferred, and how strongly: losses of log-probabilities of completions.
package enum PreferenceLoss: Sendable, Equatable {
    /// Direct preference optimisation (Rafailov et al. 2023) and its variants, against the base as the reference.
    case dpo(form: DPOForm, beta: Double, labelSmoothing: Double)
    /// Odds ratio beside the likelihood of what is preferred, without a reference (Hong et al. 2024).
    case orpo(beta: Double)
    /// Completions that are each desirable or not, without pairs (Ethayarajh et al. 2024).
    case kto(beta: Double, desirableWeight: Double, undesirableWeight: Double)

    package enum DPOForm: String, Sendable, CaseIterable {
        /// −log σ(β · margin); with label smoothing a share of the pairs is taken for swapped.
        case sigmoid
        /// max(0, 1 − β · margin)
        case hinge
        /// (margin − 1 / 2β)² with log-probabilities per token (Azar et al. 2023).
        case ipo
        /// As `sigmoid`, with log-probabilities per token.
        case sigmoidNorm = "sigmoid-norm"

        var isPerToken: Bool { self == .ipo || self == .sigmoidNorm }
    }

    package var needsReference: Bool { if case .orpo = self { false } else { true } }

    /// Whether a row is a pair of a preferred completion and another, not a completion by itself.
    package var isOfPairs: Bool { if case .kto = self { false } else { true } }

    package var beta: Double {
        switch self {
        case .dpo(_, let beta, _), .orpo(let beta), .kto(let beta, _, _): beta
        }
    }

    /// A completion: its log-probability in nats, that under the reference, and how many tokens it has.
    package struct Completion: Sendable {
        package var policy: Double
        package var reference: Double
        package var tokens: Int

        package init(policy: Double, reference: Double, tokens: Int) {
            (self.policy, self.reference, self.tokens) = (policy, reference, tokens)
        }
    }

    /// A pair's loss and its derivatives by the log-probabilities of the two completions.
    package struct Value: Sendable, Equatable {
        package var loss: Double
        package var chosen: Double
        package var rejected: Double
    }

    /// The loss of one pair; with ORPO without the likelihood.
    package func callAsFunction(chosen: Completion, rejected: Completion) -> Value {
        switch self {
        case .dpo(let form, let beta, let smoothing):
            let (perChosen, perRejected) =
                form.isPerToken ? (1 / Double(max(1, chosen.tokens)), 1 / Double(max(1, rejected.tokens))) : (1, 1)
            let margin =
                (chosen.policy - chosen.reference) * perChosen - (rejected.policy - rejected.reference) * perRejected
            let (loss, slope) = form.value(margin, beta: beta, smoothing: smoothing)
            return Value(loss: loss, chosen: slope * perChosen, rejected: -slope * perRejected)
        case .orpo(let beta):
            let (a, b) = (Self.logOdds(chosen), Self.logOdds(rejected))
            let ratio = a.value - b.value
            let slope = -beta * logistic(-ratio)
            return Value(loss: -beta * logSigmoid(ratio), chosen: slope * a.slope, rejected: -slope * b.slope)
        case .kto: preconditionFailure("KTO has no pairs")
        }
    }

    /// KTO's loss of one completion, and its derivative by the completion's log-probability.
    ///
    /// - Parameter divergence: how far the policy is from the reference, in nats; no gradient flows through it.
    package func callAsFunction(
        _ completion: Completion, isDesirable: Bool, divergence: Double
    ) -> (loss: Double, slope: Double) {
        guard case .kto(let beta, let desirable, let undesirable) = self else {
            preconditionFailure("a completion without its pair")
        }
        let reward = completion.policy - completion.reference
        let (weight, sign) = isDesirable ? (desirable, 1.0) : (undesirable, -1.0)
        let value = logistic(beta * sign * (reward - divergence))
        return (weight * (1 - value), -weight * sign * beta * value * (1 - value))
    }

    /// log p / (1 − p) of the mean log-probability of a token, and its derivative by the sum of them.
    private static func logOdds(_ completion: Completion) -> (value: Double, slope: Double) {
        let count = Double(max(1, completion.tokens))
        let mean = completion.policy / count
        // d/dx (x − log(1 − eˣ)) = 1 / (1 − eˣ)
        let rest = -expm1(mean)
        return (mean - logOneMinusExp(mean), 1 / (rest * count))
    }
}

extension PreferenceLoss.DPOForm {
    /// The loss at a margin between chosen and rejected, and its slope.
    fileprivate func value(_ margin: Double, beta: Double, smoothing: Double) -> (loss: Double, slope: Double) {
        let scaled = beta * margin
        switch self {
        case .sigmoid, .sigmoidNorm:
            return (
                -logSigmoid(scaled) * (1 - smoothing) - logSigmoid(-scaled) * smoothing,
                beta * (smoothing * logistic(scaled) - (1 - smoothing) * logistic(-scaled))
            )
        case .hinge: return scaled < 1 ? (1 - scaled, -beta) : (0, 0)
        case .ipo:
            let difference = margin - 1 / (2 * beta)
            return (difference * difference, 2 * difference)
        }
    }
}

/// log(1 − eˣ) for x < 0, exact at both ends (Mächler 2012).
package func logOneMinusExp(_ x: Double) -> Double {
    x > -0.6931471805599453 ? log(-expm1(x)) : log1p(-exp(x))
}

func logistic(_ x: Double) -> Double { x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x)) }

func logSigmoid(_ x: Double) -> Double { min(x, 0) - log1p(exp(-abs(x))) }
