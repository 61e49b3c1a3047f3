import Diagnostics
import Formats
import Foundation
import StrictJSON
import TestSupport
import Testing

/// Each kind of error has a cause that leads to it, and the exit status that the command line promises.
@Suite struct ErrorCodeTests {
    private typealias Cause = @Sendable (ScratchFolder) throws -> Void

    private static func open(_ bytes: [UInt8], _ name: String) -> Cause {
        { scratch in _ = try WeightSource.open(try scratch.write(bytes, as: name)) }
    }

    private static func shards(_ index: String) -> Cause {
        { scratch in
            try scratch.write(safetensors(#"{"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#, data: 1), as: "A")
            try scratch.write(index, as: "model.safetensors.index.json")
            _ = try WeightSource.open(scratch.path)
        }
    }

    private static func config(_ member: String) -> Cause {
        { _ in _ = try PEFTConfig(JSONValue(parsing: #"{"peft_type":"LORA","r":1,"lora_alpha":1,\#(member)}"#)) }
    }

    private static func adapter(_ files: [String]) -> Cause {
        { scratch in
            var config = PEFTConfig()
            config.targetModules = .names(["q"])
            try PEFTAdapter.write(config: config, tensors: [], in: scratch.path)
            try FileManager.default.removeItem(atPath: scratch.file("adapter_model.safetensors"))
            for name in files { try scratch.write(safetensors("{}"), as: name) }
            _ = try PEFTAdapter(scratch.path)
        }
    }

    private static let unreadable = #"{"x":{"dtype":"F8_E4M3","shape":[1],"data_offsets":[0,1]}}"#

    private static let causes: [(FormatsCode, Cause)] = [
        (.fileMissing, { _ = try MappedFile($0.file("none")) }), (.fileKind, { _ = try MappedFile($0.path) }),
        (.fileRead, { _ = try MappedFile($0.file(String(repeating: "x", count: 300))) }),
        (
            .fileChanged,
            {
                let file = try MappedFile(try $0.write("long", as: "a"))
                truncate($0.file("a"), 1)
                try file.verifyUnchanged()
            }
        ),
        (.fileCreate, { try AtomicFile.write("x", to: $0.file("none/a")) }),
        (.fileWrite, { try AtomicFile.write("x", to: $0.path) }),
        (.safetensorsHeader, open([1, 2], "a.safetensors")),
        (.safetensorsTensor, open(safetensors(#"{"x":{}}"#), "a.safetensors")),
        (.safetensorsOffsets, open(safetensors("{}", data: 1), "a.safetensors")),
        (
            .safetensorsLimit,
            open(
                safetensors(
                    #"{"__metadata__":{"#
                        + (0..<20_000).map { #""\#($0)":"""# }.joined(separator: ",") + "}}"), "a.safetensors")
        ),
        (.shardIndex, shards("{}")), (.shardFile, shards(#"{"weight_map":{"a":"B"}}"#)),
        (.shardTensors, shards(#"{"weight_map":{"a":"A","b":"A"}}"#)),
        (.ggufHeader, open(GGUFBuilder.make { $0.header(version: 9) }, "a.gguf")),
        (.ggufTruncated, open(Array("GGUF".utf8), "a.gguf")),
        (.ggufKey, open(GGUFBuilder.value(13) { $0.data(64) }, "a.gguf")),
        (.ggufTensor, open(GGUFBuilder.tensor([]), "a.gguf")),
        (.ggufLayout, open(GGUFBuilder.tensor([4], offset: 4), "a.gguf")),
        (.ggufLimit, open(GGUFBuilder.make { $0.header(keys: 1 << 40) }, "a.gguf")),
        (
            .ggufSplit,
            {
                try GGUFFile.write(
                    metadata: [("split.count", .uint16(2)), ("split.no", .uint16(0))], tensors: [],
                    to: $0.file("a-00001-of-00002.gguf"))
                _ = try WeightSource.open($0.file("a-00001-of-00002.gguf"))
            }
        ),
        (.zip, { _ = try PyTorchCheckpoint(try $0.write("PK", as: "a.bin")) }),
        (.pickle, open(Pickle.archive([0x80, 2, 0x2E]), "a.bin")),
        (.pickleGlobal, open(Pickle.archive([0x80, 2] + Pickle.global("os", "system")), "a.bin")),
        (.pytorchTensor, open(Pickle.archive(Pickle.dictionary([("w", Pickle.op("]"))])), "a.bin")),
        (
            .weightsType,
            {
                let path = try $0.write(safetensors(unreadable, data: 1), as: "a.safetensors")
                _ = try SafetensorsFile(path).tensors[0].floats()
            }
        ),
        (
            .weightsSize,
            {
                try SafetensorsFile.write([OutgoingTensor(name: "x", shape: [2], values: [1])], to: $0.file("a"))
            }
        ),
        (.adapterConfig, config(#""target_modules":[]"#)),
        (.adapterKey, config(#""target_modules":["q"],"new_option":1"#)),
        (.adapterPattern, config(#""target_modules":"(""#)), (.adapterTensors, adapter(["adapter_model.safetensors"])),
        (.adapterPickle, adapter(["adapter_model.bin"])),
        (
            .modelFolder,
            {
                try $0.write("{}", as: "config.json")
                _ = try WeightSource.open($0.path)
            }
        ),
        (.unknownKind, { _ = try WeightSource.open($0.path) }),
    ]

    @Test func everyCodeHasACause() throws {
        #expect(Set(Self.causes.map(\.0)) == Set(FormatsCode.allCases))
        for (code, cause) in Self.causes {
            let scratch = try ScratchFolder()
            do {
                try cause(scratch)
                Issue.record("\(code) has no cause")
            } catch let error as Diagnostic {
                #expect(error.code.rawValue == code.rawValue, "\(error)")
                #expect(!error.found.isEmpty && error.description.hasPrefix("error[\(code.rawValue)]"))
            }
        }
    }

    @Test func exitStatusesAreThoseOfTheCommandLine() {
        for code in FormatsCode.allCases {
            let expected: Diagnostics.ExitStatus =
                switch code {
                case .fileMissing: .missingInput
                case .fileRead, .fileWrite, .fileChanged: .inputOutput
                case .fileCreate: .cannotCreate
                default: .badData
                }
            #expect(code.exit == expected, "\(code)")
        }
    }
}
