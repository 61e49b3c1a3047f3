import Foundation
import StrictJSON
import TestSupport
import Testing

/// Runs that are stopped, killed or damaged, and go on as if nothing had happened.
@Suite struct ResumeTests {
    private let recipe: TinyRecipe
    private let settings = ["--set", "train.epochs=12", "--set", "train.checkpoint_every=2"]

    init() throws { recipe = try TinyRecipe() }

    private func train(_ name: String, _ extra: [String] = []) throws -> CommandLine.Outcome {
        try CommandLine.run(["train", recipe.path, "--out", recipe.folder.path(name)] + settings + extra)
    }

    private func adapter(_ name: String) throws -> Data {
        try Data(contentsOf: URL(fileURLWithPath: recipe.folder.path("\(name)/adapter/adapter_model.safetensors")))
    }

    /// Steps, losses and norms of metrics.jsonl: everything but times.
    private func history(_ name: String) throws -> [String] {
        try String(contentsOfFile: recipe.folder.path("\(name)/metrics.jsonl"), encoding: .utf8)
            .split(separator: "\n").map { line in
                let json = try JSONValue(parsing: String(line))
                return ["step", "loss", "grad_norm", "learning_rate", "tokens", "done", "steps"]
                    .map { json[$0]?.serialized() ?? "-" }.joined(separator: " ")
            }
    }

    private func record(_ name: String) throws -> JSONValue {
        try JSONValue(parsing: String(contentsOfFile: recipe.folder.path("\(name)/run.json"), encoding: .utf8))
    }

    private func checkpoints(_ name: String) throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: recipe.folder.path("\(name)/checkpoints")).sorted()
    }

    private func expectSame(_ name: String, as whole: String) throws {
        #expect(try adapter(name) == adapter(whole))
        #expect(try history(name) == history(whole))
        let names = try FileManager.default.subpathsOfDirectory(atPath: recipe.folder.path(name))
        #expect(names.allSatisfy { !$0.contains("tmp") && !$0.contains("trash") }, "\(names)")
    }

    @Test func goingOnGivesTheBytesOfAnUninterruptedRun() throws {
        #expect(try train("whole").status == 0)
        for steps in ["1", "5", "6"] {
            let name = "stopped\(steps)"
            #expect(try train(name, ["--max-steps", steps]).status == 0)
            let resumed = try train(name, ["--resume", "--threads", "1"])
            #expect(resumed.status == 0 && resumed.errors.contains("Going on after step \(steps)"), "\(resumed.errors)")
            try expectSame(name, as: "whole")
            #expect(try record(name)["resumed_from"]?.integer == Int(steps))
        }
        #expect(try record("whole")["resumed_from"] == .null)
    }

    @Test func aKilledRunGoesOnFromItsCheckpointNotFromTheStart() throws {
        let long = ["--set", "train.epochs=200"]
        #expect(try train("whole", long).status == 0)
        let process = Process()
        process.executableURL = CommandLine.program
        process.arguments =
            ["train", recipe.path, "--out", recipe.folder.path("killed")] + settings + long
        process.standardError = FileHandle.nullDevice
        try process.run()
        let limit = ContinuousClock.now + .seconds(60)
        while (try? checkpoints("killed").contains { $0.hasPrefix("step-") }) != true, ContinuousClock.now < limit {
            usleep(500)
        }
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        let resumed = try train("killed", long + ["--resume"])
        #expect(resumed.status == 0 && resumed.errors.contains("Going on after step "), "\(resumed.errors)")
        try expectSame("killed", as: "whole")
        #expect(try record("killed")["resumed_from"]?.integer ?? 0 >= 2)
    }

    @Test(arguments: [(SIGINT, Int32(130)), (SIGTERM, Int32(143))])
    func aSignalSavesAndLeaves(signal: Int32, status: Int32) throws {
        let process = Process()
        process.executableURL = CommandLine.program
        process.arguments = [
            "train", recipe.path, "--out", recipe.folder.path("signalled"), "--set", "train.epochs=3000", "--set",
            "train.checkpoint_every=1000000",
        ]
        process.standardError = FileHandle.nullDevice
        try process.run()
        let metrics = recipe.folder.path("signalled/metrics.jsonl")
        let limit = ContinuousClock.now + .seconds(60)
        while (try? Data(contentsOf: URL(fileURLWithPath: metrics)).count) ?? 0 == 0, ContinuousClock.now < limit {
            usleep(500)
        }
        kill(process.processIdentifier, signal)
        process.waitUntilExit()
        #expect(process.terminationReason == .exit && process.terminationStatus == status)
        let saved = try checkpoints("signalled")
        #expect(saved.count == 1 && saved[0].hasPrefix("step-"))
        let lines = try history("signalled").filter { $0.hasPrefix("-") == false }
        #expect(Int(saved[0].dropFirst(5)) == lines.count)
        #expect(!FileManager.default.fileExists(atPath: recipe.folder.path("signalled/adapter")))
    }

    @Test func aFinishedRunIsRepeatedToTheBit() throws {
        // It went on once, in other places and on other threads: what is repeated is the whole.
        #expect(try train("run", ["--max-steps", "5"]).status == 0)
        #expect(try train("run", ["--resume", "--threads", "1"]).status == 0)
        let folder = recipe.folder.path("run")
        let same = try CommandLine.run(["replay", folder, "--threads", "2", "--json"])
        #expect(same.status == 0 && same.json?["same"]?.bool == true, "\(same.errors)")
        #expect(!FileManager.default.fileExists(atPath: folder + ".replay"))
        // Another adapter than the record's, or another loss.
        let record = try String(contentsOfFile: folder + "/run.json", encoding: .utf8)
        let digest = try #require(try self.record("run")["adapter"]?["sha256"]?.string)
        _ = try recipe.folder.write(
            record.replacing(digest, with: String(repeating: "0", count: 64)), to: "run/run.json")
        let other = try CommandLine.run(["replay", folder])
        #expect(other.status == 65 && other.errors.contains("error[E-RUN-REPLAY]"), "\(other.errors)")
        #expect(other.errors.contains("the bytes of the adapter") && !other.errors.contains("metrics"))
        try FileManager.default.removeItem(atPath: folder + ".replay")
        // What it was made of has changed.
        _ = try recipe.folder.write(record, to: "run/run.json")
        _ = try recipe.folder.write(TinyRecipe.records + "\nWhere is it,card_arrival\n", to: "train.csv")
        let changed = try CommandLine.run(["replay", folder])
        #expect(changed.status == 78 && changed.errors.contains("error[E-RUN-DRIFT]"), "\(changed.errors)")
        #expect(!FileManager.default.fileExists(atPath: folder + ".replay"))
    }

    @Test func whatIsAllowedToChangeIsRecordedForGood() throws {
        #expect(try train("run", ["--max-steps", "4"]).status == 0)
        let changed = ["--set", "train.learning_rate=0.5", "--set", "train.seed=9", "--resume"]
        let half = try train("run", changed + ["--allow-drift", "recipe.train.learning_rate"])
        #expect(half.status == 78 && half.errors.contains("recipe.train.seed: 3, now 9"), "\(half.errors)")
        #expect(!half.errors.contains("learning_rate: 0.01"))
        #expect(try train("run", changed + ["--allow-drift", "recipe.train", "--max-steps", "7"]).status == 0)
        #expect(try train("run", changed).status == 0)
        #expect(try record("run")["bit_exact"]?.bool == false)
        #expect(try record("run")["drift"]?.array?.count == 2)
        let replay = try CommandLine.run(["replay", recipe.folder.path("run")])
        #expect(replay.status == 78 && replay.errors.contains("error[E-RUN-DRIFT]"), "\(replay.errors)")
    }

    /// Whoever shortens the base while it is mapped ends the run with its name and 74, not with a bus error.
    @Test func aBaseThatShrinksIsNamed() throws {
        let base = recipe.folder.path("base.gguf")
        try FileManager.default.copyItem(atPath: Fixture.path("gguf/tiny_llama.gguf"), toPath: base)
        let process = Process()
        process.executableURL = CommandLine.program
        process.arguments =
            ["train", recipe.path, "--out", recipe.folder.path("run"), "--set", "base=base.gguf"]
            + ["--set", "train.compute=f32", "--set", "train.epochs=100000", "--set", "train.checkpoint_every=1000000"]
        let errors = Pipe()
        process.standardError = errors
        try process.run()
        let metrics = recipe.folder.path("run/metrics.jsonl")
        let limit = ContinuousClock.now + .seconds(60)
        while (try? Data(contentsOf: URL(fileURLWithPath: metrics)).count) ?? 0 == 0, ContinuousClock.now < limit {
            usleep(500)
        }
        #expect(truncate(base, 4096) == 0)
        let text = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        #expect(process.terminationReason == .exit && process.terminationStatus == 74, "\(text.suffix(400))")
        #expect(text.contains("error[E-FILE-CHANGED] \(base): the file shrank"), "\(text.suffix(400))")
    }

    @Test func whatHasChangedIsNamedAndRefused() throws {
        #expect(try train("run", ["--max-steps", "4"]).status == 0)
        let before = try adapter("run")
        let changed = try train("run", ["--resume", "--set", "train.learning_rate=0.5", "--set", "train.seed=9"])
        #expect(changed.status == 78 && changed.errors.contains("error[E-RUN-DRIFT]"), "\(changed.errors)")
        #expect(changed.errors.contains("recipe.train.learning_rate: 0.01, now 0.5"))
        #expect(changed.errors.contains("recipe.train.seed: 3, now 9"))
        #expect(try adapter("run") == before)
        _ = try recipe.folder.write(TinyRecipe.records + "\nIs my card lost?,card_arrival\n", to: "train.csv")
        let data = try train("run", ["--resume"])
        #expect(data.status == 78 && data.errors.contains("data:") && !data.errors.contains("lost"))
        let set = try CommandLine.run(
            ["train", recipe.path, "--out", recipe.folder.path("run"), "--resume"] + settings,
            environment: ["ESPALIER_ISA": "generic"])
        #expect(set.status == 78 && set.errors.contains("instruction_set:"), "\(set.errors)")
    }

    @Test func aDamagedCheckpointIsSetAsideAndAnOlderOneTaken() throws {
        #expect(try train("whole").status == 0)
        #expect(try train("run", ["--max-steps", "7"]).status == 0)
        #expect(try checkpoints("run") == ["step-000006", "step-000007"])
        let newest = recipe.folder.path("run/checkpoints/step-000007/state.safetensors")
        var bytes = try Data(contentsOf: URL(fileURLWithPath: newest))
        bytes[bytes.count - 3] ^= 1
        try bytes.write(to: URL(fileURLWithPath: newest))
        let resumed = try train("run", ["--resume"])
        #expect(resumed.status == 0 && resumed.errors.contains("checkpoint step-000007 is damaged"))
        #expect(resumed.errors.contains("Going on after step 6"))
        #expect(try adapter("run") == adapter("whole"))
        #expect(try history("run") == history("whole"))
    }

    @Test func withNothingWholeItDoesNotStartOver() throws {
        #expect(try train("run", ["--max-steps", "4"]).status == 0)
        for name in try checkpoints("run") {
            try FileManager.default.removeItem(atPath: recipe.folder.path("run/checkpoints/\(name)/manifest.json"))
        }
        for _ in 0..<2 {
            let resumed = try train("run", ["--resume"])
            #expect(resumed.status == 65 && resumed.errors.contains("error[E-CHECKPOINT-DAMAGED]"), "\(resumed.errors)")
        }
        #expect(try train("run", ["--fresh"]).status == 0)
    }

    @Test func resumingWhereNothingIsStartsAtTheBeginning() throws {
        let resumed = try train("new", ["--resume"])
        #expect(resumed.status == 0 && resumed.errors.contains("starting at step 0"), "\(resumed.errors)")
    }

    @Test func aSecondRunInTheFolderLeavesAtOnce() throws {
        let process = Process()
        process.executableURL = CommandLine.program
        process.arguments = [
            "train", recipe.path, "--out", recipe.folder.path("shared"), "--set", "train.epochs=3000",
        ]
        process.standardError = FileHandle.nullDevice
        try process.run()
        let metrics = recipe.folder.path("shared/metrics.jsonl")
        let limit = ContinuousClock.now + .seconds(60)
        while !FileManager.default.fileExists(atPath: metrics), ContinuousClock.now < limit { usleep(500) }
        for extra in [[], ["--resume"], ["--fresh"]] {
            let second = try train("shared", extra)
            #expect(second.status == 75 && second.errors.contains("error[E-RUN-BUSY]"), "\(second.errors)")
            #expect(second.errors.contains("process \(process.processIdentifier) "))
        }
        process.terminate()
        process.waitUntilExit()
    }
}
