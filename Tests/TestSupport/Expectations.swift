package import Testing

/// Expects every element of `actual` within `relative` of the largest magnitude of `expected`, and names the worst.
package func expectClose(
    _ actual: [Float], _ expected: [Double], relative: Double, _ name: String = "",
    sourceLocation: SourceLocation = #_sourceLocation
) {
    guard actual.count == expected.count else {
        Issue.record("\(name): \(actual.count) elements, expected \(expected.count)", sourceLocation: sourceLocation)
        return
    }
    let largest = max(expected.reduce(0) { max($0, abs($1)) }, 1e-30)
    var worst = (index: 0, error: -1.0)
    for (index, (a, e)) in zip(actual, expected).enumerated() {
        let error = abs(Double(a) - e) / largest
        if !(error <= worst.error) { worst = (index, error.isNaN ? .infinity : error) }
    }
    guard worst.error > relative else { return }
    Issue.record(
        "\(name)[\(worst.index)] is \(actual[worst.index]), expected \(expected[worst.index]); error \(worst.error) of \(largest)",
        sourceLocation: sourceLocation)
}

package func expectClose(
    _ actual: [Float], _ expected: [Float], relative: Double, _ name: String = "",
    sourceLocation: SourceLocation = #_sourceLocation
) {
    expectClose(actual, expected.map(Double.init), relative: relative, name, sourceLocation: sourceLocation)
}
