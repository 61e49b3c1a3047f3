package import Autograd

/// Compares the gradients of a scalar function with central differences, element by element.
package struct GradientCheck {
    package let workspace: Workspace
    /// The inputs by name; each becomes a variable or a parameter of the function.
    package var inputs: [String: Tensor]

    package init(_ workspace: Workspace, inputs: [String: Tensor]) {
        self.workspace = workspace
        self.inputs = inputs
    }

    /// The function's scalar value for the inputs; `frozen` ones are constants.
    package typealias Function = (_ inputs: [String: Variable], _ tape: Tape) -> Variable

    /// One row of the comparison.
    package struct Difference: CustomStringConvertible {
        package let input: String
        package let index: Int
        package let numeric: Float
        package let analytic: Float
        package let relative: Float
        package var description: String {
            "\(input)[\(index)]: numeric \(numeric), analytic \(analytic), relative \(relative)"
        }
    }

    /// The worst difference over all elements of all inputs that are not frozen, relative to the largest gradient of
    /// that input; and the names of the inputs that received a gradient.
    ///
    /// - Parameter step: of the central difference; with f32 and values near 1, 1e-2 balances cut-off and rounding.
    package func worst(frozen: Set<String> = [], step: Float = 1e-2, _ function: Function) -> (Difference?, Set<String>)
    {
        var gradients: [String: [Float]] = [:]
        let tape = Tape(workspace, recording: true)
        var variables: [String: Variable] = [:]
        for (name, value) in inputs {
            variables[name] =
                frozen.contains(name) ? tape.constant(value) : tape.watched(value) { gradients[name] = $0.elements }
        }
        tape.backward(from: function(variables, tape))
        var worst: Difference?
        for (name, value) in inputs where !frozen.contains(name) {
            let analytic = gradients[name] ?? Array(repeating: 0, count: value.shape.count)
            let numeric = value.elements.indices.map { index in
                let sides = [step, -step].map { delta -> Float in
                    var elements = value.elements
                    elements[index] += delta
                    let tape = Tape(workspace, recording: false)
                    var shifted = inputs.mapValues { tape.constant($0) }
                    shifted[name] = tape.constant(Tensor(value.shape, elements, in: workspace))
                    return function(shifted, tape).value[0]
                }
                return (sides[0] - sides[1]) / (2 * step)
            }
            let largest = max(numeric.map(abs).max() ?? 0, 1e-3)
            for index in numeric.indices {
                let relative = abs(numeric[index] - analytic[index]) / largest
                if relative > worst?.relative ?? -1 || relative.isNaN {
                    worst = Difference(
                        input: name, index: index, numeric: numeric[index], analytic: analytic[index],
                        relative: relative.isNaN ? .infinity : relative)
                }
            }
        }
        return (worst, Set(gradients.keys))
    }
}

/// A fixed sequence of numbers that look random, for test inputs.
package struct TestNumbers {
    private var state: UInt64

    package init(seed: UInt64) { state = seed }

    package mutating func uniform(_ range: ClosedRange<Float> = -1...1) -> Float {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return range.lowerBound + Float(state >> 40) / Float(1 << 24) * (range.upperBound - range.lowerBound)
    }

    package mutating func tensor(
        _ shape: Shape, _ range: ClosedRange<Float> = -1...1, in workspace: Workspace
    ) -> Tensor {
        Tensor(shape, (0..<shape.count).map { _ in uniform(range) }, in: workspace)
    }
}

/// The sum of weights · x: a scalar whose gradient with respect to x has no symmetry that could hide an error.
package func weightedSum(_ x: Variable, seed: UInt64 = 99) -> Variable {
    var numbers = TestNumbers(seed: seed)
    let weights = (0..<x.value.shape.count).map { _ in numbers.uniform() }
    let workspace = x.tape.workspace
    let value = zip(x.value.elements, weights).reduce(0.0) { $0 + Double($1.0) * Double($1.1) }
    let slot = x.slot
    return x.tape.record(Tensor(Shape(1), [Float(value)], in: workspace), from: x) { dy, adjoints in
        adjoints.add(to: slot) { dx, accumulate in
            for (index, weight) in weights.enumerated() {
                dx[index] = (accumulate ? dx[index] : 0) + dy[0] * weight
            }
        }
    }
}
