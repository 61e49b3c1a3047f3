import CKernels

/// How a frozen weight is kept in fewer bits than its file has.
package enum LowBitEncoding: String, Sendable, CaseIterable {
    /// Eight bits and a scale for each row.
    case int8
    /// Four bits, the levels of a normal distribution, and a scale for each 64 elements (Dettmers et al. 2023).
    case nf4
    /// The same, with the scales in eight bits each: double quantisation.
    case nf4Double = "nf4-double"
}

extension EncodedMatrix {
    /// `w` in fewer bits, in memory; it is decoded some rows at a time as it is used.
    package init(_ w: Parameter, as encoding: LowBitEncoding, in workspace: Workspace) {
        let (rows, columns) = (w.shape[0], w.shape[1])
        switch encoding {
        case .int8:
            let values = Int8Values(w, in: workspace)
            self.init(rows: rows, columns: columns) { values.decode(rows: $0, to: $1) }
        case .nf4, .nf4Double:
            let values = NF4Values(w, doubly: encoding == .nf4Double, in: workspace)
            self.init(rows: rows, columns: columns) { range, out in
                values.decode(range.lowerBound * columns..<range.upperBound * columns, to: out)
            }
        }
    }
}

/// Rows of integers with a scale each.
private struct Int8Values: Sendable {
    private let columns: Int
    private let scales: [Float]
    private let values: [Int8]

    init(_ w: Parameter, in workspace: Workspace) {
        let (rows, columns) = (w.shape[0], w.shape[1])
        self.columns = columns
        var scales = [Float](repeating: 0, count: rows)
        var values = [Int8](repeating: 0, count: rows * columns)
        workspace.reserveScratch(count: columns)
        scales.withUnsafeMutableBufferPointer { scales in
            values.withUnsafeMutableBufferPointer { values in
                guard let out = values.baseAddress else { return }
                workspace.threads.forEach(rows) { row, worker in
                    let floats = workspace.scratch(worker: worker)
                    w.decode(rows: row..<row + 1, to: floats)
                    scales[row] = ek_encode_int8(floats, columns, out + row * columns)
                }
            }
        }
        (self.scales, self.values) = (scales, values)
    }

    func decode(rows: Range<Int>, to out: UnsafeMutablePointer<Float>) {
        values.withUnsafeBufferPointer { values in
            for (index, row) in rows.enumerated() {
                ek_decode_int8(values.baseAddress! + row * columns, scales[row], columns, out + index * columns)
            }
        }
    }
}

/// Elements of a matrix, flattened row by row, in blocks of 64 with a scale each.
private struct NF4Values: Sendable {
    private let packed: [UInt8]
    private let scales: Scales

    private enum Scales: Sendable {
        case single([Float])
        case double(DynamicBytes)
    }

    init(_ w: Parameter, doubly: Bool, in workspace: Workspace) {
        let (rows, columns) = (w.shape[0], w.shape[1])
        let block = Int(EK_NF4_BLOCK)
        var packed = [UInt8](repeating: 0, count: (rows * columns + 1) / 2)
        var scales = [Float](repeating: 0, count: (rows * columns + block - 1) / block)
        // Groups of 64 rows begin with a block, whatever the width.
        workspace.reserveScratch(count: block * columns)
        packed.withUnsafeMutableBufferPointer { packed in
            scales.withUnsafeMutableBufferPointer { scales in
                guard let packed = packed.baseAddress, let scales = scales.baseAddress else { return }
                workspace.threads.forEach((rows + block - 1) / block) { group, worker in
                    let range = group * block..<min(rows, (group + 1) * block)
                    let floats = workspace.scratch(worker: worker)
                    w.decode(rows: range, to: floats)
                    let first = range.lowerBound * columns
                    ek_encode_nf4(floats, range.count * columns, packed + first / 2, scales + first / block)
                }
            }
        }
        self.packed = packed
        self.scales = doubly ? .double(DynamicBytes(scales)) : .single(scales)
    }

    func decode(_ elements: Range<Int>, to out: UnsafeMutablePointer<Float>) {
        guard !elements.isEmpty else { return }
        let block = Int(EK_NF4_BLOCK)
        let blocks = elements.lowerBound / block..<(elements.upperBound + block - 1) / block
        func run(_ scales: UnsafePointer<Float>) {
            packed.withUnsafeBufferPointer {
                ek_decode_nf4($0.baseAddress, scales, elements.lowerBound, elements.count, out)
            }
        }
        switch scales {
        case .single(let scales): scales.withUnsafeBufferPointer { run($0.baseAddress! + blocks.lowerBound) }
        case .double(let bytes): bytes.decoded(blocks).withUnsafeBufferPointer { run($0.baseAddress!) }
        }
    }
}

/// Numbers in a byte each: their distance from the mean, as a share of the largest in 256 of them, in the nearest of 256
/// values that lie closer to each other near zero (Dettmers et al. 2022, section 2.2, dynamic tree quantisation).
package struct DynamicBytes: Sendable {
    private let mean: Float
    private let scales: [Float]
    private let codes: [UInt8]
    private static let block = 256

    package init(_ values: [Float]) {
        let mean = Float(values.reduce(0.0) { $0 + Double($1) } / Double(max(1, values.count)))
        var scales: [Float] = []
        var codes: [UInt8] = []
        codes.reserveCapacity(values.count)
        for start in stride(from: 0, to: values.count, by: Self.block) {
            let part = values[start..<min(values.count, start + Self.block)].map { $0 - mean }
            let scale = part.map(abs).max() ?? 0
            scales.append(scale)
            for value in part { codes.append(scale > 0 ? Self.nearest(value / scale) : Self.zero) }
        }
        (self.mean, self.scales, self.codes) = (mean, scales, codes)
    }

    package func decoded(_ range: Range<Int>) -> [Float] {
        range.map { Self.levels[Int(codes[$0])] * scales[$0 / Self.block] + mean }
    }

    /// Ascending: for each of seven powers of ten the middles of equal parts of its range, of both signs, with 0 and 1.
    package static let levels: [Float] = {
        var levels: [Float] = [0, 1]
        for exponent in 0..<7 {
            let parts = 1 << exponent
            let power = Float(repeatElement(10.0, count: 6 - exponent).reduce(1.0) { $0 / $1 })
            for part in 0..<parts {
                let low = 0.1 + 0.9 * Float(part) / Float(parts)
                let high = 0.1 + 0.9 * Float(part + 1) / Float(parts)
                levels += [power * (low + high) / 2, -power * (low + high) / 2]
            }
        }
        return levels.sorted()
    }()

    private static let zero = UInt8(levels.firstIndex(of: 0) ?? 0)

    private static func nearest(_ x: Float) -> UInt8 {
        var (low, high) = (0, levels.count - 1)
        while high - low > 1 {
            let middle = (low + high) / 2
            if levels[middle] <= x { low = middle } else { high = middle }
        }
        return UInt8(x - levels[low] <= levels[high] - x ? low : high)
    }
}
