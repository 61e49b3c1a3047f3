import Diagnostics
import Formats
import TestSupport
import Testing

/// Files that were changed at random, with a fixed seed: each is either read in full or refused, in bounded time.
@Suite struct MutationTests {
    private static func mutate(_ bytes: [UInt8], header: Int, _ random: inout SplitMix) -> [UInt8] {
        var mutant = bytes
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            let place = Int.random(in: 0..<min(header, mutant.count), using: &random)
            switch Int.random(in: 0..<6, using: &random) {
            case 0: mutant[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 1: mutant[place] = UInt8.random(in: 0...255, using: &random)
            case 2: mutant[place] = [0, 0xFF, 0x7F, 0x80, 0x22, 0x7B, 0x5D].randomElement(using: &random) ?? 0
            case 3: mutant.removeSubrange(place..<min(mutant.count, place + Int.random(in: 1...9, using: &random)))
            case 4: mutant.insert(contentsOf: bytes[place..<min(bytes.count, place + 9)], at: place)
            default: mutant.removeSubrange(place...)
            }
            if mutant.isEmpty { return mutant }
        }
        return mutant
    }

    /// Opens each mutant and reads all that it offers; returns how many were read.
    private func check(
        _ bytes: [UInt8], header: Int, count: Int, seed: UInt64, read: (String) throws(Diagnostic) -> WeightSource
    ) throws -> Int {
        let scratch = try ScratchFolder()
        var random = SplitMix(state: seed)
        var good = 0
        for _ in 0..<count {
            let path = try scratch.write(Self.mutate(bytes, header: header, &random), as: "mutant")
            do {
                for tensor in try read(path).tensors where tensor.type.isConvertible { _ = try tensor.floats() }
                good += 1
            } catch {
                #expect(error.code.exit == .badData, "\(error)")
            }
        }
        return good
    }

    @Test func noMutantOfASafetensorsFileTraps() throws {
        let bytes = [UInt8](try Fixture.data("models/llama_gqa/lora/adapter_model.safetensors"))
        let good = try check(bytes, header: 4300, count: 3000, seed: 1) { (path) throws(Diagnostic) in
            try SafetensorsFile(path).source
        }
        #expect(good < 3000)
    }

    @Test func noMutantOfAGGUFFileTraps() throws {
        let bytes = [UInt8](try Fixture.data("gguf/tensor_types.gguf"))
        let header = try GGUFFile(Fixture.path("gguf/tensor_types.gguf")).dataOffset
        let good = try check(bytes, header: header, count: 3000, seed: 2) { (path) throws(Diagnostic) in
            let file = try GGUFFile(path)
            for key in file.keys {
                if case .array(let array)? = file[key] {
                    _ = array.strings?.count
                    _ = array.integers?.count
                    _ = array.floats?.count
                }
            }
            return file.source
        }
        #expect(good < 3000)
    }
}
