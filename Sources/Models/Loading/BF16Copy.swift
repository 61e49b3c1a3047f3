import Autograd
import Diagnostics
import Formats
import NN

/// The matrices of a base that are not bf16 in its files, converted once for products in bf16.
///
/// The copy is a safetensors file in the folder `bf16` beside the digest cache, with Hugging Face's names and order of
/// rows. Its name says what it was made of; a file next to it holds its digest, which is checked when it is opened.
/// Where no file can be kept, the copy is in memory.
struct BF16Copy {
    private let base: BaseFiles
    private let cache: DigestCache
    private let workspace: Workspace

    init(of base: BaseFiles, cache: DigestCache, workspace: Workspace) {
        self.base = base
        self.cache = cache
        self.workspace = workspace
    }

    /// A matrix that has to be converted.
    private struct Matrix {
        let path: String
        let parameter: Parameter
        var rows: Int { parameter.shape[0] }
        var columns: Int { parameter.shape[1] }
    }

    /// Gives every matrix of `model` that is not bf16 already the copy's values.
    ///
    /// - Parameter excluded: matrices that stay as they are.
    /// - Throws: `fileChanged` if the base is written meanwhile.
    func replaceMatrices(
        of model: any LanguageModel, but excluded: Set<ObjectIdentifier> = []
    ) throws(Diagnostic) {
        var known = excluded
        var matrices: [Matrix] = []
        // What was drawn is not the base's, and stays as it is.
        let drawn = Set(((model as? Encoder)?.head.drawn ?? []).map { $0 + ".weight" })
        for (path, parameter) in model.allParameters() where parameter.shape.rank == 2 && !drawn.contains(path) {
            // A tied head is the embedding once more.
            guard !parameter.isBF16, known.insert(ObjectIdentifier(parameter)).inserted else { continue }
            matrices.append(Matrix(path: path, parameter: parameter))
        }
        guard !matrices.isEmpty else { return }
        if let copy = try file(of: matrices) {
            for (matrix, tensor) in zip(matrices, copy) { matrix.parameter.replace(tensor.matrix) }
        } else {
            for matrix in matrices { matrix.parameter.replace(inMemory(matrix)) }
        }
        try base.weights.verifyUnchanged()
    }

    // MARK: - The file

    /// The tensors of the copy in the order of `matrices`; nil if no file can be kept.
    private func file(of matrices: [Matrix]) throws(Diagnostic) -> [CopiedTensor]? {
        guard let digests = cache.path else { return nil }
        let key = try key(of: matrices)
        let path = joinPath(joinPath(parentFolder(of: digests), "bf16"), key.hex + ".safetensors")
        if let copy = open(path, matrices) { return copy }
        do {
            try makeFolders(parentFolder(of: path))
            try SafetensorsFile.write(matrices.map(outgoing), to: path)
            let digest = try cache.fileDigest(of: MappedFile(path))
            try AtomicFile.write(digest.hex + "\n", to: path + ".sha256")
        } catch {
            // A convenience, as all caches: a full disk or a read-only home must not stop a run.
            return nil
        }
        return open(path, matrices)
    }

    /// What the copy depends on: the base's content, and what decides on names, shapes and the order of rows.
    private func key(of matrices: [Matrix]) throws(Diagnostic) -> SHA256Digest {
        let form = if case .gguf = base.form { "gguf" } else { "folder" }
        let spec = base.spec
        var text = "espalier bf16 1\n\(try cache.weightsDigest(of: base.weights).hex)\n"
        text += "\(form) \(spec.architecture) \(spec.heads) \(spec.keyValueHeads) \(spec.headDim)\n"
        for matrix in matrices { text += "\(matrix.path) \(matrix.rows) \(matrix.columns)\n" }
        return SHA256.digest(text)
    }

    private func outgoing(_ matrix: Matrix) -> OutgoingTensor {
        let (contents, rows, columns) = (matrix.parameter.contents, matrix.rows, matrix.columns)
        let workspace = workspace
        return OutgoingTensor(name: matrix.path, shape: [rows, columns], type: .bf16) {
            [UInt8](unsafeUninitializedCapacity: rows * columns * 2) { buffer, initialized in
                initialized = rows * columns * 2
                guard let start = buffer.baseAddress else { return }
                UnsafeMutableRawPointer(start).withMemoryRebound(to: UInt16.self, capacity: rows * columns) { out in
                    contents.encodeBF16(rows: rows, columns: columns, to: out, in: workspace)
                }
            }
        }
    }

    /// nil if there is no such file, or it is not what was written.
    private func open(_ path: String, _ matrices: [Matrix]) -> [CopiedTensor]? {
        guard let note = try? MappedFile(path + ".sha256"), note.size == 65,
            let file = try? MappedFile(path), let digest = try? cache.fileDigest(of: file),
            note.bytes.elementsEqual(Array((digest.hex + "\n").utf8)),
            let source = try? SafetensorsFile(file).source
        else { return nil }
        var copy: [CopiedTensor] = []
        for matrix in matrices {
            guard let tensor = source[matrix.path], tensor.type == .bf16,
                tensor.shape == [matrix.rows, matrix.columns],
                let copied = CopiedTensor(tensor)
            else { return nil }
            copy.append(copied)
        }
        return copy
    }

    // MARK: - In memory

    private func inMemory(_ matrix: Matrix) -> EncodedMatrix {
        let memory = HalfMemory(count: matrix.rows * matrix.columns)
        matrix.parameter.contents.encodeBF16(
            rows: matrix.rows, columns: matrix.columns, to: memory.start, in: workspace)
        return EncodedMatrix(rows: matrix.rows, columns: matrix.columns, bf16: memory.start, owner: memory)
    }
}

/// A matrix of the copy's file.
private struct CopiedTensor {
    let matrix: EncodedMatrix

    /// nil if the elements cannot be read in place.
    init?(_ tensor: WeightTensor) {
        guard let base = tensor.bytes.baseAddress, UInt(bitPattern: base) % 2 == 0 else { return nil }
        matrix = EncodedMatrix(
            rows: tensor.shape[0], columns: tensor.shape[1], bf16: base.assumingMemoryBound(to: UInt16.self),
            owner: TensorOwner(tensor))
    }
}

/// Values on the heap.
///
/// `@unchecked Sendable`: written once, before anyone else has it.
private final class HalfMemory: @unchecked Sendable {
    let start: UnsafeMutablePointer<UInt16>
    private let bytes: UnsafeMutableRawPointer

    init(count: Int) {
        bytes = .allocate(byteCount: max(2, count * 2), alignment: 64)
        start = bytes.bindMemory(to: UInt16.self, capacity: count)
    }

    deinit { bytes.deallocate() }
}
