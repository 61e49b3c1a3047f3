import Autograd
import Benchmarks
import TestSupport
import Testing

@Suite struct DecodingBenchmarkTests {
    /// Bytes: of an f32 model with an embedding that is not the head, and of one whose head it is.
    @Test(arguments: [
        ("models/llama_gqa", 4 * (3 * (2 * 4096 + 2 * 2048 + 3 * 7168 + 128) + 320 * 64 + 64)),
        ("models/llama_tied_mqa", 4 * (4 * (2 * 2304 + 2 * 576 + 3 * 3840 + 96) + 320 * 48 + 48)),
    ])
    func measuresABase(_ name: String, weightBytes: Int) throws {
        var settings = DecodingSettings()
        (settings.promptTokens, settings.tokens, settings.batches, settings.runs) = (20, 4, [3], 1)
        let result = try decodingBenchmark(base: Fixture.path(name), settings, in: Workspace(threadCount: 2))
        #expect(result.threads == 2 && result.precision == .f32)
        #expect(result.batches.map(\.rows) == [1, 3] && result.prompt.rows == 20)
        for speed in result.batches + [result.prompt] { #expect(speed.tokensPerSecond > 0) }
        #expect(result.weightBytes == Double(weightBytes))
        #expect(result.share == result.batches[0].tokensPerSecond * result.weightBytes / result.readBandwidth)
    }
}
