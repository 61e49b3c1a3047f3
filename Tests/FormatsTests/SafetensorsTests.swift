import Diagnostics
import Formats
import Foundation
import TestSupport
import Testing

@Suite struct SafetensorsTests {
    static let fixtures = [
        "models/llama_gqa/model.safetensors", "models/llama_bf16/model.safetensors",
        "models/llama_gqa/expected.safetensors", "models/llama_tied_mqa/model.safetensors",
        "models/llama_gqa/lora/adapter_model.safetensors", "gguf/tensor_types_expected.safetensors",
    ]

    @Test(arguments: fixtures) func readsWhatAPlainReaderReads(_ name: String) throws {
        let file = try SafetensorsFile(Fixture.path(name))
        let plain = try PlainSafetensors(Fixture.path(name))
        #expect(file.tensors.count == plain.bytes.count)
        for tensor in file.tensors {
            #expect(tensor.shape == plain.shapes[tensor.name])
            #expect(tensor.type.rawValue == plain.types[tensor.name])
            #expect(Array(tensor.bytes) == plain.bytes[tensor.name], "\(tensor.name)")
        }
    }

    @Test func metadataKeepsItsOrder() throws {
        let scratch = try ScratchFolder()
        let header = #"{"__metadata__":{"z":"1","a":"é\n","format":"pt"}}"#
        let file = try SafetensorsFile(try scratch.write(safetensors(header), as: "a.safetensors"))
        #expect(file.metadata.map(\.key) == ["z", "a", "format"])
        #expect(file.metadata.map(\.value) == ["1", "é\n", "pt"])
        #expect(file.tensors.isEmpty)
    }

    static let accepted: [(String, Int)] = [
        (#"{}"#, 0), (#"{}      "#, 0),
        (#"{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#, 4),
        (#"{"a":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}"#, 0),
        (
            #"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"z":{"dtype":"F32","shape":[3,0],"data_offsets":[4,4]}}"#,
            4
        ),
        (
            #"{"y":{"dtype":"I8","shape":[0],"data_offsets":[0,0]},"z":{"dtype":"I8","shape":[0],"data_offsets":[0,0]}}"#,
            0
        ),
        (
            #"{ "b":{"shape":[2],"data_offsets":[2,4],"dtype":"U8"}, "a":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]} }"#,
            4
        ),
        (#"{"F6":{"dtype":"F6_E2M3","shape":[4],"data_offsets":[0,3]}}"#, 3),
        (#"{"\u0061\\":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#, 1),
    ]

    @Test(arguments: accepted.indices) func takesWhatTheFormatAllows(_ index: Int) throws {
        let scratch = try ScratchFolder()
        let (header, data) = Self.accepted[index]
        _ = try SafetensorsFile(try scratch.write(safetensors(header, data: data), as: "a.safetensors"))
    }

    /// A header with the one tensor `x` of these properties.
    private static func one(_ dtype: String, _ shape: String, _ offsets: String) -> String {
        #"{"x":{"dtype":\#(dtype),"shape":\#(shape),"data_offsets":\#(offsets)}}"#
    }

    private static func two(_ a: String, _ b: String, shapes: (Int, Int) = (1, 1)) -> String {
        #"{"a":{"dtype":"F32","shape":[\#(shapes.0)],"data_offsets":\#(a)},"#
            + #""b":{"dtype":"F32","shape":[\#(shapes.1)],"data_offsets":\#(b)}}"#
    }

    static let headers: [(rule: String, header: String, data: Int)] = [
        ("leading space", " {}", 0), ("byte-order mark", "\u{FEFF}{}", 0), ("array", "[]", 0), ("text", "ab", 0),
        ("unclosed", "{ ", 0), ("trailing comma", #"{"__metadata__":{},}"#, 0), ("garbage behind", "{}x", 0),
        ("second document", "{}{}", 0), ("NaN", one(#""F32""#, "[NaN]", "[0,4]"), 4),
        ("tensor twice", two("[0,4]", "[4,8]").replacingOccurrences(of: "\"b\"", with: "\"a\""), 8),
        ("tensor twice by escape", two("[0,4]", "[4,8]").replacingOccurrences(of: "\"b\"", with: #""\u0061""#), 8),
        ("metadata twice", #"{"__metadata__":{},"__metadata__":{}}"#, 0),
        ("metadata key twice", #"{"__metadata__":{"a":"1","a":"2"}}"#, 0),
        ("metadata number", #"{"__metadata__":{"a":1}}"#, 0), ("metadata null", #"{"__metadata__":null}"#, 0),
        ("metadata object", #"{"__metadata__":{"a":{}}}"#, 0), ("metadata array", #"{"__metadata__":[]}"#, 0),
        ("deep", #"{"x":"# + String(repeating: "[", count: 600) + String(repeating: "]", count: 600) + "}", 0),
        ("deep metadata", #"{"__metadata__":"# + String(repeating: #"{"a":"#, count: 600), 0),
        ("unknown dtype", one(#""F31""#, "[1]", "[0,4]"), 4), ("lower-case dtype", one(#""f32""#, "[1]", "[0,4]"), 4),
        ("dtype of ggml", one(#""Q4_0""#, "[32]", "[0,18]"), 18), ("number as dtype", one("32", "[1]", "[0,4]"), 4),
        ("null as dtype", one("null", "[1]", "[0,4]"), 4), ("half a byte", one(#""F4""#, "[3]", "[0,2]"), 2),
        ("three quarters of a byte", one(#""F6_E3M2""#, "[2]", "[0,2]"), 2),
        ("negative dimension", one(#""F32""#, "[-1]", "[0,4]"), 4),
        ("two negative dimensions", one(#""F32""#, "[-1,-1]", "[0,4]"), 4),
        ("float dimension", one(#""F32""#, "[1.0]", "[0,4]"), 4), ("1e19", one(#""F32""#, "[1e19]", "[0,4]"), 4),
        ("exponent", one(#""F32""#, "[1e0]", "[0,4]"), 4), ("leading zero", one(#""F32""#, "[01]", "[0,4]"), 4),
        ("2^63", one(#""F32""#, "[9223372036854775808]", "[0,4]"), 4),
        ("2^64", one(#""F32""#, "[18446744073709551616]", "[0,4]"), 4),
        ("product over 2^63", one(#""I8""#, "[9223372036854775807,2]", "[0,4]"), 4),
        ("product over 2^64", one(#""I8""#, "[4294967296,4294967297]", "[0,4294967296]"), 4),
        ("product over, times zero", one(#""I8""#, "[9223372036854775807,2,0]", "[0,0]"), 0),
        ("bytes over 2^63", one(#""F64""#, "[2305843009213693952]", "[0,0]"), 0),
        (
            "65 dimensions",
            one(#""I8""#, "[" + Array(repeating: "1", count: 65).joined(separator: ",") + "]", "[0,1]"), 1
        ),
        ("string shape", one(#""F32""#, #""1""#, "[0,4]"), 4), ("nested shape", one(#""F32""#, "[[1]]", "[0,4]"), 4),
        ("negative offset", one(#""F32""#, "[1]", "[-4,0]"), 4), ("reversed", one(#""F32""#, "[1]", "[4,0]"), 4),
        ("one offset", one(#""F32""#, "[1]", "[4]"), 4), ("no offset", one(#""F32""#, "[1]", "[]"), 4),
        ("three offsets", one(#""F32""#, "[1]", "[0,4,4]"), 4), ("float offset", one(#""F32""#, "[1]", "[0,4.0]"), 4),
        ("offset of 2^63", one(#""F32""#, "[1]", "[0,9223372036854775808]"), 4),
        ("huge offsets", one(#""F32""#, "[1]", "[9223372036854775803,9223372036854775807]"), 4),
        ("overlap by 1", two("[0,4]", "[3,7]"), 7), ("hole by 1", two("[0,4]", "[5,9]"), 9),
        ("same range", two("[0,4]", "[0,4]"), 4), ("hole at the start", one(#""F32""#, "[1]", "[1,5]"), 5),
        ("past the end", one(#""F32""#, "[2]", "[0,8]"), 4), ("short by 1", one(#""F32""#, "[1]", "[0,4]"), 3),
        ("trailing byte", one(#""F32""#, "[1]", "[0,4]"), 5), ("data without a tensor", "{}", 1),
        ("range too small", one(#""F32""#, "[2]", "[0,4]"), 4), ("range too large", one(#""F32""#, "[1]", "[0,8]"), 8),
        ("empty at a real offset", two("[0,0]", "[0,4]", shapes: (0, 1)), 4),
        ("empty inside a tensor", two("[0,4]", "[2,2]", shapes: (1, 0)), 4),
        ("empty name", #"{"":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#, 1),
        (
            "64 KB name",
            one(#""I8""#, "[1]", "[0,1]").replacingOccurrences(of: "x", with: String(repeating: "x", count: 65536)), 1
        ),
        ("NUL in the name", #"{"a\u0000":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#, 1),
        ("climbing name", #"{"../x":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#, 1),
        ("lone surrogate", #"{"\ud800":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#, 1),
        ("line break in the name", "{\"a\nb\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1),
        ("unknown key", #"{"x":{"dtype":"I8","shape":[1],"data_offsets":[0,1],"y":1}}"#, 1),
        ("key twice", #"{"x":{"dtype":"I8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#, 1),
        ("no dtype", #"{"x":{"shape":[1],"data_offsets":[0,1]}}"#, 1),
        ("no shape", #"{"x":{"dtype":"I8","data_offsets":[0,1]}}"#, 1),
        ("no offsets", #"{"x":{"dtype":"I8","shape":[1]}}"#, 1), ("null tensor", #"{"x":null}"#, 0),
        ("comment", "{/* */}", 0), ("single quotes", "{'x':1}", 0), ("string without end", #"{"x"#, 0),
        ("escape at the end", #"{"x\"#, 0),
    ]

    @Test(arguments: headers.indices) func refusesWhatTheFormatForbids(_ index: Int) throws {
        let scratch = try ScratchFolder()
        let (rule, header, data) = Self.headers[index]
        let path = try scratch.write(safetensors(header, data: data), as: "bad.safetensors")
        let error = try failure { () throws(Diagnostic) in _ = try SafetensorsFile(path) }
        #expect(error.code.exit == .badData, "\(rule)")
        #expect(error.file == path && error.place != nil, "\(rule): \(error)")
    }

    @Test func anErrorNamesTheTensorAndItsBytes() throws {
        let scratch = try ScratchFolder()
        let path = try scratch.write(safetensors(Self.two("[0,4]", "[3,7]"), data: 7), as: "bad.safetensors")
        let error = try failure { () throws(Diagnostic) in _ = try SafetensorsFile(path) }
        #expect(error.place == "tensor \"b\"" && error.found.contains("3..<7"))
    }

    static let lengths: [(UInt64, Int)] = [
        (0, 0), (0, 10), (1, 10), (3, 2), (11, 10), (UInt64(1) << 63, 10), (.max, 10), (.max - 7, 10),
        (100_000_001, 10), (UInt64(Int.max), 10),
    ]

    @Test(arguments: lengths.indices) func refusesAHeaderLengthThatCannotBe(_ index: Int) throws {
        let scratch = try ScratchFolder()
        let (length, count) = Self.lengths[index]
        let bytes = withUnsafeBytes(of: length.littleEndian, Array.init) + [UInt8](repeating: 0x20, count: count)
        let path = try scratch.write(bytes, as: "bad.safetensors")
        #expect(code { () throws(Diagnostic) in _ = try SafetensorsFile(path) } == "E-SAFETENSORS-HEADER")
    }

    @Test(arguments: 0..<8) func refusesAFileShorterThanItsLength(_ count: Int) throws {
        let scratch = try ScratchFolder()
        let path = try scratch.write([UInt8](repeating: 0, count: count), as: "bad.safetensors")
        #expect(code { () throws(Diagnostic) in _ = try SafetensorsFile(path) } == "E-SAFETENSORS-HEADER")
    }

    @Test func refusesNamesThatAreNotUTF8() throws {
        let scratch = try ScratchFolder()
        var header = Array(#"{"?":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}"#.utf8)
        header[2] = 0xFF
        let path = try scratch.write(safetensors(header, data: [0]), as: "bad.safetensors")
        #expect(code { () throws(Diagnostic) in _ = try SafetensorsFile(path) } == "E-SAFETENSORS-HEADER")
    }

    @Test func refusesAMillionTensorsBeforeItHasReadThem() throws {
        let scratch = try ScratchFolder()
        var header = "{"
        for number in 0..<1_000_000 {
            header += #""layer.\#(number).weight":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"#
        }
        header.removeLast()
        let path = try scratch.write(safetensors(header + "}"), as: "bad.safetensors")
        var found: String?
        let time = processorSeconds { found = code { () throws(Diagnostic) in _ = try SafetensorsFile(path) } }
        #expect(found == "E-SAFETENSORS-LIMIT")
        #expect(time < 10, "\(time)")
    }

    @Test func tensorsWithNaNsAreReadAndCounted() throws {
        let scratch = try ScratchFolder()
        let values: [Float] = [1, .nan, .infinity, -.infinity, 0]
        try SafetensorsFile.write(
            [OutgoingTensor(name: "x", shape: [5], values: values)], to: scratch.file("a.safetensors"))
        let tensor = try SafetensorsFile(scratch.file("a.safetensors")).tensors[0]
        #expect(try tensor.nonfiniteCount() == 3)
    }

    @Test func aSparseFileOfFourteenGigabytesOpensAtOnce() throws {
        let scratch = try ScratchFolder()
        let size = 14 << 30
        var header = Array(#"{"w":{"dtype":"BF16","shape":[\#(size / 2)],"data_offsets":[0,\#(size)]}}"#.utf8)
        header += [UInt8](repeating: 0x20, count: (8 - header.count % 8) % 8)
        let path = try scratch.write(safetensors(header, data: []), as: "large.safetensors")
        try #require(truncate(path, 8 + header.count + size) == 0)
        var count = 0
        let time = try processorSeconds {
            let source = try WeightSource.open(path)
            count = source.byteCount
            var part = [Float](repeating: 1, count: 1024)
            let result = part.withUnsafeMutableBufferPointer { buffer in
                Result { () throws(Diagnostic) in
                    try source.tensors[0].readFloats(from: size / 2 - 1024, into: buffer)
                }
            }
            try result.get()
            #expect(part.allSatisfy { $0 == 0 })
        }
        #expect(count == size)
        #expect(time < 1, "\(time)")
    }
}
