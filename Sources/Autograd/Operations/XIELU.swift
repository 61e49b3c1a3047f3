import CKernels
import Glibc

/// The learned shape of an xIELU.
package struct XIELU {
    /// [1] each; their softplus is what counts.
    package let positive: Parameter
    package let negative: Parameter
    package let beta: Float
    package let epsilon: Float

    package init(positive: Parameter, negative: Parameter, beta: Float = 0.5, epsilon: Float = -1e-6) {
        self.positive = positive
        self.negative = negative
        self.beta = beta
        self.epsilon = epsilon
    }
}

/// y = a·x² + beta·x for x > 0, else b·(exp(min(x, epsilon)) - 1 - x) + beta·x, where a = softplus(positive) and
/// b = beta + softplus(negative), element by element.
///
/// Source: Huang, Schlag 2024, "Deriving activation functions using integration".
package func xielu(_ x: Variable, _ shape: XIELU) -> Variable {
    let workspace = x.tape.workspace
    let count = x.value.shape.count
    func raw(_ parameter: Parameter) -> Double { Double(parameter.asFloats(in: workspace)[0]) }
    let (positive, negative) = (raw(shape.positive), raw(shape.negative))
    let factors = ek_xielu(
        alpha_p: Float(softplus(positive)), alpha_n: Float(Double(shape.beta) + softplus(negative)), beta: shape.beta,
        epsilon: shape.epsilon)
    let y = Tensor(x.value.shape, in: workspace) { y in
        workspace.threads.forEachRange(count, grain: elementGrain) { range, _ in
            let start = range.lowerBound
            workspace.kernels.xielu_forward(y + start, x.value.pointer + start, range.count, factors)
        }
    }
    let (savedX, slot) = (x.value, x.slot)
    return x.tape.record(y, from: x, parameters: [shape.positive, shape.negative]) { dy, adjoints in
        adjoints.add(to: slot) { dx, accumulate in
            workspace.threads.forEachRange(count, grain: elementGrain) { range, _ in
                let start = range.lowerBound
                workspace.kernels.xielu_backward(
                    dx + start, dy.pointer + start, savedX.pointer + start, range.count, factors, accumulate ? 1 : 0)
            }
        }
        guard shape.positive.isTrainable || shape.negative.isTrainable else { return }
        var sums = [0.0, 0.0]
        workspace.kernels.xielu_backward_alphas(&sums, dy.pointer, savedX.pointer, count, factors)
        for (parameter, gradient) in [
            (shape.positive, sums[0] * sigmoid(positive)), (shape.negative, sums[1] * sigmoid(negative)),
        ] {
            parameter.accumulateGradient(in: workspace) { total, accumulate in
                total[0] = (accumulate ? total[0] : 0) + Float(gradient)
            }
        }
    }
}

private func softplus(_ x: Double) -> Double { max(x, 0) + log1p(exp(-abs(x))) }
private func sigmoid(_ x: Double) -> Double { 1 / (1 + exp(-x)) }
