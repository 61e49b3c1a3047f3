package import Autograd

/// A low-rank adapter of one layer (Hu et al. 2021): the update scale · B·A of its weight, and what variants add to it.
///
/// With a start (PiSSA, Meng et al. 2024) the update is scale · (B·A − B₀·A₀): training begins at the weight as it is,
/// from its principal directions. With magnitudes (DoRA, Liu et al. 2024) each row of the updated weight is stretched to
/// one of them.
package final class LowRankAdapter {
    /// [rank, in]; of an embedding [rank, vocabulary].
    package let a: Parameter
    /// [out, rank]
    package let b: Parameter
    package let scale: Float
    package let dropout: Float
    /// Added to the output, times the scale: [out].
    package let bias: Parameter?
    /// The length of each row of the adapted weight: [out].
    package let magnitude: Parameter?
    /// A₀ and B₀, frozen, of the shapes of A and B.
    package let start: (a: Parameter, b: Parameter)?
    /// Tells this layer's dropout from the others'.
    private let ordinal: UInt64
    /// Where nothing is trained the lengths stay as they are.
    private var knownLengths: Tensor?

    package init(
        a: Parameter, b: Parameter, scale: Float, dropout: Float = 0, bias: Parameter? = nil,
        magnitude: Parameter? = nil, start: (a: Parameter, b: Parameter)? = nil, ordinal: Int
    ) {
        precondition(a.shape[0] == b.shape[1], "A \(a.shape) and B \(b.shape) differ in rank")
        self.a = a
        self.b = b
        self.scale = scale
        self.dropout = dropout
        self.bias = bias
        self.magnitude = magnitude
        self.start = start
        self.ordinal = UInt64(ordinal)
    }

    package var rank: Int { a.shape[0] }

    /// B·A, and where there is a start −B₀·A₀, each with its scale: what is added to the weight before it is stretched.
    package var terms: [LowRankTerm] {
        [LowRankTerm(a: a, b: b, scale: scale)]
            + (start.map { [LowRankTerm(a: $0.a, b: $0.b, scale: -scale)] } ?? [])
    }

    /// The term of B·A in a forward pass.
    package func term(dropoutKey: UInt64?) -> LowRankTerm {
        let drawn = dropoutKey.flatMap { key in
            dropout > 0 ? Dropout(rate: dropout, key: CounterRandom(key: key).bits(at: ordinal)) : nil
        }
        return LowRankTerm(a: a, b: b, scale: scale, dropout: drawn)
    }

    /// The length of each row of the updated weight, before it is stretched: [out].
    func rowLengths(with weight: Parameter, in workspace: Workspace) -> Tensor {
        if let knownLengths { return knownLengths }
        let lengths = Autograd.rowLengths(of: weight, plus: terms, in: workspace)
        if !a.isTrainable, !b.isTrainable { knownLengths = lengths }
        return lengths
    }
}
