package import CKernels
import COpenBLAS

/// What a computation runs with: threads, buffers and the kernels for an instruction set.
///
/// One task at a time may compute with a workspace.
package final class Workspace: @unchecked Sendable {
    package let threads: ThreadPool
    package let buffers = BufferPool()
    package let instructionSet: InstructionSet
    package let kernels: ek_kernels
    /// One slot a worker. A pointer, because an array's uniqueness check would itself be a race.
    private let scratch: UnsafeMutablePointer<Storage?>

    /// - Parameter threadCount: the threads to compute with, the caller's included; at least 1.
    package init(threadCount: Int, instructionSet: InstructionSet = .selected) {
        _ = singleThreadedBLAS
        threads = ThreadPool(count: threadCount)
        self.instructionSet = instructionSet
        kernels = ek_kernels_for(instructionSet.rawKind).pointee
        scratch = .allocate(capacity: threads.count)
        scratch.initialize(repeating: nil, count: threads.count)
    }

    deinit {
        scratch.deinitialize(count: threads.count)
        scratch.deallocate()
    }

    /// Scratch space of `worker` for the duration of one task; its contents are arbitrary.
    ///
    /// Only `worker` itself may call this, which is what makes the access from several threads safe.
    func scratch(worker: Int, count: Int) -> UnsafeMutablePointer<Float> {
        if let storage = scratch[worker], storage.capacity >= count * 4 { return storage.floats }
        let storage = Storage(byteCount: count * 4, pool: buffers)
        scratch[worker] = storage
        return storage.floats
    }
}

/// OpenBLAS works on one thread: the tiles it gets are handed out by our own pool. Set once, before its first use.
private let singleThreadedBLAS: Void = openblas_set_num_threads(1)

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

    package var isAvailable: Bool { ek_isa_available(rawKind) != 0 }

    var rawKind: ek_isa {
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
