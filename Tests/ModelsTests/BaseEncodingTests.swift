import Autograd
import Formats
import Models
import TestSupport
import Testing

/// Bases in fewer bits, against the numbers of bitsandbytes and of a model that holds its values.
@Suite struct BaseEncodingTests {
    let workspace = Workspace(threadCount: 2)

    func source(_ name: String) throws -> WeightSource { try SafetensorsFile(Fixture.path(name)).source }

    func decoded(_ x: WeightTensor, as encoding: LowBitEncoding, rows: Range<Int>? = nil) throws -> [Float] {
        let (height, width) = (x.shape[0], x.shape[1])
        let parameter = Parameter(Tensor(Shape(height, width), try x.floats(), in: workspace))
        let matrix = EncodedMatrix(parameter, as: encoding, in: workspace)
        let rows = rows ?? 0..<height
        var out = [Float](repeating: .nan, count: rows.count * width)
        out.withUnsafeMutableBufferPointer { matrix.decode(rows: rows, to: $0.baseAddress!) }
        return out
    }

    @Test(arguments: ["m64x96", "m48x80", "odd7x33", "row1x64"]) func valuesOfOneMatrix(_ name: String) throws {
        let file = try source("quant/quant.safetensors")
        for encoding in [LowBitEncoding.nf4, .int8] {
            let key = "\(encoding.rawValue).\(name)"
            let x = try #require(file[key + ".x"])
            let expected = try #require(file[key + ".dequantised"]).floats()
            #expect(try decoded(x, as: encoding) == expected)
            // Any rows by themselves, which may begin inside a block and between two halves of a byte.
            let width = x.shape[1]
            for row in 0..<x.shape[0] {
                #expect(
                    try decoded(x, as: encoding, rows: row..<row + 1)
                        == Array(expected[row * width..<(row + 1) * width]))
            }
        }
    }

    /// 256 levels, those of bitsandbytes' map: the neighbours of 0 and of 1, and a sum that any other would change.
    @Test func levelsOfDoubleQuantization() {
        let levels = DynamicBytes.levels
        #expect(levels.count == 256 && levels == levels.sorted() && Set(levels).count == 256)
        #expect(levels[255] == 1 && abs(levels[254] - 0.99296874) < 1e-7 && abs(levels[0] + 0.99296874) < 1e-7)
        #expect(levels[127] == 0 && abs(levels[128] - 5.5e-7) < 1e-12)
        #expect(abs(levels.map(abs).reduce(0, +) - 75.10526) < 1e-3)
    }

    @Test func doublyQuantizedScalesComeNear() throws {
        let x = try #require(try source("quant/quant.safetensors")["nf4.m64x96.x"])
        let (single, double) = (try decoded(x, as: .nf4), try decoded(x, as: .nf4Double))
        // A block's largest magnitude is its scale; half of the widest gap between two levels is 0.00704.
        func scales(_ values: [Float]) -> [Float] {
            stride(from: 0, to: values.count, by: 64).map { start in values[start..<start + 64].map(abs).max() ?? 0 }
        }
        let exact = scales(single)
        let mean = exact.reduce(0, +) / Float(exact.count)
        let bound = 0.00705 * (exact.map { abs($0 - mean) }.max() ?? 0)
        #expect(single != double && exact.count == 96 && bound > 0)
        #expect(zip(exact, scales(double)).allSatisfy { abs($0 - $1) <= bound })
        for (a, b) in zip(single, double) { #expect(abs(a - b) <= bound && a * b >= 0) }
        // One block alone is its own mean.
        let row = try #require(try source("quant/quant.safetensors")["nf4.row1x64.x"])
        #expect(try decoded(row, as: .nf4) == decoded(row, as: .nf4Double))
    }

    @Test func zerosStayZeros() throws {
        let zeros = WeightTensor(name: "x", shape: [3, 70], values: Array(repeating: 0, count: 210))
        for encoding in LowBitEncoding.allCases { #expect(try decoded(zeros, as: encoding).allSatisfy { $0 == 0 }) }
    }
}
