import Foundation
import Formats
import StrictJSON
import TestSupport
import Testing

/// What ends a run before its last step, which state it leaves behind, and how fast parts of the adapter learn.
@Suite struct TrainingControlTests {
    private let recipe: TinyRecipe

    init() throws { recipe = try TinyRecipe() }

    private func train(_ name: String, _ settings: [String], _ extra: [String] = []) throws -> CommandLine.Outcome {
        try CommandLine.run(
            ["train", recipe.path, "--out", recipe.folder.path(name)] + settings.flatMap { ["--set", $0] } + extra)
    }

    private func record(_ name: String) throws -> JSONValue {
        try JSONValue(parsing: String(contentsOfFile: recipe.folder.path("\(name)/run.json"), encoding: .utf8))
    }

    private func tensors(_ name: String) throws -> WeightSource {
        try SafetensorsFile(recipe.folder.path("\(name)/adapter/adapter_model.safetensors")).source
    }

    /// The held-out rows are those that are trained on, so the loss falls until the rate is far too high.
    private static let overshooting = [
        "train.epochs=40", "train.learning_rate=0.3", "train.schedule=constant", "train.evaluate_every=2",
        "train.watchdog=false",
    ]

    @Test func trainingEndsWhenTheHeldOutLossDoesAndTheBestIsKept() throws {
        let outcome = try train("run", Self.overshooting + ["train.patience=3", "train.keep=best"])
        #expect(outcome.status == 0 && outcome.errors.contains("training ends here"), "\(outcome.errors)")
        let run = try record("run")
        let (steps, best) = (try #require(run["steps"]?.integer), try #require(run["adapter_step"]?.integer))
        #expect(run["ended_early"]?.bool == true && steps == best + 6 && steps < (run["planned_steps"]?.integer ?? 0))
        // The adapter is that of a run which is cut at the best step.
        #expect(try train("cut", Self.overshooting, ["--max-steps", "\(best)"]).status == 0)
        for tensor in try tensors("cut").tensors {
            #expect(try tensor.floats() == (try #require(tensors("run")[tensor.name]).floats()))
        }
        #expect(
            try train("run", Self.overshooting + ["train.patience=3", "train.keep=best"], ["--resume"]).status == 0)
        #expect(try CommandLine.run(["replay", recipe.folder.path("run")]).status == 0)
    }

    @Test func aLossThatDoesNotMoveEndsTheRunWithItsStateSaved() throws {
        let settings = [
            "train.epochs=200", "train.learning_rate=1e-12", "train.schedule=constant", "adapter.dropout=0",
            "train.compute=f32",
        ]
        let outcome = try train("run", settings)
        #expect(outcome.status == 65 && outcome.errors.contains("error[E-RUN-STUCK]"), "\(outcome.errors)")
        #expect(outcome.errors.contains("has not moved") && outcome.errors.contains("Raise train.learning_rate"))
        let saved = try FileManager.default.contentsOfDirectory(atPath: recipe.folder.path("run/checkpoints")).sorted()
        #expect(saved.last == "step-000101", "\(saved)")
        let resumed = try train("run", settings + ["train.watchdog=false"], ["--resume", "--max-steps", "110"])
        #expect(resumed.status == 0 && resumed.errors.contains("Going on after step 101"), "\(resumed.errors)")
    }

    /// After one step of Adam every element has moved by its rate: B's by sixteen times as much as without LoRA+.
    @Test func loraPlusMakesBFaster() throws {
        let settings = [
            "train.warmup_steps=0", "train.schedule=constant", "adapter.dropout=0", "train.learning_rate=1e-4",
        ]
        #expect(try train("plain", settings, ["--max-steps", "1"]).status == 0)
        #expect(try train("plus", settings + ["train.lora_plus_ratio=16"], ["--max-steps", "1"]).status == 0)
        let (plain, plus) = (try tensors("plain"), try tensors("plus"))
        var compared = 0
        for tensor in plain.tensors {
            let (a, b) = (try tensor.floats(), try #require(plus[tensor.name]).floats())
            if tensor.name.hasSuffix("lora_B.weight") {
                for (a, b) in zip(a, b) { #expect(abs(b - 16 * a) <= 1e-6) }
                compared += 1
            } else {
                #expect(a == b)
            }
        }
        #expect(compared == 21)
    }

    @Test(arguments: [
        (["train.patience=3"], "train.evaluate_every"), (["train.keep=best"], "train.evaluate_every"),
        (["train.schedule=linear", "train.min_learning_rate=1e-5"], "minimum"), (["train.decay_steps=4"], "decay"),
        (["train.lora_plus_ratio=0.5"], "lora_plus_ratio"), (["train.schedule=wsd"], "warmup-stable-decay"),
    ])
    func refuses(_ settings: [String], part: String) throws {
        let outcome = try train("run", settings)
        #expect(outcome.status == 78 && outcome.errors.contains(part), "\(outcome.errors)")
    }
}
