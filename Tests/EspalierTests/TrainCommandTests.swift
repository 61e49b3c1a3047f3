import Foundation
import StrictJSON
import TestSupport
import Testing

/// `train` and what it leaves behind.
@Suite struct TrainCommandTests {
    func adapterBytes(_ folder: String) throws -> Data {
        try Data(contentsOf: URL(fileURLWithPath: folder + "/adapter/adapter_model.safetensors"))
    }

    @Test func sameRecipeGivesTheSameBytesOnAnyNumberOfThreads() throws {
        let recipe = try TinyRecipe()
        var results: [Data] = []
        for (index, threads) in ["1", "2", "3", "7", "2"].enumerated() {
            let out = recipe.folder.path("run\(index)")
            let outcome = try CommandLine.run(["train", recipe.path, "--out", out, "--threads", threads])
            #expect(outcome.status == 0, "\(outcome.errors)")
            results.append(try adapterBytes(out))
        }
        #expect(results.allSatisfy { $0 == results[0] })
        let other = recipe.folder.path("other")
        _ = try CommandLine.run(["train", recipe.path, "--out", other, "--set", "train.seed=4"])
        #expect(try adapterBytes(other) != results[0])
    }

    @Test func rowsLongerThanAPartAreComputedOneByOne() throws {
        let recipe = try TinyRecipe()
        let outcome = try CommandLine.run(["train", recipe.path, "--set", "train.micro_tokens=16"])
        #expect(outcome.status == 0, "\(outcome.errors)")
        #expect(try !adapterBytes(recipe.folder.path("run")).isEmpty)
    }

    @Test func leavesAdapterMetricsAndRecord() throws {
        let recipe = try TinyRecipe()
        let outcome = try CommandLine.run(["train", recipe.path, "--json"])
        #expect(outcome.status == 0, "\(outcome.errors)")
        #expect(outcome.json?["steps"]?.integer ?? 0 > 0)
        let run = recipe.folder.path("run")
        let lines = try String(contentsOfFile: run + "/metrics.jsonl", encoding: .utf8).split(separator: "\n")
            .map { try JSONValue(parsing: String($0)) }
        for line in lines.dropLast() {
            for key in [
                "step", "loss", "learning_rate", "grad_norm", "tokens", "tokens_per_second", "peak_bytes", "seconds",
            ] { #expect(line[key]?.number != nil, "\(key)") }
        }
        #expect(lines.last?["done"]?.bool == true && lines.last?["train_seconds"]?.number ?? 0 > 0)
        let record = try JSONValue(parsing: String(contentsOfFile: run + "/run.json", encoding: .utf8))
        #expect(record["base"]?["weights_sha256"]?.string?.count == 64)
        #expect(record["data"]?.array?.first?["sha256"]?.string?.count == 64)
        #expect(record["recipe"]?["train"]?["seed"]?.integer == 3)
        let config = try JSONValue(
            parsing: String(contentsOfFile: run + "/adapter/adapter_config.json", encoding: .utf8))
        #expect(config["base_model_name_or_path"]?.string == "example/tiny")
        #expect(config["r"]?.integer == 4 && config["peft_type"]?.string == "LORA")
        let files = try FileManager.default.contentsOfDirectory(atPath: run + "/adapter")
        #expect(
            Set(files).isSuperset(of: [
                "adapter_config.json", "adapter_model.safetensors", "README.md", "espalier.json",
            ]))
    }

    @Test func aFolderThatHoldsARunIsRefusedAndUnchanged() throws {
        let recipe = try TinyRecipe()
        _ = try CommandLine.run(["train", recipe.path])
        let before = try adapterBytes(recipe.folder.path("run"))
        let again = try CommandLine.run(["train", recipe.path, "--set", "train.seed=9"])
        #expect(again.status == 73 && again.errors.contains("error[E-RUN-EXISTS]"))
        #expect(try adapterBytes(recipe.folder.path("run")) == before)
        let resumed = try CommandLine.run(["train", recipe.path, "--resume"])
        #expect(resumed.status == 0 && resumed.errors.contains("is finished"))
        #expect(try adapterBytes(recipe.folder.path("run")) == before)
        let fresh = try CommandLine.run(["train", recipe.path, "--set", "train.seed=9", "--fresh"])
        #expect(fresh.status == 0)
        #expect(try adapterBytes(recipe.folder.path("run")) != before)
    }

    @Test func theAdapterIsUsedByGenerateEvaluateAndInspect() throws {
        let recipe = try TinyRecipe()
        _ = try CommandLine.run(["train", recipe.path, "--set", "train.epochs=40"])
        let adapter = recipe.folder.path("run/adapter")
        let base = Fixture.path("gguf/tiny_llama.gguf")
        let arguments = ["generate", "--base", base, "--prompt", "Where is my card", "--max-tokens", "8"]
        let plain = try CommandLine.run(arguments)
        let adapted = try CommandLine.run(arguments + ["--adapter", adapter])
        #expect(plain.status == 0 && adapted.status == 0 && plain.output != adapted.output)
        #expect(try CommandLine.run(arguments + ["--adapter", adapter]).output == adapted.output)
        let evaluation = try CommandLine.run(["evaluate", recipe.path, "--json"])
        #expect(evaluation.status == 0, "\(evaluation.errors)")
        let metric = evaluation.json?["metrics"]?.array?.first
        #expect(evaluation.json?["rows"]?.integer == 6 && metric?["name"]?.string == "exact-match")
        #expect(metric?["base"]?["value"]?.number != nil && metric?["adapted"]?["high"]?.number != nil)
        let inspected = try CommandLine.run(["inspect", adapter, "--json"])
        #expect(inspected.json?["modules"]?.integer == 21)
        let loss = try CommandLine.run(["evaluate", recipe.path, "--set", "evaluate.metric=loss", "--json"])
        let values = loss.json?["metrics"]?.array?.first
        #expect(values?["adapted"]?["value"]?.number ?? 9 < values?["base"]?["value"]?.number ?? 0)
    }

    @Test func maximumStepsKeepTheScheduleOfTheWholeRun() throws {
        let recipe = try TinyRecipe()
        _ = try CommandLine.run(["train", recipe.path, "--out", recipe.folder.path("whole"), "--set", "train.epochs=6"])
        _ = try CommandLine.run([
            "train", recipe.path, "--out", recipe.folder.path("part"), "--set", "train.epochs=6", "--max-steps", "3",
        ])
        let read = { (name: String) in
            try String(contentsOfFile: recipe.folder.path(name + "/metrics.jsonl"), encoding: .utf8)
                .split(separator: "\n").map { try JSONValue(parsing: String($0)) }
        }
        let (whole, part) = (try read("whole"), try read("part"))
        #expect(part.count == 4)
        for (a, b) in zip(whole, part.dropLast()) {
            #expect(a["loss"] == b["loss"] && a["learning_rate"] == b["learning_rate"])
        }
    }
}
