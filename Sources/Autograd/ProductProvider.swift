/// Who multiplies matrices.
package enum ProductProvider: String, Sendable {
    /// The kernels of this package for the processor's instruction set.
    case own
    /// OpenBLAS, in f32.
    case openBLAS = "openblas"
}

extension Workspace {
    /// Who multiplies here: this package where it has kernels for the instruction set and the precision.
    package var productProvider: ProductProvider { productKernels == nil ? .openBLAS : .own }
}
