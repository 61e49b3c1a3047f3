import COpenBLAS

/// The largest singular values of a matrix with their vectors: w ≈ Σ values[k] · left[k] · right[k]ᵀ.
package struct SingularValues: Sendable {
    /// Descending.
    package let values: [Double]
    /// [count, rows], one vector after the other.
    package let left: [Double]
    /// [count, columns]
    package let right: [Double]
}

/// How singular vectors are found.
package enum SingularValueMethod: Sendable, Equatable {
    /// All of them, by LAPACK's divide and conquer; time grows with rows · columns · min(rows, columns).
    case exact
    /// Those asked for, by so many rounds of subspace iteration (Halko et al. 2011, algorithm 4.4) from the given
    /// numbers, which are drawn from a normal distribution by their index.
    case iterative(rounds: Int, normal: @Sendable (Int) -> Double)

    package static func == (a: Self, b: Self) -> Bool {
        switch (a, b) {
        case (.exact, .exact): true
        case (.iterative(let a, _), .iterative(let b, _)): a == b
        default: false
        }
    }
}

extension SingularValues {
    /// The `count` largest of `w`, [rows, columns].
    ///
    /// The same on any number of threads: LAPACK works on one.
    /// - Returns: nil if LAPACK does not converge, which finite values do not cause.
    package init?(of w: [Float], rows: Int, columns: Int, count: Int, by method: SingularValueMethod) {
        precondition(w.count == rows * columns && count > 0 && count <= min(rows, columns), "\(count) of \(w.count)")
        switch method {
        case .exact:
            // Row after row is column after column of the transpose, whose left vectors are our right ones.
            var transposed = w.map(Double.init)
            guard let all = decompose(&transposed, rows: columns, columns: rows) else { return nil }
            let rank = min(rows, columns)
            values = Array(all.values[..<count])
            right = Array(all.u[..<(count * columns)])
            left = (0..<count).flatMap { k in (0..<rows).map { all.vt[$0 * rank + k] } }
        case .iterative(let rounds, let normal):
            // A few vectors more than asked for sharpen those that are.
            let width = min(count + 8, min(rows, columns))
            let matrix = w.map(Double.init)
            var basis = (0..<rows * width).map(normal)
            guard orthonormalize(&basis, rows: rows, columns: width) else { return nil }
            var other = [Double](repeating: 0, count: columns * width)
            for _ in 0...max(0, rounds) {
                // other = wᵀ · basis, then basis = w · other, each made orthonormal again.
                multiply(matrix, rows: rows, columns: columns, transposed: true, basis, width: width, into: &other)
                guard orthonormalize(&other, rows: columns, columns: width) else { return nil }
                multiply(matrix, rows: rows, columns: columns, transposed: false, other, width: width, into: &basis)
                guard orthonormalize(&basis, rows: rows, columns: width) else { return nil }
            }
            // wᵀ · basis is small: [columns, width]. Its left vectors are w's right ones.
            multiply(matrix, rows: rows, columns: columns, transposed: true, basis, width: width, into: &other)
            guard let small = decompose(&other, rows: columns, columns: width) else { return nil }
            values = Array(small.values[..<count])
            right = Array(small.u[..<(count * columns)])
            var left = [Double](repeating: 0, count: count * rows)
            for k in 0..<count {
                for inner in 0..<width {
                    let factor = small.vt[inner * width + k]
                    for row in 0..<rows { left[k * rows + row] += factor * basis[inner * rows + row] }
                }
            }
            self.left = left
        }
    }
}

/// All singular values and vectors of a column-major matrix, which is overwritten: u [rows, k] and vt [k, columns],
/// column-major, with k the smaller extent.
private func decompose(
    _ a: inout [Double], rows: Int, columns: Int
) -> (values: [Double], u: [Double], vt: [Double])? {
    let rank = min(rows, columns)
    var (m, n, k) = (blasint(rows), blasint(columns), blasint(rank))
    var values = [Double](repeating: 0, count: rank)
    var u = [Double](repeating: 0, count: rows * rank)
    var vt = [Double](repeating: 0, count: rank * columns)
    var integers = [blasint](repeating: 0, count: 8 * rank)
    var (info, query): (blasint, blasint) = (0, -1)
    var size = 0.0
    dgesdd_("S", &m, &n, &a, &m, &values, &u, &m, &vt, &k, &size, &query, &integers, &info, 1)
    guard info == 0 else { return nil }
    var work = [Double](repeating: 0, count: max(1, Int(size)))
    var length = blasint(work.count)
    dgesdd_("S", &m, &n, &a, &m, &values, &u, &m, &vt, &k, &work, &length, &integers, &info, 1)
    return info == 0 ? (values, u, vt) : nil
}

/// Replaces the columns of a column-major matrix by an orthonormal basis of what they span.
private func orthonormalize(_ a: inout [Double], rows: Int, columns: Int) -> Bool {
    var (m, n) = (blasint(rows), blasint(columns))
    var scales = [Double](repeating: 0, count: columns)
    var work = [Double](repeating: 0, count: 64 * columns)
    var length = blasint(work.count)
    var info: blasint = 0
    dgeqrf_(&m, &n, &a, &m, &scales, &work, &length, &info)
    guard info == 0 else { return false }
    dorgqr_(&m, &n, &n, &a, &m, &scales, &work, &length, &info)
    return info == 0
}

/// result = w · x, or wᵀ · x, with w [rows, columns] row-major, x and result column-major with `width` columns.
private func multiply(
    _ w: [Double], rows: Int, columns: Int, transposed: Bool, _ x: [Double], width: Int, into result: inout [Double]
) {
    // To BLAS, which is told column-major, w is its own transpose.
    let (outputs, inputs) = transposed ? (columns, rows) : (rows, columns)
    cblas_dgemm(
        CblasColMajor, transposed ? CblasNoTrans : CblasTrans, CblasNoTrans, blasint(outputs), blasint(width),
        blasint(inputs), 1, w, blasint(columns), x, blasint(inputs), 0, &result, blasint(outputs))
}
