import Glibc

/// The learning rate as a function of the optimiser step: a linear warm-up, then a shape.
package struct LearningRateSchedule: Sendable {
    package enum Shape: String, Sendable, CaseIterable {
        case constant, linear, cosine
    }

    package let peak: Double
    package let shape: Shape
    package let warmupSteps: Int
    package let totalSteps: Int

    package init(peak: Double, shape: Shape, warmupSteps: Int, totalSteps: Int) {
        self.peak = peak
        self.shape = shape
        self.warmupSteps = warmupSteps
        self.totalSteps = totalSteps
    }

    /// The rate of optimiser step `step`, counted from 0: step 0 of a warm-up has rate 0, as in transformers.
    package func rate(at step: Int) -> Double {
        if step < warmupSteps { return peak * Double(step) / Double(max(1, warmupSteps)) }
        let span = Double(max(1, totalSteps - warmupSteps))
        switch shape {
        case .constant: return peak
        case .linear: return peak * max(0, Double(totalSteps - step) / span)
        case .cosine:
            let progress = Double(step - warmupSteps) / span
            return peak * max(0, 0.5 * (1 + cos(.pi * progress)))
        }
    }
}
