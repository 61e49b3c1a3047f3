import Diagnostics
package import StrictJSON

/// The metrics of an evaluation, for people and for programs.
package struct EvaluationReport: Sendable, Equatable {
    package var rows: Int
    package var metrics: [MetricResult]

    package init(rows: Int, metrics: [MetricResult]) {
        self.rows = rows
        self.metrics = metrics
    }

    /// `{"rows": n, "metrics": [{"name": ..., "base": {"value", "low", "high"}, "adapted": ...}]}`; systems that were
    /// not run are left out.
    package var json: JSONValue {
        let results = metrics.map { metric in
            var object: JSONObject = ["name": .string(metric.name)]
            for column in Column.allCases { object[column.key] = column.estimate(metric)?.json }
            return JSONValue.object(object)
        }
        return .object(["rows": .integer(rows), "metrics": .array(results)])
    }

    /// A table with a line for each metric and system: value and 95 % interval.
    package var text: String {
        var lines: [[String]] = [["metric", "system", "value", "95 % interval"]]
        for metric in metrics {
            var name = escaped(metric.name)
            for column in Column.allCases {
                guard let estimate = column.estimate(metric) else { continue }
                let isGain = column == .difference
                lines.append([
                    name, column.title,
                    shown(estimate.value, metric.isShare, signed: isGain),
                    shown(estimate.low, metric.isShare, signed: isGain) + " to "
                        + shown(estimate.high, metric.isShare, signed: isGain),
                ])
                name = ""
            }
        }
        let widths = (0..<4).map { column in lines.map { $0[column].count }.max() ?? 0 }
        let table = lines.map { line in
            let cells = line.enumerated().map { column, cell in
                let space = String(repeating: " ", count: widths[column] - cell.count)
                // Numbers stand flush right, names flush left.
                return column >= 2 ? space + cell : cell + space
            }
            return cells.joined(separator: "  ")
        }
        return (table + ["\(rows) rows"]).map(withoutTrailingSpace).joined(separator: "\n")
    }

    private enum Column: CaseIterable {
        case base, adapted, difference, naiveBayes

        var key: String {
            switch self {
            case .base: "base"
            case .adapted: "adapted"
            case .difference: "difference"
            case .naiveBayes: "naive_bayes"
            }
        }

        var title: String {
            switch self {
            case .base: "base"
            case .adapted: "adapted"
            case .difference: "adapted - base"
            case .naiveBayes: "naive Bayes"
            }
        }

        func estimate(_ metric: MetricResult) -> Estimate? {
            switch self {
            case .base: metric.base
            case .adapted: metric.adapted
            case .difference: metric.difference
            case .naiveBayes: metric.naiveBayes
            }
        }
    }
}

/// A share in per cent with one digit, or a number with four.
private func shown(_ value: Double, _ isShare: Bool, signed: Bool) -> String {
    guard value.isFinite else { return "\(value)" }
    let digits = isShare ? 1 : 4
    let scale = isShare ? 1000.0 : 10_000.0
    let whole = Int(min(max((value * scale).rounded(), -9e15), 9e15))
    let unit = isShare ? 10 : 10_000
    let fraction = String(abs(whole) % unit)
    let padded = String(repeating: "0", count: digits - fraction.count) + fraction
    let sign = whole < 0 ? "-" : signed && whole > 0 ? "+" : ""
    return sign + String(abs(whole) / unit) + "." + padded + (isShare ? " %" : "")
}

private func withoutTrailingSpace(_ line: String) -> String {
    String(line[..<(line.lastIndex { $0 != " " }.map(line.index(after:)) ?? line.startIndex)])
}
