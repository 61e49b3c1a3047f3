import Diagnostics
import Formats
import Foundation
import StrictJSON
import TestSupport
import Testing

@Suite struct SafetensorsWritingTests {
    @Test(arguments: SafetensorsTests.fixtures) func aFileWrittenByTheReferenceComesBackByteForByte(
        _ name: String
    ) throws {
        let scratch = try ScratchFolder()
        let original = try SafetensorsFile(Fixture.path(name))
        try SafetensorsFile.write(
            original.tensors.reversed().map { OutgoingTensor($0) }, metadata: original.metadata,
            to: scratch.file("copy.safetensors"))
        let copy = try Data(contentsOf: URL(fileURLWithPath: scratch.file("copy.safetensors")))
        #expect(copy == (try Fixture.data(name)))
    }

    @Test func widerTypesComeFirstAndEmptyTensorsLast() throws {
        let scratch = try ScratchFolder()
        let make = { (name: String, type: ElementType, shape: [Int]) in
            OutgoingTensor(name: name, shape: shape, type: type) { () throws(Diagnostic) in
                [UInt8](repeating: 7, count: type.byteCount(of: shape.reduce(1, *)) ?? 0)
            }
        }
        try SafetensorsFile.write(
            [
                make("u8", .u8, [3]), make("empty", .i64, [0]), make("bf", .bf16, [1]), make("b", .f32, [2]),
                make("a", .f32, [2]), make("long", .i64, [1]), make("flag", .bool, [1]), make("half", .f16, [1]),
            ], to: scratch.file("a.safetensors"))
        let file = try SafetensorsFile(scratch.file("a.safetensors"))
        #expect(file.tensors.map(\.name) == ["long", "a", "b", "bf", "half", "u8", "flag", "empty"])
        #expect(file.metadata.map(\.key) == ["format"] && file.metadata.map(\.value) == ["pt"])
        for tensor in file.tensors {
            let offset = tensor.bytes.count == 0 ? 0 : tensor.bytes.baseAddress! - file.file.bytes.baseAddress!
            #expect(offset % tensor.type.blockBytes == 0, "\(tensor.name)")
        }
    }

    @Test func floatsAreStoredInTheAskedType() throws {
        let scratch = try ScratchFolder()
        let values: [Float] = [1, -2.5, 0.1, 3e38]
        let types: [ElementType] = [.f32, .f16, .bf16, .f64]
        try SafetensorsFile.write(
            types.map { OutgoingTensor(name: $0.rawValue, shape: [2, 2], values: values, as: $0) },
            to: scratch.file("a.safetensors"))
        let source = try SafetensorsFile(scratch.file("a.safetensors")).source
        #expect(try source["F32"]?.floats() == values)
        #expect(try source["F64"]?.floats() == values)
        #expect(try source["F16"]?.floats() == values.map { Float(Float16($0)) })
        #expect(try source["BF16"]?.floats()[..<3] == [1, -2.5, 0.100097656])
    }

    @Test func aFailureLeavesTheOldFileAndNoOther() throws {
        let scratch = try ScratchFolder()
        let path = try scratch.write("old", as: "a.safetensors")
        let short = OutgoingTensor(name: "x", shape: [4], type: .f32) { () throws(Diagnostic) in [1, 2] }
        let taken = [
            OutgoingTensor(name: "x", shape: [0], values: []), OutgoingTensor(name: "x", shape: [0], values: []),
        ]
        let block = OutgoingTensor(name: "x", shape: [32], values: [Float](repeating: 0, count: 32), as: .q8_0)
        let odd = OutgoingTensor(name: "x", shape: [2, -1], values: [])
        for (tensors, expected) in [
            ([short], "E-WEIGHTS-SIZE"), (taken, "E-SAFETENSORS-TENSOR"), ([block], "E-SAFETENSORS-TENSOR"),
            ([odd], "E-WEIGHTS-SIZE"),
        ] {
            #expect(code { () throws(Diagnostic) in try SafetensorsFile.write(tensors, to: path) } == expected)
        }
        #expect(try scratch.names() == ["a.safetensors"])
        #expect(try String(contentsOfFile: path, encoding: .utf8) == "old")
    }

    @Test func aNameWithQuotesAndUmlautsSurvives() throws {
        let scratch = try ScratchFolder()
        let name = "a\"b\\ä\u{1F1EB}"
        try SafetensorsFile.write(
            [OutgoingTensor(name: name, shape: [], values: [4])], metadata: [], to: scratch.file("a.safetensors"))
        let file = try SafetensorsFile(scratch.file("a.safetensors"))
        #expect(try file.source[name]?.floats() == [4])
        #expect(file.metadata.isEmpty)
    }
}
