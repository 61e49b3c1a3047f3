import Evaluation
import StrictJSON
import Testing

@Suite struct EvaluationReportTests {
    private let report = EvaluationReport(
        rows: 200,
        metrics: [
            MetricResult(
                name: "exact-match", isShare: true, base: Estimate(value: 0.05, low: 0.0281, high: 0.09),
                adapted: Estimate(value: 0.935, low: 0.8919, high: 0.9617),
                difference: Estimate(value: 0.885, low: -0.0004, high: 1),
                naiveBayes: Estimate(value: 1, low: 0.98, high: 1)),
            MetricResult(name: "loss", isShare: false, base: Estimate(value: 2.34567, low: -0.00001, high: .infinity)),
        ])

    @Test func theTableGivesValuesAndIntervals() {
        #expect(
            report.text == """
                metric       system            value      95 % interval
                exact-match  base              5.0 %     2.8 % to 9.0 %
                             adapted          93.5 %   89.2 % to 96.2 %
                             adapted - base  +88.5 %  0.0 % to +100.0 %
                             naive Bayes     100.0 %  98.0 % to 100.0 %
                loss         base             2.3457      0.0000 to inf
                200 rows
                """)
    }

    @Test func theDocumentHasTheKeysThatProgramsReadBack() throws {
        let json = try JSONValue(parsing: report.json.serialized())
        #expect(json["rows"]?.integer == 200)
        let metrics = try #require(json["metrics"]?.array)
        #expect(metrics.map { $0["name"]?.string } == ["exact-match", "loss"])
        #expect(metrics[0].object?.keys == ["name", "base", "adapted", "difference", "naive_bayes"])
        #expect(metrics[0]["adapted"]?.object?.keys == ["value", "low", "high"])
        #expect(metrics[0]["adapted"]?["low"]?.number == 0.8919 && metrics[1].object?.keys == ["name", "base"])
    }
}
