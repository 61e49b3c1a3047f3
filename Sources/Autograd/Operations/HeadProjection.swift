import CKernels

/// The low-rank term of an output head, computed beside the head some rows at a time: logits += scale · h·aᵀ·bᵀ.
struct HeadProjection {
    private let term: LowRankTerm
    private let workspace: Workspace
    /// The gradients of a and b for all rows so far; nil where they are not trained.
    private(set) var da: Tensor?
    private(set) var db: Tensor?
    /// h·aᵀ of the rows at hand.
    private var projected: Tensor?

    /// The head's input is not dropped: a term with dropout is not for heads.
    init(_ term: LowRankTerm, isRecording: Bool, in workspace: Workspace) {
        precondition(term.dropout == nil, "dropout before a head's adapter")
        self.term = term
        self.workspace = workspace
        if isRecording, term.a.isTrainable { da = Tensor(zeros: term.a.shape, in: workspace) }
        if isRecording, term.b.isTrainable { db = Tensor(zeros: term.b.shape, in: workspace) }
    }

    private var rank: Int { term.a.shape[0] }

    /// Adds the term to logits [rows, V] of h [rows, C].
    mutating func addTerm(_ h: UnsafePointer<Float>, rows: Int, to logits: UnsafeMutablePointer<Float>) {
        let (rank, vocabulary) = (rank, term.b.shape[0])
        let p = Tensor(Shape(rows, rank), in: workspace) {
            workspace.multiply(h, rows: rows, byTransposeOf: term.a, into: $0, accumulating: false)
        }
        term.b.withFloats(in: workspace) { b in
            workspace.multiply(
                m: rows, n: vocabulary, k: rank, Operand(pointer: p.pointer, leadingDimension: rank),
                Operand(pointer: b, leadingDimension: rank, isTransposed: true), into: logits,
                leadingDimension: vocabulary, accumulating: true, alpha: term.scale)
        }
        projected = p
    }

    /// With the gradient of the same rows' logits adds those of a, b, and of h from row `first` of `dHidden` on.
    mutating func addGradients(
        _ dlogits: Tensor, h: UnsafePointer<Float>, to dHidden: inout Tensor?, from first: Int
    ) {
        guard let projected, dHidden != nil || da != nil || db != nil else { return }
        let (rank, rows, vocabulary, width) = (rank, dlogits.shape[0], dlogits.shape[1], term.a.shape[1])
        db?.update(in: workspace) { db in
            workspace.multiplyOuter(
                dlogits.pointer, outputs: vocabulary, projected.pointer, inputs: rank, rows: rows, into: db,
                accumulating: true, scale: term.scale)
        }
        let dp = Tensor(Shape(rows, rank), in: workspace) { dp in
            term.b.withFloats(in: workspace) { b in
                workspace.multiply(
                    m: rows, n: rank, k: vocabulary, Operand(pointer: dlogits.pointer, leadingDimension: vocabulary),
                    Operand(pointer: b, leadingDimension: rank), into: dp, leadingDimension: rank,
                    accumulating: false, alpha: term.scale)
            }
        }
        da?.update(in: workspace) { da in
            workspace.multiplyOuter(
                dp.pointer, outputs: rank, h, inputs: width, rows: rows, into: da, accumulating: true)
        }
        dHidden?.update(in: workspace) { dh in
            workspace.multiply(dp.pointer, rows: rows, by: term.a, into: dh + first * width, accumulating: true)
        }
    }
}
