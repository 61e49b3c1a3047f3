import Autograd
import Batches
import Formats
import Models
import TestSupport
import Testing

/// Token by token through the cache, with weights as their files have them, against the full forward pass.
@Suite struct DecodingTests {
    static let bases = [
        "gguf/tiny_llama.gguf", "models/llama_bf16", "models/llama_gqa", "models/gemma2", "models/gpt2",
        "models/gpt_neox", "models/apertus", "models/phi3", "models/mixtral", "models/deepseek_v2",
    ]
    let prompt: [Int32] = [5, 9, 17, 200, 3]
    let following: [Int32] = [44, 61, 8, 12, 100, 101, 7, 7, 250, 19, 20]

    func decoder(_ base: String, in workspace: Workspace) throws -> Decoder {
        try BaseFiles(Fixture.path(base)).makeDecoder(in: workspace, cache: DigestCache(path: nil))
    }

    /// From the cache, in the order of the tokens.
    func decoded(_ base: String, in workspace: Workspace, adapter: String? = nil) throws -> [Float] {
        let decoder = try decoder(base, in: workspace)
        if let adapter { _ = try decoder.attach(PEFTAdapter(Fixture.path(adapter)), trainable: false, in: workspace) }
        return Generator(decoder, in: workspace).logits(after: prompt, then: following).elements
    }

    /// The same rows of a full pass.
    func full(_ base: String, in workspace: Workspace, adapter: String? = nil) throws -> [Float] {
        let decoder = try decoder(base, in: workspace)
        if let adapter { _ = try decoder.attach(PEFTAdapter(Fixture.path(adapter)), trainable: false, in: workspace) }
        // More rows than are multiplied by the blocks as they are.
        let tokens = prompt + following + prompt
        let batch = PackedBatch([Example(tokens: tokens, weights: tokens.map { _ in 0 })], sharingPrefixes: false)
        let logits = try #require(decoder.trace(batch, in: workspace).logits).elements
        let vocabulary = decoder.spec.vocabulary
        return Array(logits[(prompt.count - 1) * vocabulary..<(prompt.count + following.count) * vocabulary])
    }

    @Test(arguments: bases) func logitsFromTheCacheAreThoseOfTheFullPass(_ base: String) throws {
        let workspace = Workspace(threadCount: 2)
        try expectClose(decoded(base, in: workspace), full(base, in: workspace), relative: 1e-4)
    }

    @Test func anAdapterOnQuantisedBlocksAddsToThem() throws {
        let workspace = Workspace(threadCount: 2)
        let (base, adapter) = ("gguf/tiny_llama.gguf", "models/llama_gqa/lora")
        let adapted = try decoded(base, in: workspace, adapter: adapter)
        try expectClose(adapted, full(base, in: workspace, adapter: adapter), relative: 1e-4)
        #expect(try adapted != decoded(base, in: workspace))
    }

    /// Decoding in bf16 is no farther from f32 than twice the full pass in bf16.
    @Test(.enabled(if: InstructionSet.avx512BF16.isAvailable), arguments: bases)
    func bf16IsAsNearAsTheFullPass(_ base: String) throws {
        let exact = try full(base, in: Workspace(threadCount: 2))
        func farthest(_ values: [Float]) -> Float { zip(values, exact).map { abs($0 - $1) }.max() ?? .infinity }
        let workspace = Workspace(threadCount: 2, precision: .bf16)
        let allowed = try 2 * farthest(full(base, in: workspace))
        #expect(try farthest(decoded(base, in: workspace)) <= allowed)
    }

    @Test(arguments: bases) func hasTheSameBitsOnAnyNumberOfThreads(_ base: String) throws {
        for precision in Precision.allCases {
            let one = try decoded(base, in: Workspace(threadCount: 1, precision: precision))
            for threads in [2, 3, 7] {
                #expect(try decoded(base, in: Workspace(threadCount: threads, precision: precision)) == one)
            }
        }
    }

    /// Beyond 16 rows weights are multiplied in another way.
    @Test func aLargeBatchSaysWhatEachOfItsPromptsWouldAlone() throws {
        let workspace = Workspace(threadCount: 2)
        let generator = Generator(try decoder("gguf/tiny_llama.gguf", in: workspace), in: workspace)
        let prompts = (0..<24).map { (index: Int32) -> [Int32] in prompt + [index * 7 + 1, index + 3] }
        let together = generator.generate(prompts, maximumTokens: 8, stopTokens: [])
        for (prompt, expected) in zip(prompts, together) {
            #expect(generator.generate([prompt], maximumTokens: 8, stopTokens: [])[0] == expected)
        }
    }
}
