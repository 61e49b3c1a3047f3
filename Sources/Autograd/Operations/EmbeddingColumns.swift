import CKernels

/// y[t] = scale · column tokens[t] of table, with table [R, V] and y [T, R]: the low-rank half of an adapted embedding.
package func embeddingColumns(_ tokens: [Int32], table: Parameter, scale: Float, on tape: Tape) -> Variable {
    let workspace = tape.workspace
    let (rank, vocabulary) = (table.shape[0], table.shape[1])
    let y = Tensor(Shape(tokens.count, rank), in: workspace) { y in
        table.withFloats(in: workspace) { table in
            workspace.threads.forEachRange(tokens.count, grain: rowGrain(width: rank)) { range, _ in
                for t in range {
                    for k in 0..<rank { y[t * rank + k] = scale * table[k * vocabulary + Int(tokens[t])] }
                }
            }
        }
    }
    return tape.record(y, parameters: [table]) { dy, _ in
        table.accumulateGradient(in: workspace) { gradient, accumulate in
            // A task for each row of the table, in the order of the tokens: several of them may be the same column.
            workspace.threads.forEach(rank) { k, _ in
                if !accumulate { (gradient + k * vocabulary).initialize(repeating: 0, count: vocabulary) }
                for (t, token) in tokens.enumerated() {
                    gradient[k * vocabulary + Int(token)] += scale * dy.pointer[t * rank + k]
                }
            }
        }
    }
}

/// x with some rows replaced: y[places[i].row] = scale · table[places[i].entry], with x and y [T, C] and table [N, C].
package func replaceRows(
    of x: Variable, at places: [(row: Int, entry: Int)], by table: Parameter, scale: Float
) -> Variable {
    guard !places.isEmpty else { return x }
    let workspace = x.tape.workspace
    let width = x.value.shape[1]
    let y = Tensor(x.value.shape, in: workspace) { y in
        workspace.addScaled(x.value, 1, to: y, accumulating: false)
        table.withFloats(in: workspace) { table in
            workspace.threads.forEach(1) { _, _ in
                for (row, entry) in places {
                    workspace.kernels.add_scaled(y + row * width, table + entry * width, scale, width, 0)
                }
            }
        }
    }
    let slot = x.slot
    return x.tape.record(y, from: x, parameters: [table]) { dy, adjoints in
        table.accumulateGradient(in: workspace) { gradient, accumulate in
            workspace.threads.forEach(1) { _, _ in
                if !accumulate { gradient.initialize(repeating: 0, count: table.shape.count) }
                for (row, entry) in places {
                    workspace.kernels.add_scaled(
                        gradient + entry * width, dy.pointer + row * width, scale, width, 1)
                }
            }
        }
        guard slot.isNeeded else { return }
        var rest = dy
        rest.update(in: workspace) { rest in
            workspace.threads.forEach(1) { _, _ in
                for (row, _) in places { (rest + row * width).update(repeating: 0, count: width) }
            }
        }
        adjoints.give(rest, to: slot)
    }
}
