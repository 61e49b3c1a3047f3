import Autograd
import Diagnostics
import Formats
import Foundation
import Models
import TestSupport
import Testing

/// GGUF files that are well formed and whose values are wrong; see HostileBaseTests for folders.
@Suite struct HostileGGUFTests {
    let workspace = Workspace(threadCount: 1)

    typealias Change = (key: String, value: GGUFValue?)

    /// The tiny llama with other values under some keys; nil removes a key.
    private func file(_ changes: [Change]) throws -> (folder: TemporaryFolder, path: String) {
        let original = try GGUFFile(Fixture.path("gguf/tiny_llama.gguf"))
        var metadata: [(key: String, value: GGUFValue)] = []
        for key in original.keys where key != "general.alignment" && !changes.contains(where: { $0.key == key }) {
            if let value = original[key] { metadata.append((key, value)) }
        }
        for case (let key, let value?) in changes { metadata.append((key, value)) }
        let folder = try TemporaryFolder()
        let path = folder.path("changed.gguf")
        try GGUFFile.write(
            metadata: metadata, tensors: original.source.tensors.map { OutgoingTensor($0) }, to: path)
        return (folder, path)
    }

    private static let none: [GGUFValue] = [
        .uint32(0), .int32(-1), .uint32(1 << 31), .uint64(.max), .int64(.min), .float32(64), .string("64"),
        .array(GGUFArray([64] as [Int32])),
    ]

    private static func odd(_ key: String, _ values: [GGUFValue?]) -> [[Change]] {
        values.map { [("llama.\(key)", $0)] }
    }

    static let cases: [[Change]] =
        odd("block_count", none + [nil, .uint32(1), .uint32(4), .uint32(513)])
        + odd("embedding_length", none + [nil, .uint32(1), .uint32(65), .uint64(1 << 40)])
        + odd("attention.head_count", none + [nil, .uint32(3), .uint32(5), .uint32(4096)])
        + odd("attention.head_count_kv", none + [.uint32(3), .uint32(8), .uint32(4096)])
        + odd("feed_forward_length", none + [nil, .uint32(111)])
        + odd("context_length", none + [nil])
        + odd("attention.key_length", none + [.uint32(1), .uint32(15), .uint32(18), .uint32(1 << 20)])
        + odd("attention.value_length", none + [.uint32(8)])
        + odd("rope.dimension_count", none + [.uint32(1), .uint32(3), .uint32(18)])
        + odd(
            "rope.freq_base",
            [.float32(0), .float32(-1), .float32(.nan), .float32(.infinity), .string("1"), .float64(.nan)])
        + odd(
            "attention.layer_norm_rms_epsilon",
            [.float32(0), .float32(-1), .float32(.nan), .float32(.infinity), .string("1")])
        + odd("rope.scaling.type", [.string("odd"), .uint32(1), .string("longrope")])
        + odd("expert_count", [.uint32(1), .uint32(1 << 20), .int32(-1), .string("8")])
        + [
            [("general.architecture", nil)], [("general.architecture", .string("unheard-of"))],
            [("general.architecture", .uint32(1))], [("general.architecture", .string("llama\u{1B}[2J"))],
            [("llama.rope.scaling.type", .string("linear")), ("llama.rope.scaling.factor", .float32(0))],
            [("llama.rope.scaling.type", .string("linear")), ("llama.rope.scaling.factor", .float32(.nan))],
            [("llama.attention.sliding_window", .int32(-1))], [("llama.attention.scale", .float32(.nan))],
            [("tokenizer.ggml.model", .string("unheard-of"))], [("tokenizer.ggml.model", .uint32(1))],
            [("tokenizer.ggml.pre", .string("unheard-of"))], [("tokenizer.ggml.tokens", nil)],
            [("tokenizer.ggml.tokens", .array(GGUFArray([1, 2] as [Int32])))],
            [("tokenizer.ggml.tokens", .array(GGUFArray(["a", "b"])))],
            [("tokenizer.ggml.tokens", .array(GGUFArray((0..<321).map { "t\($0)" })))],
            [("tokenizer.ggml.tokens", .array(GGUFArray([] as [String])))],
            [("tokenizer.ggml.token_type", .array(GGUFArray(["1"])))],
            [("tokenizer.ggml.token_type", .array(GGUFArray([1, 1] as [Int32])))],
            [("tokenizer.ggml.scores", .array(GGUFArray(["1"])))],
            [("tokenizer.ggml.scores", .array(GGUFArray([0.5] as [Float])))],
            [("tokenizer.ggml.merges", .array(GGUFArray(["ab"])))],
            [("tokenizer.ggml.merges", .array(GGUFArray(["no such"])))],
            [("tokenizer.ggml.merges", .array(GGUFArray([1] as [Int32])))],
            [("tokenizer.ggml.bos_token_id", .uint32(320))], [("tokenizer.ggml.eos_token_id", .uint32(.max))],
            [("tokenizer.ggml.eos_token_id", .int32(-1))], [("tokenizer.ggml.eos_token_id", .string("2"))],
            [("tokenizer.ggml.unknown_token_id", .uint32(1 << 20))],
            [("tokenizer.ggml.add_bos_token", .uint32(1))],
            [("tokenizer.chat_template", .string("{% for x in %}"))],
            [("tokenizer.chat_template", .string(String(repeating: "{% if a %}", count: 100_000)))],
            [("tokenizer.chat_template", .uint32(1))],
            // Byte pieces with odd names, and none of the others.
            [
                ("tokenizer.ggml.model", .string("llama")), ("tokenizer.ggml.merges", nil),
                ("tokenizer.ggml.tokens", .array(GGUFArray(["<unk>", "<0x-1>", "<0xGG>"]))),
                ("tokenizer.ggml.token_type", .array(GGUFArray([2, 6, 6] as [Int32]))),
                ("tokenizer.ggml.scores", .array(GGUFArray([0, 0, 0] as [Float]))),
                ("tokenizer.ggml.bos_token_id", nil), ("tokenizer.ggml.eos_token_id", nil),
                ("tokenizer.ggml.padding_token_id", nil), ("tokenizer.ggml.unknown_token_id", nil),
            ],
        ]

    private func load(_ path: String) throws(Diagnostic) {
        let files = try BaseFiles(path)
        _ = try files.makeModel(in: workspace)
        _ = try files.optionalTokenizer()
        _ = try files.chatTemplate()
    }

    @Test(arguments: cases.indices) func refuses(_ index: Int) throws {
        let changes = Self.cases[index]
        let (folder, path) = try file(changes)
        defer { withExtendedLifetime(folder) {} }
        let error = #expect(throws: Diagnostic.self, "\(changes)") { try load(path) }
        guard let error else { return }
        #expect(error.code.exit == .badData && error.file == path && error.place != nil, "\(changes): \(error)")
        #expect(!"\(error)".unicodeScalars.contains { $0.value < 0x20 || $0.value == 0x7F }, "\(changes)")
    }

    @Test func readsTheFileThatTheCasesChange() throws {
        let (folder, path) = try file([])
        defer { withExtendedLifetime(folder) {} }
        try load(path)
        let (other, without) = try file([("tokenizer.ggml.model", nil)])
        defer { withExtendedLifetime(other) {} }
        #expect(try BaseFiles(without).optionalTokenizer() == nil)
    }
}
