import CKernels

/// Who multiplies matrices.
package enum ProductProvider: String, Sendable, CaseIterable {
    /// The kernels of this package for the processor's instruction set.
    case own
    /// OpenBLAS, in f32.
    case openBLAS = "openblas"
    /// oneDNN, in bf16, where the machine has the library and the instruction set bf16.
    case oneDNN = "onednn"

    /// The one that a computation takes if nothing else is asked for: oneDNN where it multiplies in tiles (AMX), which
    /// our own kernels do not; otherwise our own where there are any for the instruction set; otherwise OpenBLAS.
    ///
    /// It follows from the machine alone, never from a measurement, so that a run can be repeated. Nil where nothing
    /// multiplies in this precision.
    package static func best(for precision: Precision, on instructionSet: InstructionSet) -> ProductProvider? {
        let order: [ProductProvider] = ek_has_amx_bf16() != 0 ? [.oneDNN, .own, .openBLAS] : [.own, .openBLAS]
        return order.first { $0.multiplies(in: precision, on: instructionSet) }
    }

    package func multiplies(in precision: Precision, on instructionSet: InstructionSet) -> Bool {
        self == .openBLAS ? precision == .f32 : kernels(for: precision, on: instructionSet) != nil
    }

    /// oneDNN's version, or why it cannot be used.
    package static var oneDNNStatus: String { String(cString: ek_onednn_status()) }

    func kernels(for precision: Precision, on instructionSet: InstructionSet) -> ek_gemm_kernels? {
        let isBF16 = precision == .bf16
        return switch self {
        case .own: ek_gemm_kernels_for(instructionSet.kernelSet, isBF16 ? EK_GEMM_BF16 : EK_GEMM_F32)?.pointee
        case .openBLAS: nil
        case .oneDNN: isBF16 && instructionSet == .avx512BF16 ? ek_onednn_kernels()?.pointee : nil
        }
    }
}
