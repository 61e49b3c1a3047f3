import StrictJSON

/// Looks whether a run's loss goes where a loss should go, over windows of 50 steps.
struct LossWatchdog {
    private static let window = 50
    /// Of the window that is being filled.
    private var sum = 0.0
    private var count = 0
    /// The means of the first full window and of the lowest one.
    private var first: Double?
    private var lowest: Double?

    struct Reason {
        let found: String
        let expected: String
        let fix: String
    }

    init() {}

    init(_ state: JSONValue?) {
        sum = state?["sum"]?.number ?? 0
        count = state?["count"]?.integer ?? 0
        first = state?["first"]?.number
        lowest = state?["lowest"]?.number
    }

    var json: JSONValue {
        .object([
            "sum": .number(sum), "count": .integer(count), "first": first.map(JSONValue.number) ?? .null,
            "lowest": lowest.map(JSONValue.number) ?? .null,
        ])
    }

    /// Takes the loss of a step.
    ///
    /// - Parameter warmup: steps that are not looked at.
    /// - Returns: what is wrong: a window more than twice as high as the lowest one and half a nat above it, or a second
    ///   window that is not a ten-thousandth away from the first.
    mutating func look(at loss: Double, step: Int, after warmup: Int) -> Reason? {
        guard step > warmup else { return nil }
        (sum, count) = (sum + loss, count + 1)
        guard count == Self.window else { return nil }
        let mean = sum / Double(count)
        (sum, count) = (0, 0)
        defer { lowest = min(mean, lowest ?? mean) }
        guard let first, let lowest else {
            first = mean
            return nil
        }
        if mean > 2 * lowest, mean > lowest + 0.5 {
            return Reason(
                found: "a loss that grew from \(short(lowest)) to \(short(mean)), each over \(Self.window) steps",
                expected: "one that falls", fix: "Lower train.learning_rate or lengthen train.warmup_steps")
        }
        if step <= warmup + 2 * Self.window, abs(mean - first) < 1e-4 * abs(first) {
            return Reason(
                found: "a loss of \(short(first)) that has not moved in \(2 * Self.window) steps",
                expected: "one that falls",
                fix: "Raise train.learning_rate, or look with preview whether what is learned is what was meant")
        }
        return nil
    }

    private func short(_ value: Double) -> String { String((value * 10_000).rounded() / 10_000) }
}
