import CKernels

/// Columns of a matrix that consists of groups of columns, such as heads.
package struct ColumnPart {
    let x: Variable
    let span: Int
    let offset: Int
    let count: Int

    /// `count` columns from `offset` on of every group of `span` columns; a span of 0 gives all groups the same ones.
    package init(_ x: Variable, span: Int = 0, from offset: Int, count: Int) {
        self.x = x
        self.span = span
        self.offset = offset
        self.count = count
    }

    fileprivate func lastColumn(groups: Int) -> Int { (groups - 1) * span + offset + count }
}

/// y [T, groups · W], each group of which is the columns of all `parts` side by side, then `padding` zeros.
///
/// Cuts a fused projection apart, swaps what stands in a head, or gives all heads a key that they share.
package func columns(_ parts: [ColumnPart], groups: Int = 1, padding: Int = 0) -> Variable {
    let tape = parts[0].x.tape
    let workspace = tape.workspace
    let rows = parts[0].x.value.shape[0]
    for part in parts {
        precondition(
            part.x.value.shape[0] == rows && part.lastColumn(groups: groups) <= part.x.value.shape[1],
            "columns beyond \(part.x.value.shape)")
    }
    let group = parts.reduce(padding) { $0 + $1.count }
    let width = groups * group
    let y = Tensor(Shape(rows, width), in: workspace) { y in
        workspace.threads.forEachRange(rows, grain: rowGrain(width: width)) { range, _ in
            for row in range {
                var to = y + row * width
                for index in 0..<groups {
                    for part in parts {
                        let from = part.x.value.pointer + row * part.x.value.shape[1] + index * part.span + part.offset
                        to.update(from: from, count: part.count)
                        to += part.count
                    }
                    to.update(repeating: 0, count: padding)
                    to += padding
                }
            }
        }
    }
    // What backward needs of a part without its values.
    let places = parts.map { (slot: $0.x.slot, span: $0.span, offset: $0.offset, count: $0.count) }
    return tape.record(y, fromAll: parts.map(\.x)) { dy, adjoints in
        var start = 0
        for (slot, span, offset, count) in places {
            let from = start
            start += count
            adjoints.add(to: slot) { dx, accumulate in
                let inputs = slot.shape[1]
                workspace.threads.forEachRange(rows, grain: rowGrain(width: inputs)) { range, _ in
                    for row in range {
                        let dx = dx + row * inputs
                        if !accumulate { dx.update(repeating: 0, count: inputs) }
                        for index in 0..<groups {
                            workspace.kernels.add_scaled(
                                dx + index * span + offset, dy.pointer + row * width + index * group + from, 1, count,
                                1)
                        }
                    }
                }
            }
        }
    }
}
