import CKernels

/// Scores that come from rows of their own instead of the head's: for single tokens whose rows are trained.
package struct ReplacedColumns {
    /// Of the scores, distinct.
    package let columns: [Int]
    /// [columns, C]
    package let table: Parameter

    package init(columns: [Int], table: Parameter) {
        precondition(table.shape[0] == columns.count, "\(table.shape) for \(columns.count) columns")
        self.columns = columns
        self.table = table
    }

    /// Puts h·tableᵀ into these columns of `scores` [rows, width].
    package func write(
        _ h: UnsafePointer<Float>, rows: Int, to scores: UnsafeMutablePointer<Float>, width: Int,
        in workspace: Workspace
    ) {
        let own = Tensor(Shape(rows, columns.count), in: workspace) {
            workspace.multiply(h, rows: rows, byTransposeOf: table, into: $0, accumulating: false)
        }
        workspace.threads.forEach(1) { _, _ in
            for row in 0..<rows {
                for (index, column) in columns.enumerated() {
                    scores[row * width + column] = own.pointer[row * columns.count + index]
                }
            }
        }
    }

    /// Takes these columns' gradients out of `dscores` [rows, width], where zeros stay: [rows, columns].
    func take(from dscores: inout Tensor, in workspace: Workspace) -> Tensor {
        let (rows, width) = (dscores.shape[0], dscores.shape[1])
        let taken = Tensor(Shape(rows, columns.count), in: workspace) { taken in
            workspace.threads.forEach(1) { _, _ in
                for row in 0..<rows {
                    for (index, column) in columns.enumerated() {
                        taken[row * columns.count + index] = dscores.pointer[row * width + column]
                    }
                }
            }
        }
        dscores.update(in: workspace) { dscores in
            workspace.threads.forEach(1) { _, _ in
                for row in 0..<rows { for column in columns { dscores[row * width + column] = 0 } }
            }
        }
        return taken
    }
}
