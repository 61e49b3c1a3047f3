import Diagnostics
import Formats
import Foundation
import TestSupport
import Testing

@Suite struct ModelFolderTests {
    @Test func shardsGiveTheTensorsOfAllFiles() throws {
        let folder = try ModelFolder(Fixture.path("models/qwen2_sharded"))
        let source = try folder.openWeights()
        var count = 0
        for number in 1...5 {
            let plain = try PlainSafetensors(
                Fixture.path("models/qwen2_sharded/model-0000\(number)-of-00005.safetensors"))
            for (name, bytes) in plain.bytes {
                #expect(source[name].map { Array($0.bytes) } == bytes, "\(name)")
                count += 1
            }
        }
        #expect(source.tensors.count == count && source.files.count == 5)
        try source.verifyUnchanged()
    }

    @Test func kindsAreToldApart() throws {
        #expect(try PathKind(ofPath: Fixture.path("models/llama_gqa")) == .modelFolder)
        #expect(try PathKind(ofPath: Fixture.path("models/llama_gqa/lora")) == .adapterFolder)
        #expect(try PathKind(ofPath: Fixture.path("models/llama_gqa/model.safetensors")) == .safetensors)
        #expect(try PathKind(ofPath: Fixture.path("gguf/tiny_llama.gguf")) == .gguf)
        let scratch = try ScratchFolder()
        try scratch.write([UInt8](try Fixture.data("gguf/tiny_llama.gguf")), as: "a")
        try scratch.write([UInt8](try Fixture.data("models/llama_gqa/lora/adapter_model.safetensors")), as: "b")
        try scratch.write("text", as: "c")
        #expect(try PathKind(ofPath: scratch.file("a")) == .gguf)
        #expect(try PathKind(ofPath: scratch.file("b")) == .safetensors)
        #expect(code { () throws(Diagnostic) in _ = try PathKind(ofPath: scratch.file("c")) } == "E-PATH-KIND")
        #expect(code { () throws(Diagnostic) in _ = try PathKind(ofPath: scratch.path) } == "E-PATH-KIND")
        #expect(code { () throws(Diagnostic) in _ = try PathKind(ofPath: scratch.file("d")) } == "E-FILE-MISSING")
        #expect(code { () throws(Diagnostic) in _ = try PathKind(ofPath: "/dev/null") } == "E-FILE-KIND")
    }

    @Test func safetensorsArePreferredToPickles() throws {
        let scratch = try ScratchFolder()
        for name in ["model.safetensors", "pytorch_model.bin"] { try scratch.write("x", as: name) }
        let folder = try ModelFolder(scratch.path)
        #expect(
            folder.weightFiles == [
                .safetensors(scratch.file("model.safetensors")), .pytorch(scratch.file("pytorch_model.bin")),
            ])
    }

    @Test func pickledShardsAreReadByTheirIndex() throws {
        let scratch = try ScratchFolder()
        let floats: [Float] = [0, 1, 2, 3, 4, 5]
        for name in ["a", "b"] {
            let tensor = Pickle.tensor(Pickle.storage(count: 6), shape: [6], strides: [1])
            try scratch.write(Pickle.archive(Pickle.dictionary([(name, tensor)])), as: "\(name).bin")
        }
        let index = #"{"metadata":{"total_size":48},"weight_map":{"a":"a.bin","b":"b.bin"}}"#
        try scratch.write(index, as: "pytorch_model.bin.index.json")
        let source = try ModelFolder(scratch.path).openWeights()
        #expect(try source["a"]?.floats() == floats)
        #expect(try source["b"]?.floats() == floats)
    }

    @Test func aFolderWithoutWeightsSaysSo() throws {
        let scratch = try ScratchFolder()
        try scratch.write("{}", as: "config.json")
        let open = { () throws(Diagnostic) in _ = try ModelFolder(scratch.path).openWeights() }
        #expect(try failure(open).code.rawValue == "E-MODEL-FOLDER")
        try scratch.write("x", as: "model-00001-of-00002.safetensors")
        #expect(try failure(open).found.contains("model-00001-of-00002.safetensors"))
    }
}

/// Indices of shards that are wrong or hostile.
@Suite struct ShardIndexTests {
    private static let shardA = safetensors(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, data: 4)
    private static let shardB = safetensors(#"{"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#, data: 8)
    private static let name = "model.safetensors.index.json"

    private func open(_ index: String, in scratch: ScratchFolder) throws -> Diagnostic? {
        try scratch.write(Self.shardA, as: "A.safetensors")
        try scratch.write(Self.shardB, as: "B.safetensors")
        try scratch.write(index, as: Self.name)
        do {
            _ = try WeightSource.open(scratch.path)
            return nil
        } catch { return error }
    }

    private static func index(_ map: String, metadata: String = "{}") -> String {
        #"{"metadata":\#(metadata),"weight_map":{\#(map)}}"#
    }

    private static let both = #""a":"A.safetensors","b":"B.safetensors""#

    static let accepted = [
        index(both), index(both, metadata: #"{"total_size":12}"#), index(both, metadata: #"{"total_size":12.0}"#),
        #"{"weight_map":{\#(both)}}"#, index(both, metadata: "null"), index(both, metadata: #"{"total_parameters":3}"#),
    ]

    @Test(arguments: accepted) func takesAGoodIndex(_ index: String) throws {
        #expect(try open(index, in: ScratchFolder()) == nil)
    }

    static let refused: [(rule: String, index: String)] = [
        ("climbing", index(#""a":"../A.safetensors","b":"B.safetensors""#)),
        ("absolute", index(#""a":"/tmp/A.safetensors","b":"B.safetensors""#)),
        ("below", index(#""a":"x/A.safetensors","b":"B.safetensors""#)),
        ("backslash", index(#""a":"x\\A.safetensors","b":"B.safetensors""#)),
        ("dot", index(#""a":".","b":"B.safetensors""#)), ("dots", index(#""a":"..","b":"B.safetensors""#)),
        ("empty name", index(#""a":"","b":"B.safetensors""#)), ("NUL", index(#""a":"A\u0000","b":"B.safetensors""#)),
        ("escape", index(#""a":"A\u001b[2J","b":"B.safetensors""#)),
        ("long name", index(#""a":"\#(String(repeating: "x", count: 300))","b":"B.safetensors""#)),
        ("missing shard", index(#""a":"A.safetensors","b":"C.safetensors""#)),
        ("another case", index(#""a":"a.safetensors","b":"B.safetensors""#)),
        ("in index but not in shard", index(both + #","c":"B.safetensors""#)),
        ("in shard but not in index", index(#""a":"A.safetensors","c":"B.safetensors""#)),
        ("in the other shard", index(#""a":"B.safetensors","b":"A.safetensors""#)),
        ("all in one shard", index(#""a":"A.safetensors","b":"A.safetensors""#)),
        ("total_size too small", index(both, metadata: #"{"total_size":11}"#)),
        ("total_size negative", index(both, metadata: #"{"total_size":-12}"#)),
        ("total_size as text", index(both, metadata: #"{"total_size":"12"}"#)),
        ("total_size with a fraction", index(both, metadata: #"{"total_size":12.5}"#)),
        ("tensor twice", index(both + #","a":"A.safetensors""#)), ("number as file", index(#""a":1"#)),
        ("empty map", index("")), ("no map", "{}"), ("map is a list", #"{"weight_map":[]}"#), ("list", "[]"),
        ("metadata is a list", index(both, metadata: "[]")), ("not JSON", "x"), ("empty", ""),
        (
            "5000 shards",
            index((0..<5000).map { #""t\#($0)":"\#($0).safetensors""# }.joined(separator: ","))
        ),
    ]

    @Test(arguments: refused.indices) func refusesABadIndex(_ index: Int) throws {
        let (rule, text) = Self.refused[index]
        let error = try #require(try open(text, in: ScratchFolder()), "\(rule)")
        #expect(error.code.exit == .badData, "\(rule): \(error)")
        #expect(error.file?.hasSuffix(Self.name) == true, "\(rule): \(error)")
    }

    @Test func refusesATensorThatIsInTwoShards() throws {
        let scratch = try ScratchFolder()
        try scratch.write(Self.shardA, as: "C.safetensors")
        let error = try open(Self.index(Self.both + #","c":"C.safetensors""#), in: scratch)
        #expect(error?.code.rawValue == "E-SHARDS-TENSORS")
    }

    @Test func refusesAnIndexBesideASingleFile() throws {
        let scratch = try ScratchFolder()
        try scratch.write(Self.shardA, as: "model.safetensors")
        #expect(try open(Self.index(Self.both), in: scratch)?.code.rawValue == "E-MODEL-FOLDER")
    }

    @Test func takesAnIndexOfTheSingleFile() throws {
        let scratch = try ScratchFolder()
        try scratch.write(Self.shardA, as: "model.safetensors")
        #expect(try open(Self.index(#""a":"model.safetensors""#), in: scratch) == nil)
    }

    @Test func aPipeAsShardDoesNotBlock() throws {
        let scratch = try ScratchFolder()
        try #require(mkfifo(scratch.file("C.safetensors"), 0o600) == 0)
        let error = try open(Self.index(#""a":"A.safetensors","b":"C.safetensors""#), in: scratch)
        #expect(error?.code.exit == .badData)
    }

    @Test func linksAreFollowedOnlyInsideTheModel() throws {
        let fm = FileManager.default
        let outside = try ScratchFolder()
        try outside.write(Self.shardB, as: "B")
        let index = Self.index(#""a":"A.safetensors","b":"L.safetensors""#)
        for (target, accepted) in [
            (outside.file("B"), false), ("B.safetensors", true), ("L.safetensors", false), ("none", false),
            ("/dev/zero", false),
        ] {
            let scratch = try ScratchFolder()
            try fm.createSymbolicLink(atPath: scratch.file("L.safetensors"), withDestinationPath: target)
            let error = try open(index, in: scratch)
            #expect((error == nil) == accepted, "\(target): \(String(describing: error))")
            if let error { #expect(error.code.exit == .badData) }
        }
    }

    @Test func aHubsCacheOfLinksIsRead() throws {
        let scratch = try ScratchFolder()
        let snapshot = scratch.file("models--x/snapshots/abc")
        try FileManager.default.createDirectory(atPath: snapshot, withIntermediateDirectories: true)
        try FileManager.default.createDirectory(
            atPath: scratch.file("models--x/blobs"), withIntermediateDirectories: true)
        for (name, bytes) in [
            ("A.safetensors", Self.shardA), ("B.safetensors", Self.shardB),
            (Self.name, Array(Self.index(Self.both).utf8)),
        ] {
            try scratch.write(bytes, as: "models--x/blobs/\(name.count)\(name.prefix(1))")
            try FileManager.default.createSymbolicLink(
                atPath: snapshot + "/" + name, withDestinationPath: "../../blobs/\(name.count)\(name.prefix(1))")
        }
        #expect(try WeightSource.open(snapshot).names == ["a", "b"])
    }
}
