import ArgumentParser
import Autograd
import Benchmarks
import Diagnostics
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

            kernels: matrix products, as shares of what the processor can do. step: a training step with LoRA on all
            linear layers of a model with random weights, all tokens supervised. decoding: reading a prompt and
            continuing it, alone and with others, on a base or on random weights. With --json one name prints an
            object, several print an array of them.
            """)

    enum Name: String, CaseIterable, ExpressibleByArgument {
        case kernels, step, decoding
    }

    enum Compute: String, CaseIterable, ExpressibleByArgument {
        case bf16, f32
    }

    @Argument(help: ArgumentHelp("What to measure; everything if not given.", valueName: "name"))
    var names: [Name] = []

    @Option(help: "The shape of the model.")
    var model = ModelShape.all[0]

    @Option(help: "A base to decode with, a model folder or a GGUF file; random weights of --model if not given.")
    var base: String?

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
        if let seconds, !(0...3600).contains(seconds) { throw ValidationError("--seconds takes 0 to 3600") }
    }

    func run() throws {
        let wanted = names.isEmpty ? Name.allCases : names
        var documents: [JSONValue] = []
        for name in wanted {
            let report: BenchReport
            switch name {
            case .kernels: report = kernels()
            case .step: report = try step()
            case .decoding: report = try decoding()
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

extension ModelShape: ExpressibleByArgument {
    public init?(argument: String) {
        guard let shape = Self.all.first(where: { $0.name == argument }) else { return nil }
        self = shape
    }

    public var defaultValueDescription: String { name }
    public static var allValueStrings: [String] { all.map(\.name) }
}

/// A measurement for people and for programs.
struct BenchReport {
    let text: String
    let json: JSONValue
}

extension BenchReport {
    init(_ step: StepBenchmark) {
        let settings = step.settings
        json = .object([
            "name": .string("step"), "model": .string(settings.model.name), "rows": .integer(settings.rows),
            "tokens_per_row": .integer(settings.tokensPerRow), "rank": .integer(settings.rank),
            "precision": .string(step.precision.rawValue), "threads": .integer(step.threads),
            "instruction_set": .string(step.instructionSet.rawValue),
            "tokens_per_second": .number(step.tokensPerSecond), "step_seconds": .number(step.seconds),
            "steps": .array(step.stepSeconds.map { .number($0) }), "peak_bytes": .integer(step.peakBytes),
            "layer_parameters": .integer(step.layerParameters), "head_parameters": .integer(step.headParameters),
            "adapter_parameters": .integer(step.adapterParameters), "targets": .integer(step.targets),
            "forward_seconds": .number(step.forwardSeconds), "backward_seconds": .number(step.backwardSeconds),
            "products_seconds": .number(step.productSeconds),
            "step_over_products": .number(step.seconds / step.productSeconds),
            "useful_operations": .number(step.usefulOperations), "useful_share": .number(step.usefulShare),
            "limits": step.limits.json, "loss": .number(step.loss), "version": .string(Version.current),
        ])
        let update = max(0, step.seconds - step.forwardSeconds - step.backwardSeconds)
        let reached = step.usefulOperations / step.seconds
        text = """
            step               \(settings.model.name), \(settings.rows) x \(settings.tokensPerRow) tokens, rank \(settings.rank)
            computed in        \(step.precision.rawValue) with \(step.instructionSet.rawValue) kernels, \(step.threads) threads
            speed              \(decimal(step.tokensPerSecond, 0)) tokens/s, median of \(step.stepSeconds.count) steps of \(decimal(step.seconds, 3)) s
            memory             \(bytesText(step.peakBytes)) at the peak
            forward            \(decimal(step.forwardSeconds, 3)) s
            backward           \(decimal(step.backwardSeconds, 3)) s
            update             \(decimal(update, 3)) s
            products alone     \(decimal(step.productSeconds, 3)) s; the step takes \(decimal(step.seconds / step.productSeconds, 2)) times that
            useful arithmetic  \(decimal(reached / 1e9, 0)) GFLOP/s, \(decimal(100 * step.usefulShare, 0)) % of \(decimal(step.limits.operations(step.precision) / 1e9, 0))
            """
    }

    init(_ kernels: KernelBenchmark) {
        json = .object([
            "name": .string("kernels"), "instruction_set": .string(kernels.instructionSet.rawValue),
            "limits": .array(kernels.limits.map(\.json)), "products": .array(kernels.products.map(\.json)),
            "version": .string(Version.current),
        ])
        var lines = ["kernels            \(kernels.instructionSet.rawValue)"]
        for limit in kernels.limits {
            let bf16 = limit.bf16.map { ", bf16 \(decimal($0 / 1e9, 0))" } ?? ""
            lines.append(
                "limit, \(limit.threads) threads   f32 \(decimal(limit.f32 / 1e9, 0))\(bf16) GFLOP/s; "
                    + "memory read \(decimal(limit.read / 1e9, 0)), triad \(decimal(limit.triad / 1e9, 0)) GB/s")
        }
        lines.append(
            BenchReport.columns("rows", "outputs", "inputs", "product", "in", "threads", "reached", "of the limit"))
        for product in kernels.products {
            let (shape, isBound) = (product.shape, product.shape.isBoundByMemory)
            let reached =
                isBound
                ? "\(decimal(product.weightBytesPerSecond / 1e9, 1)) GB/s"
                : "\(decimal(product.operationsPerSecond / 1e9, 0)) GFLOP/s"
            lines.append(
                BenchReport.columns(
                    "\(shape.rows)", "\(shape.outputs)", "\(shape.inputs)", product.kind.rawValue,
                    product.precision.rawValue, "\(product.threads)", reached, "\(decimal(100 * product.share, 0)) %"))
        }
        text = lines.joined(separator: "\n")
    }

    init(_ decoding: DecodingBenchmark, model: String) {
        json = .object([
            "name": .string("decoding"), "model": .string(model), "precision": .string(decoding.precision.rawValue),
            "threads": .integer(decoding.threads), "prompt_tokens": .integer(decoding.prompt.rows),
            "prompt_tokens_per_second": .number(decoding.prompt.tokensPerSecond),
            "tokens_per_second": .number(decoding.batches[0].tokensPerSecond),
            "weight_bytes": .number(decoding.weightBytes), "read_bytes_per_second": .number(decoding.readBandwidth),
            "share": .number(decoding.share),
            "batches": .array(
                decoding.batches.map {
                    .object(["sequences": .integer($0.rows), "tokens_per_second": .number($0.tokensPerSecond)])
                }), "version": .string(Version.current),
        ])
        let bound = decoding.readBandwidth / decoding.weightBytes
        var lines = [
            "decoding           \(model)",
            "computed in        \(decoding.precision.rawValue), \(decoding.threads) threads",
            "prompt             \(decimal(decoding.prompt.tokensPerSecond, 0)) tokens/s of \(decoding.prompt.rows)",
        ]
        for batch in decoding.batches {
            let share = batch.rows == 1 ? ", \(decimal(100 * decoding.share, 0)) % of \(decimal(bound, 0))" : ""
            lines.append(
                "\(batch.rows) at once" + String(repeating: " ", count: max(1, 11 - "\(batch.rows)".count))
                    + "\(decimal(batch.tokensPerSecond, 0)) tokens/s\(share)")
        }
        lines.append(
            "weights            \(bytesText(Int(decoding.weightBytes))) a token, "
                + "memory read \(decimal(decoding.readBandwidth / 1e9, 0)) GB/s")
        text = lines.joined(separator: "\n")
    }

    private static func columns(_ cells: String...) -> String {
        zip(cells, [6, 8, 8, 10, 6, 8, 13, 13]).map { cell, width in
            String(repeating: " ", count: max(1, width - cell.count)) + cell
        }.joined()
    }
}

extension MachineLimits {
    fileprivate var json: JSONValue {
        .object([
            "threads": .integer(threads), "f32_operations_per_second": .number(f32),
            "bf16_operations_per_second": bf16.map { .number($0) } ?? .null,
            "read_bytes_per_second": .number(read), "triad_bytes_per_second": .number(triad),
        ])
    }
}

extension KernelBenchmark.Product {
    fileprivate var json: JSONValue {
        .object([
            "rows": .integer(shape.rows), "outputs": .integer(shape.outputs), "inputs": .integer(shape.inputs),
            "kind": .string(kind.rawValue), "precision": .string(precision.rawValue), "threads": .integer(threads),
            "seconds": .number(seconds), "operations_per_second": .number(operationsPerSecond),
            "weight_bytes_per_second": .number(weightBytesPerSecond),
            "bound_by": .string(shape.isBoundByMemory ? "memory" : "arithmetic"), "share": .number(share),
        ])
    }
}
