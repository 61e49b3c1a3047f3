import Autograd
import Batches
import Diagnostics
import Formats
import Foundation
import Models
import TestSupport
import Testing
import Tokenization

/// Files that were changed at random with a fixed seed, through the loaders of `espalier inspect`: each is read or refused
/// with status 65, soon. ESPALIER_MUTANTS says how many in all; 2,000 if it is not set.
@Suite(.serialized) struct MutantTests {
    static let total = ProcessInfo.processInfo.environment["ESPALIER_MUTANTS"].flatMap(Int.init) ?? 2000

    /// A file that is changed, in the folder that is then loaded; the other files are those of the fixture.
    struct Subject: Sendable, CustomTestStringConvertible {
        let file: String
        let fixture: String
        /// What stands beside it, by name.
        var beside: [String: String] = [:]
        /// How far into the file changes go: what is behind are numbers.
        var head = Int.max
        /// Loads the file itself rather than the folder.
        var isAlone = false

        var testDescription: String { fixture }
    }

    private static let llama = ["model.safetensors": "models/llama_gqa/model.safetensors"]
    private static let qwen = Dictionary(
        uniqueKeysWithValues: (1...5).map { number in
            let name = "model-0000\(number)-of-00005.safetensors"
            return (name, "models/qwen2_sharded/" + name)
        } + [("config.json", "models/qwen2_sharded/config.json")])
    private static let config = ["config.json": "models/llama_gqa/config.json"]

    static let subjects = [
        Subject(file: "config.json", fixture: "models/llama_gqa/config.json", beside: llama),
        Subject(
            file: "config.json", fixture: "models/deepseek_v3/config.json",
            beside: ["model.safetensors": "models/deepseek_v3/model.safetensors"]),
        Subject(
            file: "config.json", fixture: "models/gemma3_text/config.json",
            beside: ["model.safetensors": "models/gemma3_text/model.safetensors"]),
        Subject(
            file: "config.json", fixture: "models/modernbert_seqcls/config.json",
            beside: ["model.safetensors": "models/modernbert_seqcls/model.safetensors"]),
        Subject(
            file: "model.safetensors", fixture: "models/llama_gqa/model.safetensors", beside: config, head: 3000),
        Subject(
            file: "model.safetensors.index.json", fixture: "models/qwen2_sharded/model.safetensors.index.json",
            beside: qwen),
        Subject(file: "model.gguf", fixture: "gguf/tiny_llama.gguf", head: 12_000, isAlone: true),
        Subject(
            file: "tokenizer.json", fixture: "tokenizers/bytelevel_llama3/tokenizer.json", isAlone: true),
        Subject(file: "tokenizer.json", fixture: "tokenizers/unigram_xlmr/tokenizer.json", isAlone: true),
        Subject(file: "tokenizer.model", fixture: "tokenizers/sentencepiece_unigram/tokenizer.model", isAlone: true),
        Subject(
            file: "chat_template.jinja", fixture: "chat_templates/chatml.jinja",
            beside: llama.merging(config) { first, _ in first }),
    ]

    private static let numbers = [
        "0", "-1", "1", "2", "3", "7", "65536", "2147483647", "2147483648", "4294967296", "9223372036854775807", "1e30",
        "1e-30", "0.5", "1e999", "null", "true", "\"x\"", "[]", "{}",
    ]

    private static func mutant(of bytes: [UInt8], head: Int, _ random: inout SplitMix) -> [UInt8] {
        var mutant = bytes
        for _ in 0..<Int.random(in: 1...3, using: &random) where !mutant.isEmpty {
            let place = Int.random(in: 0..<min(head, mutant.count), using: &random)
            switch Int.random(in: 0..<8, using: &random) {
            case 0: mutant[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 1: mutant[place] = UInt8.random(in: 0...255, using: &random)
            case 2: mutant[place] = [0, 0xFF, 0x7F, 0x80, 0x22, 0x7B, 0x5D].randomElement(using: &random) ?? 0
            case 3: mutant.removeSubrange(place..<min(mutant.count, place + Int.random(in: 1...9, using: &random)))
            case 4: mutant.insert(contentsOf: mutant[place..<min(mutant.count, place + 40)], at: place)
            case 5: mutant.removeSubrange(place...)
            default:
                // A number of the text becomes another, or something that is none.
                guard let start = mutant[place...].firstIndex(where: { (0x30...0x39).contains($0) }) else { continue }
                let end = mutant[start...].firstIndex { !(0x30...0x39).contains($0) } ?? mutant.count
                mutant.replaceSubrange(start..<end, with: (numbers.randomElement(using: &random) ?? "0").utf8)
            }
        }
        return mutant
    }

    private static func load(_ path: String, in workspace: Workspace) throws(Diagnostic) {
        let name = path.split(separator: "/").last ?? ""
        if name.hasPrefix("tokenizer.") {
            return use(try BaseFiles.tokenizer(at: path))
        }
        let files = try BaseFiles(path)
        let model = try files.makeModel(in: workspace)
        if let tokenizer = try files.optionalTokenizer() { use(tokenizer) }
        _ = try files.chatTemplate()
        _ = try files.remoteCode()
        for tensor in files.weights.tensors where tensor.type.isConvertible { _ = try tensor.nonfiniteCount() }
        let batch = PackedBatch([Example(tokens: [0, 1, 2], weights: [0, 1, 1])], sharingPrefixes: false)
        _ = (model as? Decoder)?.trace(batch, in: workspace)
    }

    private static func use(_ tokenizer: any TextTokenizer) {
        let text = "Straße 東京 <s>it's ﬁ\u{0} ①</s>"
        for trusts in [true, false] {
            let ids = tokenizer.encode(text, addingSpecialTokens: true, recognizingSpecialTokens: trusts)
            _ = tokenizer.decode(ids + [0, 1, -1, .max], skippingSpecialTokens: trusts)
        }
    }

    @Test(arguments: subjects) func isReadOrRefusedSoon(_ subject: Subject) throws {
        let folder = try TemporaryFolder()
        for (name, fixture) in subject.beside {
            try FileManager.default.copyItem(atPath: Fixture.path(fixture), toPath: folder.path(name))
        }
        let bytes = try [UInt8](Fixture.data(subject.fixture))
        let path = subject.isAlone ? folder.path(subject.file) : folder.url.path
        let workspace = Workspace(threadCount: 1)
        var random = SplitMix(state: UInt64(subject.fixture.utf8.reduce(0) { $0 &* 31 &+ Int($1) } & 0xFFFF))
        var refused = 0
        let count = Self.total / Self.subjects.count
        for round in 0..<count {
            let mutant = Self.mutant(of: bytes, head: subject.head, &random)
            try Data(mutant).write(to: URL(fileURLWithPath: folder.path(subject.file)))
            // 2 s a megabyte where the code is optimised; the rest of the folder is read too.
            let limit = _isDebugAssertConfiguration() ? 20.0 : 2.0
            let seconds = processorSeconds {
                do throws(Diagnostic) {
                    try Self.load(path, in: workspace)
                } catch {
                    refused += 1
                    #expect(error.code.exit == .badData || error.code.exit == .missingInput, "\(round): \(error)")
                }
            }
            #expect(seconds < limit, "mutant \(round) took \(seconds) s")
        }
        #expect(refused > count / 10)
    }
}

/// A small random number generator with a fixed seed.
private struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var value = state
        value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
        value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
        return value ^ value >> 31
    }
}
