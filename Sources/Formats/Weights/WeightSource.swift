package import Diagnostics
import StrictJSON

/// The tensors of a model or an adapter by name, from however many files, none of them read before it is asked for.
package struct WeightSource: Sendable {
    /// In the order of the files, and in a file in the order of the bytes.
    package let tensors: [WeightTensor]
    /// The mapped files, for checking that they are still what they were.
    package let files: [MappedFile]
    private let index: [BytewiseString: Int]

    /// - Parameter tensors: with names that differ, which the readers have checked.
    init(tensors: [WeightTensor], files: [MappedFile]) {
        self.tensors = tensors
        self.files = files
        index = Dictionary(
            tensors.enumerated().map { (BytewiseString($1.name), $0) }, uniquingKeysWith: { first, _ in first })
    }

    /// A source of tensors that are in memory.
    package init(_ tensors: [WeightTensor]) { self.init(tensors: tensors, files: []) }

    package var names: [String] { tensors.map(\.name) }
    package var byteCount: Int { tensors.reduce(0) { $0 + $1.bytes.count } }

    package subscript(name: String) -> WeightTensor? { index[BytewiseString(name)].map { tensors[$0] } }

    /// Checks that no mapped file was changed since it was opened.
    ///
    /// - Throws: `fileChanged` with the file's name.
    package func verifyUnchanged() throws(Diagnostic) {
        for file in files { try file.verifyUnchanged() }
    }
}
