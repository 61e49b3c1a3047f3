import CKernels

/// An activation as the backward pass keeps it: where products are computed in bf16 rounded to bf16, otherwise as it is.
///
/// Products in bf16 round their factors anyway, so a factor that is kept so loses nothing more, and takes half the
/// memory.
package struct KeptActivation {
    let shape: Shape
    private let form: Form

    private enum Form {
        case floats(Tensor)
        /// shape.count bf16 values.
        case halves(Storage)
    }

    init(_ value: Tensor, in workspace: Workspace) {
        shape = value.shape
        guard workspace.precision == .bf16 else {
            form = .floats(value)
            return
        }
        let storage = Storage(byteCount: 2 * shape.count, pool: workspace.buffers)
        workspace.threads.forEachRange(shape.count, grain: elementGrain) { range, _ in
            workspace.kernels.f32_to_bf16(
                Self.halves(storage) + range.lowerBound, value.pointer + range.lowerBound, range.count)
        }
        form = .halves(storage)
    }

    private static func halves(_ storage: Storage) -> UnsafeMutablePointer<UInt16> {
        UnsafeMutableRawPointer(storage.floats).assumingMemoryBound(to: UInt16.self)
    }

    /// The values as floats: themselves, or a decoded copy.
    func floats(in workspace: Workspace) -> Tensor {
        switch form {
        case .floats(let value): value
        case .halves(let storage):
            Tensor(shape, in: workspace) { out in
                workspace.threads.forEachRange(shape.count, grain: elementGrain) { range, _ in
                    workspace.kernels.bf16_to_f32(
                        out + range.lowerBound, Self.halves(storage) + range.lowerBound, range.count)
                }
            }
        }
    }

    /// The elements of `range` as floats: where they are, or decoded to `scratch`.
    func floats(
        _ range: Range<Int>, scratch: UnsafeMutablePointer<Float>, _ kernels: ek_kernels
    ) -> UnsafePointer<Float> {
        switch form {
        case .floats(let value): return value.pointer + range.lowerBound
        case .halves(let storage):
            kernels.bf16_to_f32(scratch, Self.halves(storage) + range.lowerBound, range.count)
            return UnsafePointer(scratch)
        }
    }

    /// As the right side of a product: [depth, columns], one row of the activation after the other.
    var factor: ek_gemm_factor {
        let (depth, columns) = (shape[0], shape[1])
        switch form {
        case .floats(let value):
            return ek_gemm_factor(value.pointer, stride: columns, depth: depth, isTransposed: false)
        case .halves(let storage):
            return ek_gemm_factor(
                UnsafePointer(Self.halves(storage)), stride: columns, depth: depth, isTransposed: false)
        }
    }
}

/// Other forms of a value that several operations share, made when the first of them asks.
final class ActivationForms {
    private var kept: KeptActivation?
    private var packed: PackedRows?

    func kept(_ value: Tensor, in workspace: Workspace) -> KeptActivation {
        if let kept { return kept }
        let made = KeptActivation(value, in: workspace)
        kept = made
        return made
    }

    /// The rows of `value` as the left side of products with weights' transposes, with room for a part of depth `room`
    /// after them; nil where products have no packed kernels.
    func packed(_ value: Tensor, room: Int, in workspace: Workspace) -> PackedRows? {
        let (rows, depth) = (value.shape[0], value.shape[1])
        if let packed, packed.room(after: depth) >= room { return packed }
        packed = workspace.packed(value.pointer, rows: rows, depth: depth, extra: room, byTranspose: true)
        return packed
    }
}

extension Variable {
    /// The value as a backward pass should keep it; operations on one variable share it.
    package var kept: KeptActivation { forms.kept(value, in: tape.workspace) }

    func packed(room: Int) -> PackedRows? { forms.packed(value, room: room, in: tape.workspace) }
}
