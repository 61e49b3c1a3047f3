import ArgumentParser
import Autograd
import Diagnostics
import Formats
import Models
import StrictJSON
import Training

struct ParityCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "parity", abstract: "Compare this engine's numbers with those of another stack, every element.",
        discussion: """
            Example:
              espalier parity --base Tests/Fixtures/models/llama_gqa \\
                --expected Tests/Fixtures/models/llama_gqa/expected.safetensors

            Exits with 0 if every relative error is within the tolerance, else with 65.
            """)

    @Option(help: "The base: a model folder or a GGUF file.")
    var base: String

    @Option(help: "An adapter folder.")
    var adapter: String?

    @Option(help: "A safetensors file with the other stack's logits, losses, hidden states or gradients.")
    var expected: String?

    @Option(help: "A safetensors file with input_ids and so on, if --expected does not hold them.")
    var inputs: String?

    @Option(help: "A folder with meta.json and trajectory.safetensors of a training run, which is replayed.")
    var training: String?

    @Option(help: "The largest error, relative to the largest value of its tensor.")
    var tolerance = 1e-4

    @OptionGroup var threads: ThreadOptions
    @OptionGroup var output: JSONOption

    func validate() throws {
        if (expected == nil) == (training == nil) { throw ValidationError("give either --expected or --training") }
        if training != nil, adapter == nil { throw ValidationError("--training starts from an --adapter") }
        if !(tolerance >= 0) { throw ValidationError("--tolerance takes 0 or more") }
    }

    func run() throws {
        let workspace = threads.workspace()
        let model = try BaseFiles(base).makeModel(in: workspace)
        let attached = try adapter.map { try model.attach(try PEFTAdapter($0), trainable: true, in: workspace) }
        let report: ParityReport
        if let training, let attached {
            report = try TrainingParity(model, adapter: attached, tolerance: tolerance, in: workspace)
                .compare(folder: training)
        } else {
            let expected = self.expected ?? ""
            report = try Parity(model, adapter: attached, tolerance: tolerance, in: workspace).compare(
                expected: try SafetensorsFile(expected).source,
                inputs: try inputs.map { try SafetensorsFile($0).source })
        }
        if output.json {
            try Console.write(report.json)
        } else {
            for row in report.compared {
                try Console.write(
                    "\(row.relative <= tolerance ? "ok  " : "OFF ") \(row.relative)  \(escaped(row.tensor))")
            }
            for (tensor, reason) in report.notCompared {
                try Console.write("not compared: \(escaped(tensor)): \(reason)")
            }
        }
        guard report.isOK else {
            if !output.json {
                Console.note(
                    Diagnostic(
                        TrainingCode.parity, file: expected ?? training,
                        at: report.worst.map { "tensor \"\($0.tensor)\"" },
                        found: report.worst.map { "a relative error of \($0.relative)" } ?? "nothing to compare",
                        expected: "at most \(tolerance) in every tensor, and none left out"
                    ).description)
            }
            throw ExitCode(ExitStatus.badData.rawValue)
        }
    }
}
