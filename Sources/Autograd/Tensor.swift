/// A 64-byte-aligned block of floats, filled by its creator and then only read, or a view of one that `owner` keeps.
///
/// `@unchecked Sendable` is sound because later writers (`Tensor.update`) first make sure that they hold the only
/// reference.
package final class Storage: @unchecked Sendable {
    let floats: UnsafeMutablePointer<Float>
    let capacity: Int
    private let origin: Origin

    private enum Origin {
        case pool(BufferPool, BufferPool.Buffer)
        case borrowed(owner: AnyObject)
    }

    init(byteCount: Int, pool: BufferPool) {
        let buffer = pool.take(byteCount)
        floats = buffer.base.assumingMemoryBound(to: Float.self)
        capacity = byteCount
        origin = .pool(pool, buffer)
    }

    /// A read-only view of memory that `owner` keeps alive, such as a mapped file.
    init(borrowing floats: UnsafePointer<Float>, byteCount: Int, owner: AnyObject) {
        self.floats = UnsafeMutablePointer(mutating: floats)
        capacity = byteCount
        origin = .borrowed(owner: owner)
    }

    var isWritable: Bool { if case .pool = origin { true } else { false } }

    deinit {
        if case .pool(let pool, let buffer) = origin { pool.giveBack(buffer) }
    }
}

/// A row-major, contiguous array of floats with value semantics; copying one copies a reference.
package struct Tensor: Sendable {
    package let shape: Shape
    private var storage: Storage

    /// A tensor whose elements `fill` must write, every one.
    package init(_ shape: Shape, in workspace: Workspace, fill: (UnsafeMutablePointer<Float>) -> Void) {
        self.shape = shape
        storage = Storage(byteCount: 4 * shape.count, pool: workspace.buffers)
        fill(storage.floats)
    }

    package init(_ shape: Shape, _ values: [Float], in workspace: Workspace) {
        precondition(values.count == shape.count, "\(values.count) values for shape \(shape)")
        self.init(shape, in: workspace) { $0.initialize(from: values, count: values.count) }
    }

    package init(zeros shape: Shape, in workspace: Workspace) {
        self.init(shape, in: workspace) { $0.initialize(repeating: 0, count: shape.count) }
    }

    /// A view of `floats`, which `owner` keeps alive and nobody changes.
    package init(_ shape: Shape, borrowing floats: UnsafePointer<Float>, owner: AnyObject) {
        self.shape = shape
        storage = Storage(borrowing: floats, byteCount: 4 * shape.count, owner: owner)
    }

    /// The first element, valid while this tensor lives.
    package var pointer: UnsafePointer<Float> { UnsafePointer(storage.floats) }

    /// The elements in row-major order.
    package var elements: [Float] { Array(UnsafeBufferPointer(start: pointer, count: shape.count)) }

    package subscript(index: Int) -> Float {
        precondition(index >= 0 && index < shape.count, "element \(index) of shape \(shape)")
        return pointer[index]
    }

    /// Changes the elements in place, or in a copy if another tensor shares the block.
    package mutating func update(in workspace: Workspace, _ body: (UnsafeMutablePointer<Float>) -> Void) {
        if !isKnownUniquelyReferenced(&storage) || !storage.isWritable {
            let old = storage
            storage = Storage(byteCount: 4 * shape.count, pool: workspace.buffers)
            storage.floats.update(from: old.floats, count: shape.count)
        }
        body(storage.floats)
    }

    /// The same elements under another shape of the same count.
    package func reshaped(_ shape: Shape) -> Tensor {
        precondition(shape.count == self.shape.count, "\(self.shape) has no shape \(shape)")
        return Tensor(shape: shape, storage: storage)
    }

    private init(shape: Shape, storage: Storage) {
        self.shape = shape
        self.storage = storage
    }
}
