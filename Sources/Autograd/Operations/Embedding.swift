import CKernels

/// y[t] = scale · table[tokens[t]], with table [V, C] and y [T, C].
package func embedding(_ tokens: [Int32], table: Parameter, scale: Float = 1, on tape: Tape) -> Variable {
    let workspace = tape.workspace
    let width = table.shape[1]
    let y = Tensor(Shape(tokens.count, width), in: workspace) { y in
        workspace.threads.forEachRange(tokens.count, grain: rowGrain(width: width)) { range, _ in
            for t in range {
                let token = Int(tokens[t])
                table.decode(rows: token..<token + 1, to: y + t * width)
                if scale != 1 { workspace.kernels.add_scaled(y + t * width, y + t * width, scale, width, 0) }
            }
        }
    }
    return tape.record(y, parameters: [table]) { dy, _ in
        table.accumulateGradient(in: workspace) { dtable, accumulate in
            if !accumulate { dtable.initialize(repeating: 0, count: table.shape.count) }
            // In the order of the tokens: several of them may be the same row.
            for (t, token) in tokens.enumerated() {
                workspace.kernels.add_scaled(
                    dtable + Int(token) * width, dy.pointer + t * width, scale, width, 1)
            }
        }
    }
}

/// y[i] = x[rows[i]], with x [T, C] and y [rows.count, C]; rows may repeat.
package func gatherRows(_ x: Variable, _ rows: [Int32]) -> Variable {
    let workspace = x.tape.workspace
    let (count, width) = (x.value.shape[0], x.value.shape[1])
    precondition(rows.allSatisfy { $0 >= 0 && Int($0) < count }, "rows beyond the \(count) of x")
    let y = Tensor(Shape(rows.count, width), in: workspace) { y in
        workspace.threads.forEachRange(rows.count, grain: rowGrain(width: width)) { range, _ in
            for i in range { (y + i * width).update(from: x.value.pointer + Int(rows[i]) * width, count: width) }
        }
    }
    let slot = x.slot
    return x.tape.record(y, from: x) { dy, adjoints in
        adjoints.add(to: slot) { dx, accumulate in
            // One task, in the order of the rows: several of them may be the same.
            workspace.threads.forEach(1) { _, _ in
                if !accumulate { dx.initialize(repeating: 0, count: count * width) }
                for (i, row) in rows.enumerated() {
                    workspace.kernels.add_scaled(dx + Int(row) * width, dy.pointer + i * width, 1, width, 1)
                }
            }
        }
    }
}
