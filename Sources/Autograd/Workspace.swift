package import CKernels
import COpenBLAS

/// What a computation runs with: threads, buffers and the kernels for an instruction set.
///
/// One task at a time may compute with a workspace.
package final class Workspace: @unchecked Sendable {
    package let threads: ThreadPool
    package let buffers = BufferPool()
    package let instructionSet: InstructionSet
    /// What products are computed in: bf16 only where the instruction set has it.
    package let precision: Precision
    package let productProvider: ProductProvider
    package let kernels: ek_kernels
    /// Attention with products in this precision.
    let attention: ek_attention_kernels
    /// The kernels of products in this precision; nil: OpenBLAS computes them, in f32.
    let productKernels: ek_gemm_kernels?
    /// The kernels of few rows times weights in quantised blocks.
    let quantizedKernels: ek_quantized_kernels
    /// One slot a worker. A pointer, because an array's uniqueness check would itself be a race.
    private let scratch: UnsafeMutablePointer<Storage?>

    /// - Parameters:
    ///   - threadCount: the threads to compute with, the caller's included; at least 1.
    ///   - precision: of matrix products; bf16 needs an instruction set that has it, otherwise it means f32.
    ///   - provider: who multiplies, if it can in this precision and on this instruction set; otherwise the best.
    package init(
        threadCount: Int, instructionSet: InstructionSet = .selected, precision: Precision = .f32,
        provider: ProductProvider? = nil
    ) {
        _ = singleThreadedBLAS
        threads = ThreadPool(count: threadCount)
        self.instructionSet = instructionSet
        let wanted = provider.flatMap { $0.multiplies(in: precision, on: instructionSet) ? $0 : nil }
        let able = wanted ?? .best(for: precision, on: instructionSet)
        self.precision = able == nil ? .f32 : precision
        productProvider = able ?? .best(for: .f32, on: instructionSet) ?? .openBLAS
        productKernels = productProvider.kernels(for: self.precision, on: instructionSet)
        quantizedKernels =
            ek_quantized_kernels_for(instructionSet.kernelSet, self.precision == .f32 ? 1 : 0).pointee
        kernels = ek_kernels_for(instructionSet.kernelSet).pointee
        let bf16Attention = self.precision == .bf16 ? ek_bf16_attention_for(instructionSet.kernelSet) : nil
        attention = bf16Attention?.pointee ?? kernels.attention
        scratch = .allocate(capacity: threads.count)
        scratch.initialize(repeating: nil, count: threads.count)
    }

    /// A workspace that does everything as `other` would but the arithmetic: operations take and give back the same
    /// buffers, which are never touched. So the memory of a step can be known without taking it.
    package init(rehearsing other: Workspace) {
        threads = ThreadPool(rehearsing: other.threads.count)
        instructionSet = other.instructionSet
        precision = other.precision
        productProvider = other.productProvider
        productKernels = other.productKernels
        quantizedKernels = other.quantizedKernels
        kernels = other.kernels
        attention = other.attention
        scratch = .allocate(capacity: threads.count)
        scratch.initialize(repeating: nil, count: threads.count)
    }

    deinit {
        scratch.deinitialize(count: threads.count)
        scratch.deallocate()
    }

    /// Gives every worker scratch space of at least `count` floats; called before the tasks that use it.
    func reserveScratch(count: Int) {
        for worker in 0..<threads.count where (scratch[worker]?.capacity ?? 0) < count * 4 {
            scratch[worker] = Storage(byteCount: count * 4, pool: buffers)
        }
    }

    /// The scratch space of `worker` for the duration of one task; its contents are arbitrary.
    func scratch(worker: Int) -> UnsafeMutablePointer<Float> {
        guard let storage = scratch[worker] else { preconditionFailure("no scratch was reserved") }
        return storage.floats
    }
}

/// OpenBLAS works on one thread: the tiles it gets are handed out by our own pool. Set once, before its first use.
private let singleThreadedBLAS: Void = openblas_set_num_threads(1)

/// What the factors of matrix products are rounded to; sums and everything else are f32.
package enum Precision: String, Sendable, CaseIterable {
    case f32
    case bf16
}

/// A set of processor instructions for which there are kernels.
package enum InstructionSet: String, Sendable, CaseIterable {
    case generic
    case avx2
    case avx512
    case avx512BF16 = "avx512-bf16"

    /// The best one that the processor has, or the one named by the environment variable ESPALIER_ISA.
    package static var selected: InstructionSet {
        InstructionSet(rawValue: String(cString: ek_isa_name(ek_isa_selected()))) ?? .generic
    }

    package var isAvailable: Bool { ek_isa_available(kernelSet) != 0 }

    /// The name that the kernels have for it.
    package var kernelSet: ek_isa {
        switch self {
        case .generic: EK_ISA_GENERIC
        case .avx2: EK_ISA_AVX2
        case .avx512: EK_ISA_AVX512
        case .avx512BF16: EK_ISA_AVX512_BF16
        }
    }
}

/// OpenBLAS's version and the kernels it has chosen.
package func blasConfiguration() -> String { String(cString: openblas_get_config()) }
