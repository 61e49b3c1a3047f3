package import Autograd
package import Diagnostics
package import Models
import NN

/// How fast a model reads prompts and continues them, held against the speed at which memory can be read.
package struct DecodingBenchmark: Sendable {
    package let precision: Precision
    package let threads: Int
    /// Bytes of weights that have to be read for every token of a sequence that is alone.
    package let weightBytes: Double
    /// Bytes a second that this machine reads, measured in the same process.
    package let readBandwidth: Double
    package let prompt: Speed
    /// Sequences decoded together, the first of them alone.
    package let batches: [Speed]

    /// The fastest of some runs.
    package struct Speed: Sendable {
        /// Tokens of the prompt, or sequences that are continued at once.
        package let rows: Int
        /// Of all sequences together.
        package let tokensPerSecond: Double
    }

    /// What one sequence reaches of the bound that reading the weights sets.
    package var share: Double { batches[0].tokensPerSecond * weightBytes / readBandwidth }
}

/// What a decoding benchmark measures.
package struct DecodingSettings: Sendable {
    package var promptTokens = 512
    /// Tokens that each sequence is continued by, after a prompt of 16.
    package var tokens = 128
    /// Sequences at once, beside one alone.
    package var batches = [16, 64]
    package var runs = 3

    package init() {}
}

/// Measures the base at `path`, a model folder or a GGUF file, on random tokens.
///
/// - Throws: what opening the base throws.
package func decodingBenchmark(
    base path: String, _ settings: DecodingSettings = DecodingSettings(), in workspace: Workspace
) throws(Diagnostic) -> DecodingBenchmark {
    decodingBenchmark(of: try BaseFiles(path).makeDecoder(in: workspace), settings, in: workspace)
}

/// Measures `decoder`, whose weights may be anything, on random tokens.
package func decodingBenchmark(
    of decoder: Decoder, _ settings: DecodingSettings = DecodingSettings(), in workspace: Workspace
) -> DecodingBenchmark {
    let limits = MachineLimits(threads: workspace.threads.count, instructionSet: workspace.instructionSet)
    let measurement = DecodingMeasurement(decoder: decoder, settings: settings, workspace: workspace)
    let batches = ([1] + settings.batches).map { rows in
        DecodingBenchmark.Speed(rows: rows, tokensPerSecond: measurement.best { $0.continuing(rows) })
    }
    let prompt = DecodingBenchmark.Speed(
        rows: settings.promptTokens, tokensPerSecond: measurement.best { $0.reading(settings.promptTokens) })
    return DecodingBenchmark(
        precision: workspace.precision, threads: workspace.threads.count, weightBytes: decoder.bytesPerToken,
        readBandwidth: limits.read, prompt: prompt, batches: batches)
}

private struct DecodingMeasurement {
    let decoder: Decoder
    let settings: DecodingSettings
    let workspace: Workspace

    func best(_ tokensPerSecond: (Self) -> Double) -> Double {
        (0..<max(1, settings.runs)).reduce(0) { best, _ in max(best, tokensPerSecond(self)) }
    }

    /// A prompt that differs from others of its kind in the last token.
    private func prompt(_ count: Int, number: Int) -> [Int32] {
        let vocabulary = decoder.spec.vocabulary
        return (0..<count).map { index in
            Int32((index * 7919 + (index == count - 1 ? number * 104_729 : 0) + 11) % vocabulary)
        }
    }

    /// Tokens a second up to the first one that follows.
    func reading(_ count: Int) -> Double {
        let generator = Generator(decoder, in: workspace)
        let clock = ContinuousClock()
        let time = clock.measure {
            _ = generator.generate([prompt(count, number: 0)], maximumTokens: 1, stopTokens: [])
        }
        return Double(count) / (time / .seconds(1))
    }

    /// Tokens a second of `rows` sequences from the first token after their prompts on.
    func continuing(_ rows: Int) -> Double {
        let generator = Generator(decoder, in: workspace)
        let clock = ContinuousClock()
        var started: ContinuousClock.Instant?
        var counted = 0
        let prompts = (0..<rows).map { prompt(16, number: $0) }
        _ = generator.generate(prompts, maximumTokens: settings.tokens, stopTokens: []) { row, _ in
            if started == nil, row == rows - 1 {
                started = clock.now
            } else if started != nil {
                counted += 1
            }
            return true
        }
        return started.map { Double(counted) / ((clock.now - $0) / .seconds(1)) } ?? 0
    }
}

extension Decoder {
    /// Bytes of all weights that a token meets as a whole; of an embedding that is not the head it is a row.
    fileprivate var bytesPerToken: Double {
        // A tied head is the embedding once more.
        allParameters().reduce(-Double(embedding.decodingBytes)) { $0 + Double($1.parameter.decodingBytes) }
    }
}
