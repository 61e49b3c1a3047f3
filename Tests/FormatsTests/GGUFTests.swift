import Diagnostics
import Formats
import Foundation
import TestSupport
import Testing

@Suite struct GGUFTests {
    @Test func readsTheFixturesTensors() throws {
        let file = try GGUFFile(Fixture.path("gguf/tiny_llama.gguf"))
        let expected = try SafetensorsFile(Fixture.path("gguf/tiny_llama_expected.safetensors")).source
        let original = try SafetensorsFile(Fixture.path("models/llama_gqa/model.safetensors")).source
        #expect(file.version == 3 && file.alignment == 32)
        let norm = try #require(file.source["output_norm.weight"])
        #expect(try norm.floats() == original["model.norm.weight"]?.floats())
        let head = try #require(file.source["output.weight"])
        #expect(head.shape == [320, 64] && head.type == .f16)
        let halves = try #require(try original["lm_head.weight"]?.floats()).map { Float(Float16($0)) }
        #expect(try head.floats() == halves)
        #expect(expected.tensors.count > 0)
    }

    @Test func readsMetadataOfAllKinds() throws {
        let file = try GGUFFile(Fixture.path("gguf/tiny_llama.gguf"))
        #expect(try file.string("general.architecture") == "llama")
        #expect(try file.integer("llama.block_count") == 3)
        #expect(try file.number("llama.rope.freq_base") != nil)
        let tokens = try #require(try file.strings("tokenizer.ggml.tokens"))
        #expect(tokens.count == (try file.integers("tokenizer.ggml.token_type"))?.count)
        #expect(try file.string("tokenizer.chat_template")?.isEmpty == false)
        #expect(try file.string("no.such.key") == nil)
        #expect(Set(file.keys).count == file.keys.count)
    }

    static let misuse: [(String, @Sendable (GGUFFile) throws(Diagnostic) -> Void)] = [
        ("integer as string", { (file) throws(Diagnostic) in _ = try file.string("llama.block_count") }),
        ("string as integer", { (file) throws(Diagnostic) in _ = try file.integer("general.architecture") }),
        ("string as number", { (file) throws(Diagnostic) in _ = try file.number("general.architecture") }),
        ("string as bool", { (file) throws(Diagnostic) in _ = try file.bool("general.architecture") }),
        ("strings as floats", { (file) throws(Diagnostic) in _ = try file.floats("tokenizer.ggml.tokens") }),
        ("strings as integers", { (file) throws(Diagnostic) in _ = try file.integers("tokenizer.ggml.merges") }),
        ("types as strings", { (file) throws(Diagnostic) in _ = try file.strings("tokenizer.ggml.token_type") }),
        ("out of range", { (file) throws(Diagnostic) in _ = try file.integer("llama.block_count", in: 5...9) }),
        ("missing", { (file) throws(Diagnostic) in _ = try file.required("no.key", try file.integer("no.key")) }),
    ]

    @Test(arguments: misuse.indices) func aValueOfAnotherKindIsAnErrorWithItsKey(_ index: Int) throws {
        let file = try GGUFFile(Fixture.path("gguf/tiny_llama.gguf"))
        let error = try failure { () throws(Diagnostic) in try Self.misuse[index].1(file) }
        #expect(error.code.rawValue == "E-GGUF-KEY" && error.place?.contains("key \"") == true)
    }

    static let hostile: [(rule: String, bytes: [UInt8])] = [
        ("empty file", []), ("three bytes", Array("GGU".utf8)), ("only the magic", Array("GGUF".utf8)),
        ("wrong magic", GGUFBuilder.make { $0.header(magic: "GGML") }),
        ("big-endian magic", GGUFBuilder.make { $0.header(magic: "FUGG") }),
        ("version 0", GGUFBuilder.make { $0.header(version: 0) }),
        ("version 1", GGUFBuilder.make { $0.header(version: 1) }),
        ("version 4", GGUFBuilder.make { $0.header(version: 4) }),
        ("big-endian version", GGUFBuilder.make { $0.header(version: UInt32(3).byteSwapped) }),
        (
            "no counts",
            GGUFBuilder.make {
                $0.bytes = Array("GGUF".utf8); $0.u32(3)
            }
        ),
        ("2^32 keys", GGUFBuilder.make { $0.header(keys: 1 << 32) }),
        ("2^63 keys", GGUFBuilder.make { $0.header(keys: 1 << 63) }),
        ("2^64 - 1 keys", GGUFBuilder.make { $0.header(keys: .max) }),
        ("2^32 tensors", GGUFBuilder.make { $0.header(tensors: 1 << 32) }),
        ("2^63 tensors", GGUFBuilder.make { $0.header(tensors: 1 << 63) }),
        (
            "a key too many",
            GGUFBuilder.make {
                $0.header(keys: 2); $0.key("a", kind: 0, [1])
            }
        ),
        (
            "key length 2^64 - 1",
            GGUFBuilder.make {
                $0.header(keys: 1); $0.u64(.max); $0.data(64)
            }
        ),
        (
            "key longer than the file",
            GGUFBuilder.make {
                $0.header(keys: 1); $0.u64(1000); $0.data(64)
            }
        ),
        ("key of 70000 bytes", GGUFBuilder.value(0, key: String(repeating: "k", count: 70000)) { $0.bytes.append(1) }),
        ("empty key", GGUFBuilder.value(0, key: "") { $0.bytes.append(1) }),
        ("control character in a key", GGUFBuilder.value(0, key: "a\u{1B}") { $0.bytes.append(1) }),
        (
            "key that is not UTF-8",
            GGUFBuilder.make {
                $0.header(keys: 1); $0.text([0xC3, 0x28]); $0.u32(0); $0.data(9)
            }
        ),
        (
            "key twice",
            GGUFBuilder.make {
                $0.header(keys: 2); $0.key("a", kind: 0, [1]); $0.key("a", kind: 0, [1])
            }
        ),
        ("kind 13", GGUFBuilder.value(13) { $0.data(64) }), ("kind 2^32 - 1", GGUFBuilder.value(.max) { $0.data(64) }),
        ("no value", GGUFBuilder.value(10) { _ in }), ("half a value", GGUFBuilder.value(10) { $0.u32(1) }),
        ("truth value 2", GGUFBuilder.value(7) { $0.bytes.append(2) }),
        (
            "string of 2^64 - 1",
            GGUFBuilder.value(8) {
                $0.u64(.max); $0.data(64)
            }
        ),
        (
            "string of 2 GB",
            GGUFBuilder.value(8) {
                $0.u64(2 << 30); $0.data(64)
            }
        ),
        (
            "string longer than the rest",
            GGUFBuilder.value(8) {
                $0.u64(9); $0.bytes += [1, 2]
            }
        ),
        ("string that is not UTF-8", GGUFBuilder.value(8) { $0.text([0xFF]) }),
        (
            "array of arrays",
            GGUFBuilder.value(9) {
                $0.u32(9); $0.u64(1); $0.u32(0); $0.u64(0)
            }
        ),
        (
            "array of kind 13",
            GGUFBuilder.value(9) {
                $0.u32(13); $0.u64(1); $0.data(64)
            }
        ),
        (
            "array count × size over 2^64",
            GGUFBuilder.value(9) {
                $0.u32(10); $0.u64(1 << 61 | 1); $0.data(64)
            }
        ),
        (
            "array of 2^64 - 1",
            GGUFBuilder.value(9) {
                $0.u32(0); $0.u64(.max); $0.data(64)
            }
        ),
        (
            "array longer than the rest",
            GGUFBuilder.value(9) {
                $0.u32(4); $0.u64(17); $0.bytes += [UInt8](repeating: 0, count: 64)
            }
        ),
        (
            "strings longer than the rest",
            GGUFBuilder.value(9) {
                $0.u32(8); $0.u64(2); $0.text("a")
            }
        ),
        (
            "string array that is not UTF-8",
            GGUFBuilder.value(9) {
                $0.u32(8); $0.u64(1); $0.text([0x80])
            }
        ),
        (
            "truth array with 2",
            GGUFBuilder.value(9) {
                $0.u32(7); $0.u64(2); $0.bytes += [1, 2]
            }
        ),
        ("alignment 0", GGUFBuilder.value(4, key: "general.alignment") { $0.u32(0) }),
        ("alignment 13", GGUFBuilder.value(4, key: "general.alignment") { $0.u32(13) }),
        ("alignment 2^31", GGUFBuilder.value(4, key: "general.alignment") { $0.u32(1 << 31) }),
        ("alignment as uint64", GGUFBuilder.value(10, key: "general.alignment") { $0.u64(32) }),
        ("alignment as text", GGUFBuilder.value(8, key: "general.alignment") { $0.text("32") }),
        ("no dimensions", GGUFBuilder.tensor([])), ("5 dimensions", GGUFBuilder.tensor([1, 1, 1, 1, 1])),
        (
            "2^32 - 1 dimensions",
            GGUFBuilder.make {
                $0.header(tensors: 1); $0.text("t"); $0.u32(.max); $0.data(64)
            }
        ),
        ("dimension 0", GGUFBuilder.tensor([4, 0])), ("dimension -1", GGUFBuilder.tensor([UInt64.max])),
        ("dimension 2^42 + 1", GGUFBuilder.tensor([1 << 42 | 1])), ("dimension 2^63", GGUFBuilder.tensor([1 << 63])),
        ("product over 2^63", GGUFBuilder.tensor([1 << 32, 1 << 32])),
        ("product over 2^64", GGUFBuilder.tensor([1 << 32, 1 << 32, 4])),
        ("bytes over 2^63", GGUFBuilder.tensor([1 << 62])),
        ("row of 31 in blocks", GGUFBuilder.tensor([31], type: 2)),
        ("rows of 16 in blocks", GGUFBuilder.tensor([16, 2], type: 2)),
        ("rows of 32 in long blocks", GGUFBuilder.tensor([32, 8], type: 12, data: 144)),
        ("removed type 4", GGUFBuilder.tensor([32], type: 4)), ("removed type 31", GGUFBuilder.tensor([32], type: 31)),
        ("type 1000", GGUFBuilder.tensor([32], type: 1000)), ("type 2^32 - 1", GGUFBuilder.tensor([32], type: .max)),
        ("past the end", GGUFBuilder.tensor([17])), ("offset past the end", GGUFBuilder.tensor([4], offset: 4096)),
        ("offset of 2^63", GGUFBuilder.tensor([4], offset: 1 << 63)),
        ("offset near 2^63", GGUFBuilder.tensor([4], offset: (1 << 63) - 32)),
        ("offset of 2^64 - 32", GGUFBuilder.tensor([4], offset: .max - 31)),
        ("offset off the alignment", GGUFBuilder.tensor([4], offset: 4)),
        ("gap before the data", GGUFBuilder.tensor([4], offset: 32)),
        ("empty tensor name", GGUFBuilder.tensor([4], name: "")),
        ("64-byte tensor name", GGUFBuilder.tensor([4], name: String(repeating: "n", count: 64))),
        ("NUL in a tensor name", GGUFBuilder.tensor([4], name: "a\0b")),
        (
            "no data",
            GGUFBuilder.make {
                $0.header(tensors: 1); $0.tensor("t", [4])
            }
        ),
        ("one byte short", Array(GGUFBuilder.tensor([16]).dropLast())),
        (
            "a tensor too many",
            GGUFBuilder.make {
                $0.header(tensors: 2); $0.tensor("t", [4]); $0.data(64)
            }
        ),
        (
            "overlap",
            GGUFBuilder.make {
                $0.header(tensors: 2); $0.tensor("a", [16]); $0.tensor("b", [16], offset: 32); $0.data(128)
            }
        ),
        (
            "same bytes",
            GGUFBuilder.make {
                $0.header(tensors: 2); $0.tensor("a", [4]); $0.tensor("b", [4]); $0.data(128)
            }
        ),
        (
            "same name",
            GGUFBuilder.make {
                $0.header(tensors: 2); $0.tensor("a", [8]); $0.tensor("a", [8], offset: 32); $0.data(64)
            }
        ),
        (
            "gap between tensors",
            GGUFBuilder.make {
                $0.header(tensors: 2); $0.tensor("a", [8]); $0.tensor("b", [8], offset: 64); $0.data(96)
            }
        ),
        (
            "offsets for another alignment",
            GGUFBuilder.make {
                $0.header(tensors: 2, keys: 1)
                $0.key("general.alignment", kind: 4, [64, 0, 0, 0])
                $0.tensor("a", [8])
                $0.tensor("b", [8], offset: 32)
                $0.data(128, alignment: 64)
            }
        ),
    ]

    @Test(arguments: hostile.indices) func refusesWhatTheFormatForbids(_ index: Int) throws {
        let scratch = try ScratchFolder()
        let (rule, bytes) = Self.hostile[index]
        let path = try scratch.write(bytes, as: "bad.gguf")
        let error = try failure { () throws(Diagnostic) in _ = try GGUFFile(path) }
        #expect(error.code.exit == .badData, "\(rule)")
        #expect(
            error.code.rawValue.hasPrefix("E-GGUF") && error.file == path && error.place != nil, "\(rule): \(error)")
    }

    static let valid: [(rule: String, bytes: [UInt8])] = [
        ("empty", GGUFBuilder.make { $0.header() }), ("version 2", GGUFBuilder.make { $0.header(version: 2) }),
        ("one tensor", GGUFBuilder.tensor([16])),
        ("63-byte name", GGUFBuilder.tensor([4], name: String(repeating: "n", count: 63))),
        ("last padding missing", GGUFBuilder.tensor([3], data: 12)),
        (
            "alignment 64",
            GGUFBuilder.make {
                $0.header(tensors: 2, keys: 1)
                $0.key("general.alignment", kind: 4, [64, 0, 0, 0])
                $0.tensor("b", [8], offset: 64)
                $0.tensor("a", [8])
                $0.data(96, alignment: 64)
            }
        ),
    ]

    @Test(arguments: valid.indices) func takesWhatTheFormatAllows(_ index: Int) throws {
        let scratch = try ScratchFolder()
        _ = try GGUFFile(try scratch.write(Self.valid[index].bytes, as: "good.gguf"))
    }

    @Test func refusesTheFixtureCutAtAnyByte() throws {
        let whole = [UInt8](try Fixture.data("gguf/tensor_types.gguf"))
        let dataOffset = try GGUFFile(Fixture.path("gguf/tensor_types.gguf")).dataOffset
        let scratch = try ScratchFolder()
        let ends = Array(0..<min(dataOffset, 4096)) + [dataOffset, dataOffset + 1, whole.count - 64]
        for end in ends {
            let path = try scratch.write(Array(whole[..<end]), as: "cut.gguf")
            #expect(code { () throws(Diagnostic) in _ = try GGUFFile(path) } != nil, "cut at \(end)")
        }
    }

    @Test func aFileWrittenHereReadsBack() throws {
        let scratch = try ScratchFolder()
        let path = scratch.file("out.gguf")
        let original = try GGUFFile(Fixture.path("gguf/tensor_types.gguf"))
        let metadata: [(key: String, value: GGUFValue)] = [
            ("general.architecture", .string("llama")), ("a", .uint8(200)), ("b", .int8(-3)), ("c", .uint16(60000)),
            ("d", .int16(-300)), ("e", .uint32(4_000_000_000)), ("f", .int32(-5)), ("g", .float32(0.5)),
            ("h", .bool(true)), ("i", .uint64(.max)), ("j", .int64(.min)), ("k", .float64(0.1)),
            ("l", .array(GGUFArray(["a", "", "ü"]))), ("m", .array(GGUFArray([1.5, -2] as [Float]))),
            ("n", .array(GGUFArray([7, -7] as [Int32]))), ("o", .array(GGUFArray([true, false]))),
            ("p", .array(GGUFArray([] as [String]))),
        ]
        var tensors = original.tensors.map { OutgoingTensor($0) }
        tensors.append(OutgoingTensor(name: "odd", shape: [3, 5, 7], values: (0..<105).map(Float.init), as: .f16))
        try GGUFFile.write(metadata: metadata, tensors: tensors, to: path)
        let copy = try GGUFFile(path)
        #expect(copy.keys == metadata.map(\.key))
        #expect(try copy.string("general.architecture") == "llama")
        #expect(try copy.integer("a") == 200)
        #expect(try copy.integer("b", in: -9...0) == -3)
        #expect(try copy.integer("c") == 60000)
        #expect(try copy.integer("d", in: -999...0) == -300)
        #expect(try copy.integer("e") == 4_000_000_000)
        #expect(try copy.integer("f", in: -9...9) == -5)
        #expect(try copy.number("g") == 0.5)
        #expect(try copy.bool("h") == true)
        #expect(code { () throws(Diagnostic) in _ = try copy.integer("i") } == "E-GGUF-KEY")
        #expect(try copy.integer("j", in: Int.min...0) == Int.min)
        #expect(try copy.number("k") == 0.1)
        #expect(try copy.strings("l") == ["a", "", "ü"])
        #expect(try copy.floats("m") == [1.5, -2])
        #expect(try copy.integers("n") == [7, -7])
        #expect(try copy.integers("n", perLayer: 2) == [7, -7])
        #expect(try copy.integers("c", perLayer: 2) == [60000, 60000])
        #expect(code { () throws(Diagnostic) in _ = try copy.integers("n", perLayer: 3) } == "E-GGUF-KEY")
        #expect(try copy.bools("o") == [true, false])
        #expect(try copy.strings("p") == [])
        #expect(copy.tensors.map(\.name) == tensors.map(\.name))
        for tensor in original.tensors {
            let written = try #require(copy.source[tensor.name])
            #expect(written.shape == tensor.shape && written.type == tensor.type)
            #expect(written.bytes.elementsEqual(tensor.bytes))
        }
        let odd = try #require(copy.source["odd"])
        #expect(odd.shape == [3, 5, 7])
        #expect(try odd.floats() == (0..<105).map(Float.init))
    }

    @Test func theWriterRefusesWhatTheReaderWould() throws {
        let scratch = try ScratchFolder()
        let path = scratch.file("out.gguf")
        let one = OutgoingTensor(name: "a", shape: [1], values: [1])
        let cases: [([(key: String, value: GGUFValue)], [OutgoingTensor], String)] = [
            ([("a", .bool(true)), ("a", .bool(true))], [], "E-GGUF-KEY"), ([], [one, one], "E-GGUF-TENSOR"),
            ([], [OutgoingTensor(name: String(repeating: "x", count: 64), shape: [1], values: [1])], "E-GGUF-TENSOR"),
            ([], [OutgoingTensor(name: "s", shape: [], values: [1])], "E-GGUF-TENSOR"),
            ([], [OutgoingTensor(name: "s", shape: [0], values: [])], "E-GGUF-TENSOR"),
            ([], [OutgoingTensor(name: "s", shape: [2], values: [1])], "E-WEIGHTS-SIZE"),
        ]
        for (metadata, tensors, expected) in cases {
            let found = code { () throws(Diagnostic) in
                try GGUFFile.write(metadata: metadata, tensors: tensors, to: path)
            }
            #expect(found == expected)
        }
        #expect(try scratch.names().isEmpty)
    }

    /// A part of a split model with one tensor.
    private func writePart(_ number: Int, of count: Int, tensors total: Int, as path: String) throws {
        let tensor = OutgoingTensor(name: "t\(number)", shape: [2], values: [Float(number), 1])
        try GGUFFile.write(
            metadata: [
                ("split.no", .uint16(UInt16(number))), ("split.count", .uint16(UInt16(count))),
                ("split.tensors.count", .int32(Int32(total))),
            ], tensors: [tensor], to: path)
    }

    @Test func aSplitModelIsReadFromAnyOfItsParts() throws {
        let scratch = try ScratchFolder()
        for number in 0..<3 {
            try writePart(number, of: 3, tensors: 3, as: scratch.file("m-0000\(number + 1)-of-00003.gguf"))
        }
        for number in 1...3 {
            let model = try GGUFModel(scratch.file("m-0000\(number)-of-00003.gguf"))
            #expect(model.weights.names == ["t0", "t1", "t2"])
            #expect(model.header.file.path.hasSuffix("m-00001-of-00003.gguf"))
        }
    }

    @Test func aSplitModelWithoutAPartIsRefused() throws {
        let scratch = try ScratchFolder()
        try writePart(0, of: 3, tensors: 3, as: scratch.file("m-00001-of-00003.gguf"))
        try writePart(2, of: 3, tensors: 3, as: scratch.file("m-00003-of-00003.gguf"))
        let open = { () throws(Diagnostic) in _ = try GGUFModel(scratch.file("m-00001-of-00003.gguf")) }
        #expect(try failure(open).code.rawValue == "E-GGUF-SPLIT")
        try writePart(2, of: 3, tensors: 3, as: scratch.file("m-00002-of-00003.gguf"))
        #expect(try failure(open).code.rawValue == "E-GGUF-SPLIT")
        try writePart(1, of: 3, tensors: 3, as: scratch.file("m-00002-of-00003.gguf"))
        try open()
        try writePart(0, of: 3, tensors: 4, as: scratch.file("m-00001-of-00003.gguf"))
        #expect(try failure(open).code.rawValue == "E-GGUF-SPLIT")
        try writePart(0, of: 3, tensors: 3, as: scratch.file("renamed.gguf"))
        let renamed = { () throws(Diagnostic) in _ = try GGUFModel(scratch.file("renamed.gguf")) }
        #expect(try failure(renamed).code.rawValue == "E-GGUF-SPLIT")
    }
}
