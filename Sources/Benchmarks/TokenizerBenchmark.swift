package import Autograd
package import Diagnostics
import Glibc
import Models
import NN
import Tokenization

/// How fast a tokenizer loads, and turns lines of text into ids and back.
package struct TokenizerBenchmark: Sendable {
    package let vocabularyCount: Int
    /// Of the fastest run; the file was read before and lies in memory.
    package let loadSeconds: Double
    package let textBytes: Int
    package let tokenCount: Int
    package let threads: Int
    /// One thread that starts without having seen a word.
    package let encodedBytesPerSecond: Double
    /// All threads together, each starting so.
    package let encodedBytesPerSecondTogether: Double
    package let decodedBytesPerSecond: Double
}

/// Measures the tokenizer of a model folder, a GGUF file or a tokenizer's own file; the fastest of some runs.
///
/// - Parameter lines: what is encoded; nil for four megabytes of made-up prose.
/// - Throws: what loading the tokenizer throws.
package func tokenizerBenchmark(
    _ path: String, lines: [String]? = nil, runs: Int = 3, in workspace: Workspace
) throws(Diagnostic) -> TokenizerBenchmark {
    let lines = lines ?? madeUpProse(bytes: 4 << 20, seed: 1)
    let clock = ContinuousClock()
    var (load, encode, together, decode) = (Double.infinity, Double.infinity, Double.infinity, Double.infinity)
    var (vocabularyCount, tokenCount) = (0, 0)
    func encoded(_ tokenizer: any TextTokenizer, _ line: String) -> [Int32] {
        tokenizer.encode(line, addingSpecialTokens: false, recognizingSpecialTokens: false)
    }
    for _ in 0..<max(1, runs) {
        // Loaded anew for each, because a tokenizer keeps the words that it has seen.
        let start = clock.now
        let alone = try BaseFiles.tokenizer(at: path)
        load = min(load, (clock.now - start) / .seconds(1))
        let shared = try BaseFiles.tokenizer(at: path)
        var ids: [[Int32]] = []
        encode = min(encode, clock.measure { ids = lines.map { encoded(alone, $0) } } / .seconds(1))
        let time = clock.measure {
            workspace.threads.forEachRange(lines.count, grain: 16) { range, _ in
                for index in range { _ = encoded(shared, lines[index]) }
            }
        }
        together = min(together, time / .seconds(1))
        let decoding = clock.measure { for line in ids { _ = alone.decode(line, skippingSpecialTokens: false) } }
        decode = min(decode, decoding / .seconds(1))
        (vocabularyCount, tokenCount) = (alone.vocabularyCount, ids.reduce(0) { $0 + $1.count })
    }
    let bytes = lines.reduce(0) { $0 + $1.utf8.count }
    return TokenizerBenchmark(
        vocabularyCount: vocabularyCount, loadSeconds: load, textBytes: bytes, tokenCount: tokenCount,
        threads: workspace.threads.count, encodedBytesPerSecond: Double(bytes) / encode,
        encodedBytesPerSecondTogether: Double(bytes) / together, decodedBytesPerSecond: Double(bytes) / decode)
}

/// Lines of made-up words in about the frequencies of a language (Zipf), with capitals, stops and numbers.
package func madeUpProse(bytes: Int, seed: UInt64) -> [String] {
    let random = CounterRandom(seed: seed, .benchmark)
    var counter: UInt64 = 0
    func draw(_ bound: Int) -> Int {
        counter += 1
        return Int(random.bits(at: counter) % UInt64(bound))
    }
    let onsets = ["", "b", "d", "f", "g", "k", "l", "m", "n", "p", "r", "s", "t", "v", "w", "st", "tr", "pr", "sch"]
    let vowels = ["a", "e", "i", "o", "u", "e", "a", "ie", "ei", "au", "ä", "ö", "ü", "é"]
    let codas = ["", "n", "r", "s", "t", "l", "ng", "m", "ch", "nd"]
    let words = (0..<40_000).map { rank in
        (0...(draw(2) + (rank < 200 ? 0 : 1))).map { _ in
            onsets[draw(onsets.count)] + vowels[draw(vowels.count)] + codas[draw(codas.count)]
        }.joined()
    }
    var lines: [String] = []
    var (line, written) = ("", 0)
    while written + line.utf8.count < bytes {
        counter += 1
        // A logarithmically uniform rank: each word is as frequent as its rank is small.
        let rank = Int(pow(Double(words.count), random.uniform(at: counter))) - 1
        let word = draw(40) == 0 ? "\(draw(3000))" : words[min(rank, words.count - 1)]
        line += line.isEmpty || line.hasSuffix(". ") ? word.prefix(1).uppercased() + word.dropFirst() : word
        line += draw(12) == 0 ? ". " : draw(15) == 0 ? ", " : " "
        if line.utf8.count > 2000 {
            written += line.utf8.count
            lines.append(line)
            line = ""
        }
    }
    return line.isEmpty ? lines : lines + [line]
}
