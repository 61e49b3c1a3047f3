package import Autograd
import CKernels
import Glibc

/// AdamW (Loshchilov, Hutter 2019) as PyTorch computes it, with the gradient's norm clipped first.
package struct AdamW {
    package var beta1: Double
    package var beta2: Double
    package var epsilon: Double
    package var weightDecay: Double
    /// What sets a parameter apart from the others.
    package struct Group: Sendable, Equatable {
        /// Its learning rate is the schedule's times this.
        package var rateFactor: Double
        /// Whether it decays.
        package var decays: Bool

        package init(rateFactor: Double = 1, decays: Bool = true) {
            (self.rateFactor, self.decays) = (rateFactor, decays)
        }
    }

    /// The group of each parameter, in their order; empty: all are alike.
    package var groups: [Group] = []
    /// Gradients longer than this are shortened to it; nil: never.
    package var maximumNorm: Float?

    /// Steps taken so far.
    package private(set) var stepCount = 0
    /// The moments of each parameter, in the order of the parameters; empty before the first step.
    package private(set) var firstMoments: [Tensor] = []
    package private(set) var secondMoments: [Tensor] = []

    package init(
        beta1: Double = 0.9, beta2: Double = 0.999, epsilon: Double = 1e-8, weightDecay: Double = 0,
        maximumNorm: Float? = 1
    ) {
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.weightDecay = weightDecay
        self.maximumNorm = maximumNorm
    }

    /// Updates `parameters` from `scale` times their gradients and clears these.
    ///
    /// The parameters must be the same ones, in the same order, at every step.
    /// - Returns: the norm of the scaled gradient before clipping.
    package mutating func step(
        _ parameters: [Parameter], scale: Float, learningRate: Double, in workspace: Workspace
    ) -> Float {
        if firstMoments.isEmpty {
            firstMoments = parameters.map { Tensor(zeros: $0.shape, in: workspace) }
            secondMoments = parameters.map { Tensor(zeros: $0.shape, in: workspace) }
        }
        precondition(firstMoments.count == parameters.count, "the moments belong to other parameters")
        stepCount += 1
        let norm = scale * gradientNorm(parameters, in: workspace)
        // As torch.nn.utils.clip_grad_norm_ does it, its 1e-6 included.
        let clip = maximumNorm.map { min(1, $0 / (norm + 1e-6)) } ?? 1
        precondition(groups.isEmpty || groups.count == parameters.count, "the groups belong to other parameters")
        for (index, parameter) in parameters.enumerated() {
            let count = parameter.shape.count
            let factors = factors(groups.isEmpty ? Group() : groups[index], learningRate: learningRate)
            parameter.update(in: workspace) { value, gradient in
                firstMoments[index].update(in: workspace) { first in
                    secondMoments[index].update(in: workspace) { second in
                        workspace.threads.forEachRange(count, grain: 16_384) { range, _ in
                            let start = range.lowerBound
                            workspace.kernels.adamw(
                                value + start, gradient + start, first + start, second + start, range.count,
                                scale * clip, factors)
                        }
                    }
                }
            }
            parameter.clearGradient()
        }
        return norm
    }

    private func factors(_ group: Group, learningRate: Double) -> ek_adamw_factors {
        let rate = learningRate * group.rateFactor
        return ek_adamw_factors(
            keep: Float(1 - (group.decays ? rate * weightDecay : 0)),
            step: Float(rate / (1 - pow(beta1, Double(stepCount)))), first_rate: Float(1 - beta1),
            second_keep: Float(beta2), second_rate: Float(1 - beta2),
            second_root: Float((1 - pow(beta2, Double(stepCount))).squareRoot()), epsilon: Float(epsilon))
    }

    /// Puts back the state of a run after `stepCount` steps.
    package mutating func restore(stepCount: Int, firstMoments: [Tensor], secondMoments: [Tensor]) {
        self.stepCount = stepCount
        self.firstMoments = firstMoments
        self.secondMoments = secondMoments
    }
}

/// The Euclidean norm of all gradients together; the order of the sum is fixed.
package func gradientNorm(_ parameters: [Parameter], in workspace: Workspace) -> Float {
    var sums = [Double](repeating: 0, count: parameters.count)
    sums.withUnsafeMutableBufferPointer { sums in
        workspace.threads.forEach(parameters.count) { index, _ in
            guard let gradient = parameters[index].gradient else { return }
            sums[index] = workspace.kernels.squared_norm(gradient.pointer, gradient.shape.count)
        }
    }
    return Float(sums.reduce(0, +).squareRoot())
}
