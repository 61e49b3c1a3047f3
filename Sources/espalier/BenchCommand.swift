import ArgumentParser
import Autograd
import Benchmarks
import Diagnostics
import Formats
import Models
import Recipes
import StrictJSON

struct BenchCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measure this machine with the engine's own work.",
        discussion: """
            Examples:
              espalier bench
              espalier bench step --json
              espalier bench step --model llama-1.1b --rows 2 --tokens-per-row 1024
              espalier bench kernels --threads 1
              espalier bench decoding --base models/smollm2-135m-instruct/model.gguf
              espalier bench tokenizer --base models/smollm2-135m-instruct/model.gguf --text notes.txt

            kernels: matrix products, as shares of what the processor can do. step: a training step with LoRA on all
            linear layers of a model with random weights, all tokens supervised. decoding: reading a prompt and
            continuing it, alone and with others, on a base or on random weights. tokenizer: loading a base's tokenizer
            and encoding lines of text with it, which are made up if no file gives them; everything includes it only
            if there is a base. With --json one name prints an object, several print an array of them.
            """)

    enum Name: String, CaseIterable, ExpressibleByArgument {
        case kernels, step, decoding, tokenizer
    }

    enum Compute: String, CaseIterable, ExpressibleByArgument {
        case bf16, f32
    }

    @Argument(help: ArgumentHelp("What to measure; everything if not given.", valueName: "name"))
    var names: [Name] = []

    @Option(help: "The shape of the model.")
    var model = ModelShape.all[0]

    @Option(
        help: """
            The base of decoding and tokenizer: a model folder or a GGUF file. Decoding takes random weights of --model \
            if it is not given. For tokenizer alone also a tokenizer.json or a SentencePiece .model.
            """)
    var base: String?

    @Option(help: "A file of text to encode, line by line; made-up words if not given.")
    var text: String?

    @Option(help: "Rows of a step.")
    var rows = 8

    @Option(help: "Tokens of a row.")
    var tokensPerRow = 256

    @Option(help: "The adapter's rank.")
    var rank = 16

    @Option(help: "What products are computed in; bf16 means f32 where the processor lacks it.")
    var precision = Compute.bf16

    @Option(help: "Steps to time, at least, after one that is not timed.")
    var steps = 3

    @Option(help: "Seconds to measure, at least: the steps together, or each product.")
    var seconds: Double?

    @OptionGroup var threads: ThreadOptions
    @OptionGroup var output: JSONOption

    func validate() throws {
        for (name, value, range) in [
            ("--rows", rows, 1...4096), ("--tokens-per-row", tokensPerRow, 2...131_072), ("--rank", rank, 1...1024),
            ("--steps", steps, 1...10_000),
            (
                "--rows times --tokens-per-row", rows.multipliedReportingOverflow(by: tokensPerRow).partialValue,
                2...1 << 18
            ),
        ] where !range.contains(value) {
            throw ValidationError("\(name) takes \(range.lowerBound) to \(range.upperBound)")
        }
        if names.contains(.tokenizer), base == nil { throw ValidationError("tokenizer needs --base") }
        if let seconds, !(0...3600).contains(seconds) { throw ValidationError("--seconds takes 0 to 3600") }
    }

    func run() throws {
        let wanted = names.isEmpty ? Name.allCases.filter { $0 != .tokenizer || base != nil } : names
        var documents: [JSONValue] = []
        for name in wanted {
            let report: BenchReport
            switch name {
            case .kernels: report = kernels()
            case .step: report = try step()
            case .decoding: report = try decoding()
            case .tokenizer: report = try tokenizer()
            }
            if output.json { documents.append(report.json) } else { try Console.write(report.text) }
        }
        if output.json { try Console.write(documents.count == 1 ? documents[0] : .array(documents)) }
    }

    private func kernels() -> BenchReport {
        let most = threads.workspace().threads.count
        return BenchReport(kernelBenchmark(threads: most > 1 ? [1, most] : [1], seconds: seconds ?? 0.5))
    }

    private func step() throws(Diagnostic) -> BenchReport {
        var settings = StepBenchmark.Settings(model: model)
        (settings.rows, settings.tokensPerRow, settings.rank) = (rows, tokensPerRow, rank)
        settings.steps = steps
        if let seconds { settings.seconds = seconds }
        return BenchReport(try StepBenchmark(settings, in: threads.workspace(precision == .bf16 ? .bf16 : .f32)))
    }
}

extension BenchCommand {
    private func decoding() throws(Diagnostic) -> BenchReport {
        let workspace = threads.workspace(precision == .bf16 ? .bf16 : .f32)
        let decoder: Decoder
        if let base {
            decoder = try BaseFiles(base).makeDecoder(in: workspace)
        } else {
            decoder = try .withRandomWeights(try model.spec(), seed: 1, in: workspace)
        }
        return BenchReport(decodingBenchmark(of: decoder, in: workspace), model: base ?? model.name)
    }
}

extension BenchCommand {
    private func tokenizer() throws(Diagnostic) -> BenchReport {
        var lines: [String]?
        if let text {
            guard let content = String(validating: try readBytes(text), as: UTF8.self) else {
                throw Diagnostic(ModelsCode.prompt, file: text, found: "bytes that are not UTF-8", expected: "UTF-8")
            }
            lines = content.split(separator: "\n").map(String.init)
        }
        // `run` asks for a base before it comes here.
        let path = base ?? ""
        return BenchReport(try tokenizerBenchmark(path, lines: lines, in: threads.workspace()), base: path)
    }
}

extension ModelShape: ExpressibleByArgument {
    public init?(argument: String) {
        guard let shape = Self.all.first(where: { $0.name == argument }) else { return nil }
        self = shape
    }

    public var defaultValueDescription: String { name }
    public static var allValueStrings: [String] { all.map(\.name) }
}
