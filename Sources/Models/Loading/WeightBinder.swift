import Autograd
import Diagnostics
import Formats

/// Finds the tensors of a decoder in a checkpoint, checks their shapes, and notes which were used.
///
/// Nothing is read but norms and biases; matrices stay where the file has them and are decoded as they are used.
struct WeightBinder {
    private let source: WeightSource
    private let file: String
    private let workspace: Workspace
    /// The names under which a checkpoint may have the tensor of a path, likeliest first.
    private let candidates: (String) -> [String]
    /// For llama models in GGUF: the heads whose rows are stored for interleaved pairs, by path.
    private let permutedHeads: (String) -> Int?
    private var used: Set<String> = []

    init(
        _ source: WeightSource, file: String, workspace: Workspace, candidates: @escaping (String) -> [String],
        permutedHeads: @escaping (String) -> Int? = { _ in nil }
    ) {
        self.source = source
        self.file = file
        self.workspace = workspace
        self.candidates = candidates
        self.permutedHeads = permutedHeads
    }

    func has(_ path: String) -> Bool { candidates(path).contains { source[$0] != nil } }

    /// Whether the checkpoint has the tensor of `path` with this shape; one of another shape then counts as used.
    mutating func has(_ path: String, shape: [Int]) -> Bool {
        guard let tensor = candidates(path).lazy.compactMap({ [source] in source[$0] }).first else { return false }
        used.insert(tensor.name)
        return tensor.shape == shape
    }

    /// A parameter that the checkpoint does not have.
    func made(_ shape: Shape, _ value: (Int) -> Float) -> Parameter {
        Parameter(Tensor(shape, (0..<shape.count).map(value), in: workspace))
    }

    /// A [rows, columns] matrix as stored, or its transpose if it is stored as that: then as a copy in memory.
    mutating func matrix(
        _ path: String, rows: Int, columns: Int, isStoredTransposed: Bool = false
    ) throws(Diagnostic) -> Parameter {
        let stored = try find(path, shape: isStoredTransposed ? [columns, rows] : [rows, columns])
        let tensor = isStoredTransposed ? stored.transposed() ?? stored : stored
        let isAligned = UInt(bitPattern: tensor.bytes.baseAddress) % 4 == 0
        let permutation = permutedHeads(path).map { rowPermutation(rows: rows, heads: $0) }
        if tensor.type == .f32, isAligned, permutation == nil, let base = tensor.bytes.baseAddress {
            return Parameter(
                Tensor(
                    Shape(rows, columns), borrowing: base.assumingMemoryBound(to: Float.self),
                    owner: TensorOwner(tensor)))
        }
        guard tensor.type.isConvertible, columns % tensor.type.blockElements == 0 else {
            throw Diagnostic(
                ModelsCode.tensor, file: file, at: "tensor \"\(tensor.name)\"",
                found: "rows of \(columns) elements of type \(tensor.type.rawValue)",
                expected: "a readable type whose blocks fill the rows")
        }
        return Parameter(
            EncodedMatrix(
                rows: rows, columns: columns, bf16: permutation == nil ? tensor.bf16 : nil,
                blocks: tensor.blocks(rows: rows, columns: columns, places: permutation)
            ) { range, out in
                func read(_ start: Int, _ count: Int, _ out: UnsafeMutablePointer<Float>) {
                    // The type was checked above, so that this cannot fail.
                    try? tensor.readFloats(
                        from: start * columns, into: UnsafeMutableBufferPointer(start: out, count: count * columns))
                }
                guard let permutation else { return read(range.lowerBound, range.count, out) }
                for (index, row) in range.enumerated() { read(permutation[row], 1, out + index * columns) }
            })
    }

    /// A single number, stored with any shape of one element; nil if the checkpoint does not have it.
    ///
    /// - Throws: `tensor` for more elements or one that is not finite.
    mutating func scalar(_ path: String) throws(Diagnostic) -> Float? {
        guard has(path), let name = candidates(path).first(where: { source[$0] != nil }),
            let tensor = source[name]
        else { return nil }
        used.insert(tensor.name)
        guard tensor.count == 1, let value = try tensor.floats().first, value.isFinite else {
            throw Diagnostic(
                ModelsCode.tensor, file: tensor.file, at: "tensor \"\(tensor.name)\"", found: "shape \(tensor.shape)",
                expected: "one finite number", fix: "Use the weights that belong to this config, complete")
        }
        return value
    }

    /// A vector, read as floats.
    mutating func vector(_ path: String, count: Int) throws(Diagnostic) -> Parameter {
        let tensor = try find(path, shape: [count])
        var values = try tensor.floats()
        if let heads = permutedHeads(path) {
            values = rowPermutation(rows: count, heads: heads).map { values[$0] }
        }
        return Parameter(Tensor(Shape(count), values, in: workspace))
    }

    private mutating func find(_ path: String, shape: [Int]) throws(Diagnostic) -> WeightTensor {
        let names = candidates(path)
        guard let name = names.first(where: { source[$0] != nil }), let tensor = source[name] else {
            throw Diagnostic(
                ModelsCode.tensor, file: file, at: "tensor \"\(names.first ?? path)\"",
                found: "no tensor of this name", expected: "shape \(shape)",
                fix: "Use the weights that belong to this config, complete")
        }
        used.insert(tensor.name)
        guard tensor.shape == shape else {
            throw Diagnostic(
                ModelsCode.tensor, file: tensor.file, at: "tensor \"\(tensor.name)\"", found: "shape \(tensor.shape)",
                expected: "\(shape), as the config says", fix: "Use the config.json that belongs to the weights")
        }
        return tensor
    }

    /// Refuses a checkpoint with weights that the decoder would not use: leaving them out would be another model.
    func checkAllUsed(ignoring isBuffer: (String) -> Bool) throws(Diagnostic) {
        guard let left = source.names.first(where: { !used.contains($0) && !isBuffer($0) }) else { return }
        throw Diagnostic(
            ModelsCode.tensor, file: file, at: "tensor \"\(left)\"", found: "a tensor that this model has no place for",
            expected: "only the tensors that the config describes",
            fix: "Use the config.json that belongs to the weights")
    }
}

extension WeightTensor {
    /// The elements, if they are in quantised blocks.
    fileprivate func blocks(rows: Int, columns: Int, places: [Int]?) -> QuantizedBlocks? {
        guard let ggmlType = type.ggmlNumber, let start = bytes.baseAddress else { return nil }
        return QuantizedBlocks(
            rows: rows, columns: columns, start: start, ggmlType: ggmlType, places: places, owner: TensorOwner(self))
    }

    /// The elements, if they are bf16 at an address that can be read as such.
    fileprivate var bf16: UnsafePointer<UInt16>? {
        guard type == .bf16, let base = bytes.baseAddress, UInt(bitPattern: base) % 2 == 0 else { return nil }
        return base.assumingMemoryBound(to: UInt16.self)
    }
}

/// Keeps a stored tensor's file mapped for as long as a view of it lives.
final class TensorOwner: Sendable {
    private let tensor: WeightTensor
    init(_ tensor: WeightTensor) { self.tensor = tensor }
}

/// Where each row, in Hugging Face's order, stands in a matrix that llama.cpp's converter permuted: there the rows of
/// a head alternate between its first and its second half.
func rowPermutation(rows: Int, heads: Int) -> [Int] {
    let headDim = rows / heads
    return (0..<rows).map { row in
        let (head, inHead) = (row / headDim, row % headDim)
        let (half, index) = (inHead / (headDim / 2), inHead % (headDim / 2))
        return head * headDim + 2 * index + half
    }
}
