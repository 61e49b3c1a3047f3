import CKernels

/// A matrix or vector of weights: a frozen one as its file has it, a trainable one as floats with a gradient.
package final class Parameter {
    package private(set) var contents: Contents
    package let shape: Shape
    /// Only floats in memory can be trained.
    package var isTrainable: Bool {
        didSet { precondition(!isTrainable || floats != nil, "an encoded weight cannot be trained") }
    }
    package private(set) var gradient: Tensor?
    /// What the base has where others stand in for it.
    private var base: Contents?

    package enum Contents: Sendable {
        case floats(Tensor)
        case encoded(EncodedMatrix)
    }

    package init(_ value: Tensor, isTrainable: Bool = false) {
        contents = .floats(value)
        shape = value.shape
        self.isTrainable = isTrainable
    }

    package init(_ value: EncodedMatrix) {
        contents = .encoded(value)
        shape = Shape(value.rows, value.columns)
        isTrainable = false
    }

    /// Whether the values are bf16 in memory, which some kernels multiply as they are.
    package var isBF16: Bool { if case .encoded(let matrix) = contents { matrix.bf16 != nil } else { false } }

    /// Bytes that a product of few rows reads.
    package var decodingBytes: Int {
        if case .encoded(let matrix) = contents {
            return matrix.blocks?.byteCount ?? shape.count * (matrix.bf16 == nil ? 4 : 2)
        }
        return shape.count * 4
    }

    /// The values where they are floats.
    package var floats: Tensor? { if case .floats(let value) = contents { value } else { nil } }

    /// Replaces the values by others of the same shape.
    package func replace(_ value: Tensor) {
        precondition(value.shape == shape, "a value of shape \(value.shape) for a parameter of shape \(shape)")
        contents = .floats(value)
    }

    /// Replaces a frozen matrix by another encoding of it; quantised blocks stay for products of few rows.
    package func replace(_ value: EncodedMatrix) {
        precondition(Shape(value.rows, value.columns) == shape, "\(value.rows) x \(value.columns) for shape \(shape)")
        precondition(!isTrainable, "an encoded weight cannot be trained")
        var value = value
        if value.blocks == nil, case .encoded(let old) = contents { value.blocks = old.blocks }
        contents = .encoded(value)
    }

    /// Replaces a frozen matrix by values that are not the same: nothing of the old ones stays.
    package func replace(with value: EncodedMatrix) {
        precondition(Shape(value.rows, value.columns) == shape, "\(value.rows) x \(value.columns) for shape \(shape)")
        precondition(!isTrainable, "an encoded weight cannot be trained")
        contents = .encoded(value)
    }

    /// Few rows are multiplied like many from now on, not by a file's quantised blocks as they lie: a product then does
    /// not depend on how many rows it has, and where there is a copy, the blocks need not be in memory.
    package func forgetBlocks() {
        guard case .encoded(var matrix) = contents else { return }
        matrix.blocks = nil
        contents = .encoded(matrix)
    }

    /// Writes rows `range` as floats to `out`.
    package func decode(rows range: Range<Int>, to out: UnsafeMutablePointer<Float>) {
        contents.decode(rows: range, to: out)
    }

    /// Reads the values where they are, so that pages of a mapped file are in memory.
    package func touch(in workspace: Workspace) {
        let grain = rowGrain(width: shape[1])
        workspace.reserveScratch(count: grain * shape[1])
        workspace.threads.forEachRange(shape[0], grain: grain) { range, worker in
            decode(rows: range, to: workspace.scratch(worker: worker))
        }
    }

    /// Lets `body` write (accumulate false) or add to (true) the gradient, if this parameter is trained.
    package func accumulateGradient(
        in workspace: Workspace, _ body: (_ gradient: UnsafeMutablePointer<Float>, _ accumulate: Bool) -> Void
    ) {
        guard isTrainable else { return }
        if gradient != nil {
            gradient!.update(in: workspace) { body($0, true) }
        } else {
            gradient = Tensor(shape, in: workspace) { body($0, false) }
        }
    }

    package func clearGradient() { gradient = nil }

    /// Lets an adapter's own values, of the same shape, stand in for the base's until `restore`.
    package func substitute(_ value: Tensor, isTrainable: Bool) {
        if base == nil { base = contents }
        replace(value)
        self.isTrainable = isTrainable
    }

    /// The values that stand in for the base's.
    package var substitute: Tensor? { base == nil ? nil : floats }

    /// The base's own values again.
    package func restore() {
        guard let base else { return }
        isTrainable = false
        contents = base
        self.base = nil
        clearGradient()
    }

    /// Lets `body` change the values in place, with the gradient beside them; nothing happens without a gradient.
    package func update(
        in workspace: Workspace,
        _ body: (_ value: UnsafeMutablePointer<Float>, _ gradient: UnsafePointer<Float>) -> Void
    ) {
        guard case .floats(var value) = contents, let gradient else { return }
        // While `contents` also held the block, it would count as shared and be copied.
        contents = .floats(gradient)
        value.update(in: workspace) { body($0, gradient.pointer) }
        contents = .floats(value)
    }
}

extension Parameter.Contents {
    /// Writes rows `range` as floats to `out`.
    package func decode(rows range: Range<Int>, to out: UnsafeMutablePointer<Float>) {
        switch self {
        case .floats(let value):
            let width = value.shape.count / max(1, value.shape[0])
            out.update(from: value.pointer + range.lowerBound * width, count: range.count * width)
        case .encoded(let matrix): matrix.decode(rows: range, to: out)
        }
    }

    /// Writes all elements of a [rows, columns] matrix as bf16, rounded to nearest, ties to even.
    package func encodeBF16(
        rows: Int, columns: Int, to out: UnsafeMutablePointer<UInt16>, in workspace: Workspace
    ) {
        let grain = rowGrain(width: columns)
        workspace.reserveScratch(count: grain * columns)
        workspace.threads.forEachRange(rows, grain: grain) { range, worker in
            let floats = workspace.scratch(worker: worker)
            decode(rows: range, to: floats)
            workspace.kernels.f32_to_bf16(out + range.lowerBound * columns, floats, range.count * columns)
        }
    }
}

/// A matrix in the encoding of a file: bf16, f16 or quantised blocks, decoded some rows at a time as it is used.
///
/// `@unchecked Sendable`: what `bf16` points to is only read.
package struct EncodedMatrix: @unchecked Sendable {
    package typealias Decode = @Sendable (_ rows: Range<Int>, _ out: UnsafeMutablePointer<Float>) -> Void

    package let rows: Int
    package let columns: Int
    /// The elements where they lie in memory as bf16, row after row; `decode` keeps them alive.
    let bf16: UnsafePointer<UInt16>?
    /// The quantised blocks where they lie in memory.
    fileprivate(set) var blocks: QuantizedBlocks?
    private let decodeRows: Decode

    /// - Parameters:
    ///   - bf16: the elements, if they are bf16 in memory, row after row.
    ///   - blocks: the same matrix, if it is quantised.
    ///   - decode: writes the rows asked for as floats; it keeps alive whatever it reads from, `bf16` included.
    package init(
        rows: Int, columns: Int, bf16: UnsafePointer<UInt16>? = nil, blocks: QuantizedBlocks? = nil,
        decode: @escaping Decode
    ) {
        precondition(blocks.map { $0.rows == rows && $0.columns == columns } ?? true, "blocks of another shape")
        self.rows = rows
        self.columns = columns
        self.bf16 = bf16
        self.blocks = blocks
        decodeRows = decode
    }

    /// A matrix of bf16 values in memory, row after row, which `owner` keeps there.
    package init(rows: Int, columns: Int, bf16 values: UnsafePointer<UInt16>, owner: any AnyObject & Sendable) {
        // The address as a number: a pointer is not Sendable, though what this one points to is only read.
        let address = UInt(bitPattern: values)
        self.init(rows: rows, columns: columns, bf16: values) { range, out in
            withExtendedLifetime(owner) {
                let start = UnsafePointer<UInt16>(bitPattern: address).map { $0 + range.lowerBound * columns }
                ek_convert_bf16(start, out, range.count * columns)
            }
        }
    }

    package func decode(rows range: Range<Int>, to out: UnsafeMutablePointer<Float>) {
        precondition(range.lowerBound >= 0 && range.upperBound <= rows, "rows \(range) of \(rows)")
        decodeRows(range, out)
    }
}
