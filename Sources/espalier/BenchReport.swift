import Autograd
import Benchmarks
import Diagnostics
import NN
import Recipes
import StrictJSON

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

    init(_ result: TokenizerBenchmark, base: String) {
        json = .object([
            "name": .string("tokenizer"), "base": .string(base), "vocabulary": .integer(result.vocabularyCount),
            "load_seconds": .number(result.loadSeconds), "text_bytes": .integer(result.textBytes),
            "tokens": .integer(result.tokenCount), "threads": .integer(result.threads),
            "encode_bytes_per_second": .number(result.encodedBytesPerSecond),
            "encode_bytes_per_second_together": .number(result.encodedBytesPerSecondTogether),
            "decode_bytes_per_second": .number(result.decodedBytesPerSecond), "version": .string(Version.current),
        ])
        text = """
            tokenizer          \(base), \(result.vocabularyCount) tokens
            loading            \(decimal(result.loadSeconds * 1000, 0)) ms
            text               \(bytesText(result.textBytes)), \(result.tokenCount) tokens
            encoding           \(decimal(result.encodedBytesPerSecond / 1e6, 1)) MB/s with one thread, \
            \(decimal(result.encodedBytesPerSecondTogether / 1e6, 1)) with \(result.threads)
            decoding           \(decimal(result.decodedBytesPerSecond / 1e6, 1)) MB/s
            """
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
