import Autograd
import Formats
import Foundation
import Models
import NN
import TestSupport
import Testing

/// The bf16 copy of a base whose file holds other types.
@Suite(.enabled(if: InstructionSet.avx512BF16.isAvailable)) final class BF16CopyTests {
    let workspace = Workspace(threadCount: 2, precision: .bf16)
    let folder = FileManager.default.temporaryDirectory.appending(path: "bf16-copy-\(UUID().uuidString)")

    var cache: DigestCache { DigestCache(path: folder.appending(path: "digests.json").path) }

    deinit { try? FileManager.default.removeItem(at: folder) }

    /// The copies by name, without their digests.
    func copies() -> [String] {
        let names = try? FileManager.default.contentsOfDirectory(atPath: folder.appending(path: "bf16").path)
        return (names ?? []).filter { $0.hasSuffix(".safetensors") }
    }

    func values(_ parameter: Parameter) -> [Float] {
        Tensor(parameter.shape, in: workspace) { parameter.decode(rows: 0..<parameter.shape[0], to: $0) }.elements
    }

    func rounded(_ x: Float) -> Float {
        Float(bitPattern: (x.bitPattern &+ 0x7FFF &+ (x.bitPattern >> 16 & 1)) & 0xFFFF_0000)
    }

    /// Every matrix is the rounded one of the f32 model, in the same order of rows, and every vector is untouched.
    func expectRoundedCopy(of base: BaseFiles, _ decoder: Decoder) throws {
        let exact = try base.makeDecoder(in: Workspace(threadCount: 2), cache: cache)
        for (a, b) in zip(exact.allParameters(), decoder.allParameters()) {
            #expect(a.path == b.path)
            let expected = values(a.parameter)
            #expect(
                values(b.parameter) == (a.parameter.shape.rank == 2 ? expected.map(rounded) : expected), "\(a.path)")
            #expect(b.parameter.shape.rank != 2 || b.parameter.isBF16, "\(b.path)")
        }
    }

    @Test(arguments: ["gguf/tiny_llama.gguf", "models/llama_gqa", "models/llama_tied_mqa"])
    func holdsTheRoundedMatrices(_ name: String) throws {
        let base = try BaseFiles(Fixture.path(name))
        try expectRoundedCopy(of: base, base.makeDecoder(in: workspace, cache: cache))
        #expect(copies().count == 1)
    }

    @Test func isMadeOnceAndUsedAgain() throws {
        let base = try BaseFiles(Fixture.path("gguf/tiny_llama.gguf"))
        _ = try base.makeDecoder(in: workspace, cache: cache)
        let path = folder.appending(path: "bf16/\(try #require(copies().first))").path
        let first = try FileManager.default.attributesOfItem(atPath: path)[.systemFileNumber] as? Int
        try expectRoundedCopy(of: base, base.makeDecoder(in: workspace, cache: cache))
        #expect(try FileManager.default.attributesOfItem(atPath: path)[.systemFileNumber] as? Int == first)
    }

    @Test func trainingReadsTheCopyAlone() throws {
        let base = try BaseFiles(Fixture.path("gguf/tiny_llama.gguf"))
        let decoder = try base.makeDecoder(in: workspace, cache: cache)
        let matrices = decoder.allParameters().map(\.parameter).filter { $0.shape.rank == 2 }
        let ofCopy = matrices.reduce(0) { $0 + 2 * $1.shape.count }
        let read = { matrices.reduce(0) { $0 + $1.decodingBytes } }
        #expect(read() != ofCopy)  // quantised blocks, for decoding
        decoder.settleWeights(in: workspace)
        #expect(read() == ofCopy)
    }

    @Test func isMadeAgainIfItWasDamaged() throws {
        let base = try BaseFiles(Fixture.path("gguf/tiny_llama.gguf"))
        _ = try base.makeDecoder(in: workspace, cache: cache)
        let url = folder.appending(path: "bf16/\(try #require(copies().first))")
        var bytes = try Data(contentsOf: url)
        bytes[bytes.count - 100] ^= 1
        try bytes.write(to: url)
        try expectRoundedCopy(of: base, base.makeDecoder(in: workspace, cache: cache))
        try Data(bytes.prefix(1000)).write(to: url)
        try expectRoundedCopy(of: base, base.makeDecoder(in: workspace, cache: cache))
    }

    @Test func isInMemoryWhereNoFileCanBe() throws {
        let base = try BaseFiles(Fixture.path("gguf/tiny_llama.gguf"))
        try expectRoundedCopy(of: base, base.makeDecoder(in: workspace, cache: DigestCache(path: nil)))
        // A file stands where the folder would have to be.
        try Data().write(to: folder)
        try expectRoundedCopy(of: base, base.makeDecoder(in: workspace, cache: cache))
    }

    @Test func isNotMadeOfABaseInBF16() throws {
        let base = try BaseFiles(Fixture.path("models/llama_bf16"))
        let decoder = try base.makeDecoder(in: workspace, cache: cache)
        #expect(copies().isEmpty)
        #expect(decoder.allParameters().allSatisfy { $0.parameter.shape.rank != 2 || $0.parameter.isBF16 })
    }

    @Test func isNotMadeForF32() throws {
        let base = try BaseFiles(Fixture.path("gguf/tiny_llama.gguf"))
        let decoder = try base.makeDecoder(in: Workspace(threadCount: 1), cache: cache)
        #expect(copies().isEmpty && !decoder.allParameters().contains { $0.parameter.isBF16 })
    }
}
