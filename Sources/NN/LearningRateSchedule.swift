import Glibc

/// The learning rate as a function of the optimiser step: a linear warm-up, then a shape.
package struct LearningRateSchedule: Sendable {
    package enum Shape: String, Sendable, CaseIterable {
        case constant, linear, cosine
        /// Constant until the last steps, which fall (Hu et al. 2024).
        case warmupStableDecay = "warmup-stable-decay"
    }

    /// How the last steps of `warmupStableDecay` fall.
    package enum Decay: String, Sendable, CaseIterable {
        case cosine, linear
        /// 1 − √progress
        case squareRoot = "1-sqrt"
    }

    package let peak: Double
    package let shape: Shape
    package let warmupSteps: Int
    package let totalSteps: Int
    /// The rate that `cosine` and `warmupStableDecay` fall to.
    package let minimum: Double
    /// The steps in which `warmupStableDecay` falls.
    package let decaySteps: Int
    package let decay: Decay

    /// - Parameter decaySteps: a tenth of all steps if left out.
    package init(
        peak: Double, shape: Shape, warmupSteps: Int, totalSteps: Int, minimum: Double = 0, decaySteps: Int? = nil,
        decay: Decay = .cosine
    ) {
        self.peak = peak
        self.shape = shape
        self.warmupSteps = warmupSteps
        self.totalSteps = totalSteps
        self.minimum = minimum
        self.decaySteps = decaySteps ?? max(1, totalSteps / 10)
        self.decay = decay
    }

    /// The rate of optimiser step `step`, counted from 0: step 0 of a warm-up has rate 0, as in transformers.
    package func rate(at step: Int) -> Double {
        let floor = peak > 0 ? minimum / peak : 0
        if step < warmupSteps {
            let factor = Double(step) / Double(max(1, warmupSteps))
            return peak * (shape == .warmupStableDecay ? factor * (1 - floor) + floor : factor)
        }
        let span = Double(max(1, totalSteps - warmupSteps))
        switch shape {
        case .constant: return peak
        case .linear: return peak * max(0, Double(totalSteps - step) / span)
        case .cosine:
            let progress = Double(step - warmupSteps) / span
            return peak * (max(0, 0.5 * (1 + cos(.pi * progress))) * (1 - floor) + floor)
        case .warmupStableDecay:
            let start = totalSteps - decaySteps
            guard step >= start else { return peak }
            guard step < totalSteps else { return minimum }
            return peak * (falling(Double(step - start) / Double(max(1, decaySteps))) * (1 - floor) + floor)
        }
    }

    private func falling(_ progress: Double) -> Double {
        switch decay {
        case .cosine: 0.5 * (1 + cos(.pi * progress))
        case .linear: 1 - progress
        case .squareRoot: 1 - progress.squareRoot()
        }
    }
}
