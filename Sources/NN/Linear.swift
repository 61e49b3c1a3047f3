package import Autograd

/// y = x·Wᵀ + b, plus the low-rank term of an adapter while one is attached.
package final class Linear: Module {
    /// [out, in]
    package let weight: Parameter
    package let bias: Parameter?
    package var adapter: LowRankAdapter?

    package init(weight: Parameter, bias: Parameter? = nil) {
        self.weight = weight
        self.bias = bias
    }

    /// - Parameter dropoutKey: of this forward pass; nil: the adapter's dropout is off.
    package func callAsFunction(_ x: Variable, dropoutKey: UInt64?) -> Variable {
        linear(x, weight: weight, bias: bias, lowRank: adapter?.term(dropoutKey: dropoutKey))
    }

    package var parameters: [(name: String, parameter: Parameter)] {
        var list = [("weight", weight)]
        if let bias { list.append(("bias", bias)) }
        return list
    }
}

/// A low-rank adapter of one linear layer (Hu et al. 2021): the update scale · B·A of its weight.
package final class LowRankAdapter {
    /// [rank, in]
    package let a: Parameter
    /// [out, rank]
    package let b: Parameter
    package let scale: Float
    package let dropout: Float
    /// Tells this layer's dropout from the others'.
    private let ordinal: UInt64

    package init(a: Parameter, b: Parameter, scale: Float, dropout: Float = 0, ordinal: Int) {
        precondition(a.shape[0] == b.shape[1], "A \(a.shape) and B \(b.shape) differ in rank")
        self.a = a
        self.b = b
        self.scale = scale
        self.dropout = dropout
        self.ordinal = UInt64(ordinal)
    }

    package var rank: Int { a.shape[0] }

    func term(dropoutKey: UInt64?) -> LowRankTerm {
        let drawn = dropoutKey.flatMap { key in
            dropout > 0 ? Dropout(rate: dropout, key: CounterRandom(key: key).bits(at: ordinal)) : nil
        }
        return LowRankTerm(a: a, b: b, scale: scale, dropout: drawn)
    }
}
