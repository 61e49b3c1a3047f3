import Autograd
import CKernels
import Formats
import Synchronization

/// A parameter of a base with what adapters make of it: base + Σ weight · (adapted − base).
struct MergedTensor: Sendable {
    let path: String
    let contents: Parameter.Contents
    let rows: Int
    /// 1 for a vector.
    let columns: Int
    let updates: [(weight: Float, adapted: AdaptedWeight)]
    /// Whether the values that were trained against are not the file's.
    let isReduced: Bool
    /// How the file has it.
    let layout: Layout

    enum Layout: Sendable {
        case asIs
        /// [columns, rows]
        case transposed
        /// Where each row stands.
        case permuted([Int])
    }

    var isChanged: Bool { isReduced || !updates.isEmpty }
    var count: Int { rows * columns }

    /// The merged values in the file's order and type, with what rounding to it loses added to `losses`.
    func bytes(as type: ElementType, in workspace: Workspace, losses: MergeLosses) -> [UInt8] {
        let size = type.blockBytes
        let grain = max(1, min(rows, 65_536 / max(1, columns)))
        let groups = (rows + grain - 1) / grain
        var sums = [MergeLosses.Sums](repeating: .init(), count: groups)
        let bytes = [UInt8](unsafeUninitializedCapacity: count * size) { buffer, initialized in
            initialized = count * size
            guard let out = buffer.baseAddress else { return }
            let destination = MutableBytes(start: out)
            sums.withUnsafeMutableBufferPointer { sums in
                guard let sums = sums.baseAddress else { return }
                workspace.threads.forEach(groups) { group, _ in
                    let range = group * grain..<min(rows, (group + 1) * grain)
                    let (base, merged) = values(range, workspace.kernels)
                    let encoded = merged.withUnsafeBufferPointer { WeightTensor.encode($0, as: type) } ?? []
                    sums[group] = MergeLosses.Sums(base: base, exact: merged, stored: encoded, type)
                    place(encoded, of: range, size, into: destination.start)
                }
            }
        }
        losses.add(sums.reduce(.init(), +), at: path)
        return bytes
    }

    /// Rows of the base, and the same rows merged.
    private func values(_ range: Range<Int>, _ kernels: ek_kernels) -> (base: [Float], merged: [Float]) {
        let count = range.count * columns
        var base = [Float](repeating: 0, count: count)
        base.withUnsafeMutableBufferPointer {
            if let start = $0.baseAddress { contents.decode(rows: range, to: start) }
        }
        var merged = base
        var adapted = [Float](repeating: 0, count: count)
        for update in updates {
            base.withUnsafeBufferPointer { base in
                adapted.withUnsafeMutableBufferPointer { adapted in
                    guard let base = base.baseAddress, let out = adapted.baseAddress else { return }
                    update.adapted.write(rows: range, columns: columns, base: base, to: out, kernels)
                }
            }
            // One adapter in full is what it says, without the rounding of a sum.
            if updates.count == 1, update.weight == 1 { return (base, adapted) }
            for index in 0..<count { merged[index] += update.weight * (adapted[index] - base[index]) }
        }
        return (base, merged)
    }

    /// Copies encoded rows to where the file has them.
    private func place(_ encoded: [UInt8], of range: Range<Int>, _ size: Int, into out: UnsafeMutablePointer<UInt8>) {
        encoded.withUnsafeBufferPointer { encoded in
            guard let from = encoded.baseAddress else { return }
            let width = columns * size
            switch layout {
            case .asIs: (out + range.lowerBound * width).update(from: from, count: range.count * width)
            case .permuted(let places):
                for (index, row) in range.enumerated() {
                    (out + places[row] * width).update(from: from + index * width, count: width)
                }
            case .transposed:
                for (index, row) in range.enumerated() {
                    for column in 0..<columns {
                        (out + (column * rows + row) * size).update(
                            from: from + index * width + column * size, count: size)
                    }
                }
            }
        }
    }
}

/// `@unchecked Sendable`: tasks write places of their own.
private struct MutableBytes: @unchecked Sendable {
    let start: UnsafeMutablePointer<UInt8>
}

/// What storing merged values in few bits loses of an adapter's update, by tensor.
final class MergeLosses: Sendable {
    /// Sums of squares.
    struct Sums: Sendable {
        /// Of what was stored less what was meant.
        var error = 0.0
        /// Of what was meant less the base.
        var update = 0.0

        init() {}

        init(base: [Float], exact: [Float], stored bytes: [UInt8], _ type: ElementType) {
            let stored = bytes.withUnsafeBytes { WeightTensor.decode($0, as: type) } ?? exact
            for index in exact.indices {
                let (lost, meant) = (Double(stored[index] - exact[index]), Double(exact[index] - base[index]))
                error += lost * lost
                update += meant * meant
            }
        }

        static func + (a: Sums, b: Sums) -> Sums {
            var sum = a
            sum.error += b.error
            sum.update += b.update
            return sum
        }

        /// Length of the error over that of the update; nil where there is no update.
        var share: Double? { update > 0 ? (error / update).squareRoot() : nil }
    }

    private let sums = Mutex<[String: Sums]>([:])

    func add(_ sum: Sums, at path: String) { sums.withLock { $0[path, default: .init()] = sum } }

    /// Of all tensors, and of the one with the largest share.
    var total: (share: Double?, worst: (path: String, share: Double)?) {
        let sums = sums.withLock(\.self)
        let ordered = sums.sorted { $0.key < $1.key }
        let total = ordered.reduce(Sums()) { $0 + $1.value }
        let shares = ordered.compactMap { entry in entry.value.share.map { (path: entry.key, share: $0) } }
        return (total.share, shares.max { $0.share < $1.share })
    }
}
