package import Autograd

/// y = x·Wᵀ + b, plus what an adapter adds while one is attached.
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
        guard let adapter else { return linear(x, weight: weight, bias: bias) }
        let stretches = adapter.magnitude != nil
        var y = linear(
            x, weight: weight, bias: stretches ? nil : bias, lowRank: adapter.term(dropoutKey: dropoutKey))
        if let start = adapter.start {
            y = add(y, linear(linear(x, weight: start.a), weight: start.b), scale: -adapter.scale)
        }
        if let magnitude = adapter.magnitude {
            let lengths = adapter.rowLengths(with: weight, in: x.tape.workspace)
            y = scaleColumns(y, by: magnitude, over: lengths, bias: bias)
        }
        if let outputBias = adapter.bias { y = addBias(y, outputBias, scale: adapter.scale) }
        return y
    }

    package var parameters: [(name: String, parameter: Parameter)] {
        var list = [("weight", weight)]
        if let bias { list.append(("bias", bias)) }
        return list
    }
}
