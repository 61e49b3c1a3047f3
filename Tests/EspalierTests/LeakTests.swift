import Foundation
import StrictJSON
import TestSupport
import Testing

/// What is held out is not trained on: by a split of one file, or by refusing what is.
@Suite struct LeakTests {
    private static let records =
        "patient,text,category\n"
        + (0..<60).map { "p\($0 % 20),Message number \($0) of many,\($0 % 2 == 0 ? "even" : "odd")" }
        .joined(separator: "\n")

    private func expect(
        _ recipe: TinyRecipe, _ settings: [String], rows: Int?, sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        let outcome = try CommandLine.run(
            ["evaluate", recipe.path, "--json"] + settings.flatMap { ["--set", $0] })
        if let rows {
            #expect(outcome.status == 0, "\(outcome.errors)", sourceLocation: sourceLocation)
            #expect(outcome.json?["rows"]?.integer == rows, "\(outcome.output)", sourceLocation: sourceLocation)
        } else {
            #expect(outcome.status == 65, sourceLocation: sourceLocation)
            #expect(
                outcome.errors.contains("error[E-DATA-LEAK]"), "\(outcome.errors)", sourceLocation: sourceLocation)
            #expect(!outcome.errors.contains("Message"), sourceLocation: sourceLocation)
        }
    }

    @Test func rowsThatAreTrainedOnAreRefusedDroppedOrAllowed() throws {
        let recipe = try TinyRecipe()
        #expect(try CommandLine.run(["train", recipe.path]).status == 0)
        let held = "text,category\nWHERE is my card?!,card_arrival\nSomething else,topping_up\n"
        _ = try recipe.folder.write(held, to: "held.csv")
        try expect(recipe, ["evaluate.data=held.csv", "evaluate.leaks=refuse"], rows: nil)
        try expect(recipe, ["evaluate.data=held.csv", "evaluate.leaks=drop"], rows: 1)
        try expect(recipe, ["evaluate.data=held.csv", "evaluate.leaks=allow"], rows: 2)
        // So is a loss that is looked at during training.
        let training = try CommandLine.run([
            "train", recipe.path, "--out", recipe.folder.path("again"), "--set", "evaluate.leaks=refuse", "--set",
            "train.evaluate_every=1",
        ])
        #expect(training.status == 65 && training.errors.contains("E-DATA-LEAK"), "\(training.errors)")
    }

    @Test func aSplitHoldsOutWholeGroupsOfOneFile() throws {
        let recipe = try TinyRecipe(
            records: Self.records, data: "  split: { by: patient, holdout: 0.3 }")
        let settings = ["--set", "evaluate.leaks=refuse"]
        let trained = try CommandLine.run(["train", recipe.path] + settings)
        #expect(trained.status == 0, "\(trained.errors)")
        let run = try JSONValue(
            parsing: String(contentsOfFile: recipe.folder.path("run/run.json"), encoding: .utf8))
        let count = try #require(run["ledger"]?["rows"]?.integer)
        // Three records a patient.
        #expect(count % 3 == 0 && (24..<60).contains(count))
        // The training file in the evaluation section means what the split holds out of it.
        try expect(recipe, ["evaluate.leaks=refuse"], rows: 60 - count)
        let text = try String(contentsOfFile: recipe.path, encoding: .utf8)
        _ = try recipe.folder.write(text.replacing("{ data: train.csv, metric", with: "{ metric"), to: "recipe.yaml")
        try expect(recipe, ["evaluate.leaks=refuse"], rows: 60 - count)
        #expect(try CommandLine.run(["replay", recipe.folder.path("run")]).status == 0)
    }
}
