package import Autograd
import CKernels

/// The matrix products of training and decoding, held against what the machine can do.
package struct KernelBenchmark: Sendable {
    package let instructionSet: InstructionSet
    /// One for each number of threads.
    package let limits: [MachineLimits]
    package let products: [Product]

    /// A measured product.
    package struct Product: Sendable {
        package let shape: ProductShape
        package let kind: ProductKind
        package let precision: Precision
        package let threads: Int
        /// Of the fastest run.
        package let seconds: Double
        /// What was reached of the limit: operations a second, or for few rows bytes of weights a second.
        package let share: Double

        package var operationsPerSecond: Double { shape.operations / seconds }
        package var weightBytesPerSecond: Double { shape.weightBytes(precision) / seconds }
    }
}

/// x [rows, inputs] times the transpose of a weight [outputs, inputs], or its gradient.
package struct ProductShape: Sendable, Hashable {
    package let rows: Int
    package let outputs: Int
    package let inputs: Int

    package init(rows: Int, outputs: Int, inputs: Int) {
        (self.rows, self.outputs, self.inputs) = (rows, outputs, inputs)
    }

    package var operations: Double { 2 * Double(rows) * Double(outputs) * Double(inputs) }

    package func weightBytes(_ precision: Precision) -> Double {
        Double(outputs) * Double(inputs) * (precision == .bf16 ? 2 : 4)
    }

    /// Whether reading the weight takes longer than the arithmetic.
    package var isBoundByMemory: Bool { rows <= 4 }

    /// Layers of a model of 135 million and one of 1.1 billion parameters, the head, a low-rank factor, decoding.
    package static let typical: [ProductShape] = [
        ProductShape(rows: 816, outputs: 192, inputs: 576), ProductShape(rows: 816, outputs: 576, inputs: 576),
        ProductShape(rows: 816, outputs: 1536, inputs: 576), ProductShape(rows: 816, outputs: 576, inputs: 1536),
        ProductShape(rows: 2048, outputs: 576, inputs: 1536), ProductShape(rows: 512, outputs: 2048, inputs: 2048),
        ProductShape(rows: 512, outputs: 5632, inputs: 2048), ProductShape(rows: 512, outputs: 49_152, inputs: 576),
        ProductShape(rows: 2048, outputs: 16, inputs: 2048), ProductShape(rows: 1, outputs: 2048, inputs: 2048),
        ProductShape(rows: 1, outputs: 49_152, inputs: 576), ProductShape(rows: 4, outputs: 2048, inputs: 2048),
    ]
}

package enum ProductKind: String, Sendable, CaseIterable {
    /// y = x·wᵀ
    case forward
    /// dx = dy·w
    case backward
}

/// Measures the products of `shapes` in every precision and number of threads.
///
/// - Parameter seconds: for each measurement. The fastest run in that time counts, so that other work on the machine
///   disturbs it as little as can be.
package func kernelBenchmark(
    threads: [Int] = [1, 2], shapes: [ProductShape] = ProductShape.typical, seconds: Double = 0.5,
    instructionSet: InstructionSet = .selected
) -> KernelBenchmark {
    var limits: [MachineLimits] = []
    var products: [KernelBenchmark.Product] = []
    for count in threads {
        let limit = MachineLimits(threads: count, instructionSet: instructionSet)
        limits.append(limit)
        for precision in Precision.allCases {
            let workspace = Workspace(threadCount: count, instructionSet: instructionSet, precision: precision)
            guard workspace.precision == precision else { continue }
            for shape in shapes {
                for kind in ProductKind.allCases where kind == .forward || !shape.isBoundByMemory {
                    let best = measure(shape, kind, for: seconds, in: workspace)
                    let share =
                        shape.isBoundByMemory
                        ? shape.weightBytes(precision) / best / limit.read
                        : shape.operations / best / limit.operations(precision)
                    products.append(
                        KernelBenchmark.Product(
                            shape: shape, kind: kind, precision: precision, threads: count, seconds: best,
                            share: share))
                }
            }
        }
    }
    return KernelBenchmark(instructionSet: instructionSet, limits: limits, products: products)
}

/// Seconds of the fastest run.
private func measure(
    _ shape: ProductShape, _ kind: ProductKind, for seconds: Double, in workspace: Workspace
) -> Double {
    // Decoding reads other weights each time: as many copies as no cache holds.
    let copies = shape.isBoundByMemory ? 1 + Int(Double(96 << 20) / shape.weightBytes(workspace.precision)) : 1
    let weights = (0..<copies).map { _ in Parameter.benchmarkWeight(shape, in: workspace) }
    let (depth, width) = kind == .forward ? (shape.inputs, shape.outputs) : (shape.outputs, shape.inputs)
    let x = Tensor.benchmarkValues(Shape(shape.rows, depth), in: workspace)
    var best = Double.infinity
    _ = Tensor(Shape(shape.rows, width), in: workspace) { out in
        var spent = 0.0
        var runs = 0
        while runs < 3 || spent < seconds {
            let time = bestTime(samples: 1) {
                for weight in weights {
                    switch kind {
                    case .forward:
                        workspace.multiply(
                            x.pointer, rows: shape.rows, byTransposeOf: weight, into: out, accumulating: false)
                    case .backward:
                        workspace.multiply(x.pointer, rows: shape.rows, by: weight, into: out, accumulating: false)
                    }
                }
            }
            best = min(best, time / Double(copies))
            spent += time
            runs += 1
        }
    }
    return best
}

extension Tensor {
    /// Values between -1 and 1 without a short period.
    static func benchmarkValues(_ shape: Shape, in workspace: Workspace) -> Tensor {
        Tensor(shape, in: workspace) { out in
            workspace.threads.forEachRange(shape.count, grain: 1 << 16) { range, _ in
                for index in range {
                    let bits = UInt32(truncatingIfNeeded: index) &* 2_654_435_761
                    out[index] = Float(Int32(bitPattern: bits)) * 0x1p-31
                }
            }
        }
    }
}

extension Parameter {
    /// A weight as a model file of the workspace's precision would have it.
    fileprivate static func benchmarkWeight(_ shape: ProductShape, in workspace: Workspace) -> Parameter {
        let floats = Parameter(Tensor.benchmarkValues(Shape(shape.outputs, shape.inputs), in: workspace))
        guard workspace.precision == .bf16 else { return floats }
        let count = shape.outputs * shape.inputs
        let halves = Tensor(Shape((count + 1) / 2), in: workspace) { out in
            UnsafeMutableRawPointer(out).withMemoryRebound(to: UInt16.self, capacity: count) {
                floats.contents.encodeBF16(rows: shape.outputs, columns: shape.inputs, to: $0, in: workspace)
            }
        }
        let values = UnsafeRawPointer(halves.pointer).assumingMemoryBound(to: UInt16.self)
        return Parameter(
            EncodedMatrix(rows: shape.outputs, columns: shape.inputs, bf16: values, owner: Owner(tensor: halves)))
    }

    private final class Owner: Sendable {
        let tensor: Tensor
        init(tensor: Tensor) { self.tensor = tensor }
    }
}
