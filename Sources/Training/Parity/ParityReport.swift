package import StrictJSON

/// How far this engine's numbers are from those of another stack, tensor by tensor.
package struct ParityReport: Sendable {
    package struct Comparison: Sendable {
        package let tensor: String
        package let maximumError: Double
        package let maximumReference: Double
        package var relative: Double { maximumReference > 0 ? maximumError / maximumReference : maximumError }
    }

    package private(set) var compared: [Comparison] = []
    package private(set) var notCompared: [(tensor: String, reason: String)] = []
    /// A tensor that should have been compared and could not be.
    private var isIncomplete = false
    package let tolerance: Double

    init(tolerance: Double) { self.tolerance = tolerance }

    /// Something was compared, nothing known was left out, and every error is within the tolerance.
    package var isOK: Bool {
        !compared.isEmpty && !isIncomplete && compared.allSatisfy { $0.relative <= tolerance }
    }

    /// The largest relative error.
    package var worst: Comparison? { compared.max { $0.relative < $1.relative } }

    mutating func compare(_ tensor: String, _ actual: [Float], _ expected: [Float]) {
        guard actual.count == expected.count else {
            isIncomplete = true
            return notCompared.append((tensor, "\(actual.count) elements here, \(expected.count) there"))
        }
        var (error, reference) = (0.0, 0.0)
        for (a, e) in zip(actual, expected) {
            let difference = abs(Double(a) - Double(e))
            error = max(error, difference.isNaN ? .infinity : difference)
            reference = max(reference, abs(Double(e)))
        }
        compared.append(Comparison(tensor: tensor, maximumError: error, maximumReference: reference))
    }

    /// Notes a tensor that has no counterpart here.
    mutating func skip(_ tensor: String, _ reason: String) { notCompared.append((tensor, reason)) }

    /// Notes a known tensor that could not be computed: the report is then not OK.
    mutating func miss(_ tensor: String, _ reason: String) {
        isIncomplete = true
        notCompared.append((tensor, reason))
    }

    package var json: JSONValue {
        .object([
            ("ok", .bool(isOK)), ("tolerance", .number(tolerance)),
            (
                "compared",
                .array(
                    compared.map {
                        .object([
                            ("tensor", .string($0.tensor)), ("max_abs_error", .number($0.maximumError)),
                            ("max_abs_reference", .number($0.maximumReference)), ("relative", .number($0.relative)),
                        ])
                    })
            ),
            (
                "not_compared",
                .array(notCompared.map { .object([("tensor", .string($0.tensor)), ("why", .string($0.reason))]) })
            ),
        ])
    }
}

extension JSONValue {
    fileprivate static func object(_ members: [(String, JSONValue)]) -> JSONValue { .object(JSONObject(members)) }
}
