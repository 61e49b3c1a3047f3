import Autograd
import Benchmarks
import Testing

/// What a measurement must be, whatever the machine does meanwhile.
@Suite struct KernelBenchmarkTests {
    @Test func measuresEveryPrecisionKindAndThreadCount() {
        let shapes = [
            ProductShape(rows: 40, outputs: 64, inputs: 96), ProductShape(rows: 1, outputs: 4096, inputs: 4096),
        ]
        let result = kernelBenchmark(threads: [1, 2], shapes: shapes, seconds: 0)
        #expect(result.limits.map(\.threads) == [1, 2])
        let precisions = Workspace(threadCount: 1, precision: .bf16).precision == .bf16 ? 2 : 1
        // Decoding has no backward pass.
        #expect(result.products.count == 2 * precisions * 3)
        for product in result.products {
            #expect(product.seconds > 0 && product.share > 0, "\(product)")
            #expect(product.operationsPerSecond == product.shape.operations / product.seconds)
        }
        for limit in result.limits {
            #expect(limit.f32 > 0 && limit.read > 0 && limit.triad > 0, "\(limit)")
            #expect((limit.bf16 != nil) == (result.instructionSet == .avx512BF16))
        }
    }

    @Test func countsOperationsAndBytes() {
        let shape = ProductShape(rows: 3, outputs: 5, inputs: 7)
        #expect(shape.operations == 210 && shape.weightBytes(.bf16) == 70 && shape.weightBytes(.f32) == 140)
    }
}
