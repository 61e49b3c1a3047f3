import CKernels
import Diagnostics
import Formats
import TestSupport
import Testing

@Suite struct DequantizationTests {
    static let names = [
        "F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL",
        "IQ4_XS",
    ]

    @Test(arguments: names) func everyBlockTypeGivesTheReferencesBits(_ name: String) throws {
        let file = try GGUFFile(Fixture.path("gguf/tensor_types.gguf"))
        let expected = try SafetensorsFile(Fixture.path("gguf/tensor_types_expected.safetensors")).source
        let tensor = try #require(file.source[name])
        let reference = try #require(expected[name])
        #expect(tensor.type.rawValue == name)
        #expect(tensor.shape == reference.shape)
        let (values, wanted) = (try tensor.floats(), try reference.floats())
        try #require(values.count == wanted.count)
        let wrong = values.indices.first { values[$0].bitPattern != wanted[$0].bitPattern && values[$0] != wanted[$0] }
        #expect(wrong == nil, "element \(wrong ?? 0): \(values[wrong ?? 0]), not \(wanted[wrong ?? 0])")
    }

    @Test func theFixtureHasNoTypeThatIsNotCompared() throws {
        let file = try GGUFFile(Fixture.path("gguf/tensor_types.gguf"))
        #expect(Set(file.tensors.map(\.name)) == Set(Self.names))
    }

    @Test func everyHalfIsReadAsTheLanguageReadsIt() {
        let halves = (0...UInt16.max).map { $0 }
        var floats = [Float](repeating: 0, count: halves.count)
        ek_convert_f16(halves, &floats, halves.count)
        for (half, float) in zip(halves, floats) {
            let wanted = Float(Float16(bitPattern: half))
            if wanted.isNaN {
                #expect(float.isNaN)
            } else if float.bitPattern != wanted.bitPattern {
                Issue.record("half 0x\(String(half, radix: 16)) gives \(float), not \(wanted)")
            }
        }
    }

    @Test func floatsAreRoundedToHalvesAndBfloatsAsTheHardwareWould() {
        var random = SplitMix(state: 1)
        var floats: [Float] = [0, -0, 65504, 65519.996, 65520, .infinity, -.infinity, 5.9604645e-08, 2.9802322e-08]
        floats += [
            3.0e-08, 6.1035156e-05, 6.1e-05, 1e-10, -.leastNonzeroMagnitude, 3.3961776e38, .greatestFiniteMagnitude,
        ]
        for _ in 0..<100_000 {
            let exponent = UInt32.random(in: 90...150, using: &random) << 23
            floats.append(Float(bitPattern: UInt32.random(in: 0..<1 << 23, using: &random) | exponent))
        }
        var halves = [UInt16](repeating: 0, count: floats.count)
        ek_encode_f16(floats, &halves, floats.count)
        var bfloats = halves
        ek_encode_bf16(floats, &bfloats, floats.count)
        for (index, float) in floats.enumerated() {
            if halves[index] != Float16(float).bitPattern { Issue.record("\(float) becomes \(halves[index])") }
            // The nearer of the two neighbours, and of two that are equally near the even one.
            let low = Float(bitPattern: float.bitPattern & 0xFFFF_0000)
            let rest = float.bitPattern & 0xFFFF
            let up = rest > 0x8000 || (rest == 0x8000 && float.bitPattern & 0x1_0000 != 0)
            let wanted = low.bitPattern >> 16 + (up ? 1 : 0)
            if UInt32(bfloats[index]) != wanted { Issue.record("\(float) becomes \(bfloats[index]) as bf16") }
        }
    }

    @Test func aNaNStaysOneInShorterTypes() {
        let nans: [Float] = [.nan, Float(bitPattern: 0x7F80_0001), Float(bitPattern: 0xFFFF_FFFF)]
        var halves = [UInt16](repeating: 0, count: nans.count)
        ek_encode_f16(nans, &halves, nans.count)
        #expect(halves.allSatisfy { Float16(bitPattern: $0).isNaN })
        ek_encode_bf16(nans, &halves, nans.count)
        #expect(halves.allSatisfy { Float(bitPattern: UInt32($0) << 16).isNaN })
    }

    @Test func partsOfATensorAreTheWholesParts() throws {
        let file = try GGUFFile(Fixture.path("gguf/tensor_types.gguf"))
        for tensor in file.tensors {
            let whole = try tensor.floats()
            let row = tensor.shape[1]
            for start in stride(from: 0, to: whole.count, by: row) {
                var part = [Float](repeating: 0, count: row)
                let result = part.withUnsafeMutableBufferPointer { buffer in
                    Result { () throws(Diagnostic) in try tensor.readFloats(from: start, into: buffer) }
                }
                try result.get()
                #expect(part == Array(whole[start..<(start + row)]))
            }
        }
    }

    @Test func integersAndDoublesBecomeTheNearestFloats() throws {
        let scratch = try ScratchFolder()
        let doubles: [Double] = [0.1, -1e300, 3, 1e-60]
        let longs: [Int64] = [.min, -1, 16_777_217, .max]
        let bools: [UInt8] = [0, 1, 2, 0]
        let header = """
            {"d":{"dtype":"F64","shape":[4],"data_offsets":[0,32]},"l":{"dtype":"I64","shape":[4],\
            "data_offsets":[32,64]},"b":{"dtype":"BOOL","shape":[4],"data_offsets":[64,68]},\
            "u":{"dtype":"U16","shape":[2],"data_offsets":[68,72]}}
            """
        var data = doubles.withUnsafeBytes(Array.init) + longs.withUnsafeBytes(Array.init) + bools
        data += [0xFF, 0xFF, 1, 0]
        let path = try scratch.write(safetensors(Array(header.utf8), data: data), as: "a.safetensors")
        let source = try SafetensorsFile(path).source
        #expect(try source["d"]?.floats() == doubles.map { Float($0) })
        #expect(try source["l"]?.floats() == longs.map { Float($0) })
        #expect(try source["b"]?.floats() == [0, 1, 1, 0])
        #expect(try source["u"]?.floats() == [65535, 1])
        #expect(try source["d"]?.nonfiniteCount() == 1)
    }

    @Test func aTypeOfUnknownValuesIsRefusedByName() throws {
        let scratch = try ScratchFolder()
        let header = #"{"x":{"dtype":"F8_E4M3","shape":[3],"data_offsets":[0,3]}}"#
        let file = try SafetensorsFile(try scratch.write(safetensors(header, data: 3), as: "a.safetensors"))
        let error = try failure { () throws(Diagnostic) in _ = try file.tensors[0].floats() }
        #expect(error.code.rawValue == "E-WEIGHTS-TYPE")
        #expect(error.description.contains("F8_E4M3") && error.description.contains("\"x\""))
    }
}
