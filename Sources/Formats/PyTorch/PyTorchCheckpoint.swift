package import Diagnostics
package struct PyTorchCheckpoint: Sendable {
    package init(_ path: String) throws(Diagnostic) { throw Diagnostic(FormatsCode.zip, found: "") }
    package var source: WeightSource { WeightSource([]) }
}
