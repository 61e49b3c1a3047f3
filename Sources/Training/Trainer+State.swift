import Autograd
import NN
package import Diagnostics
package import Formats

/// What the next steps depend on, in a file: the parameters and the optimiser's two moments of each, f32. Random numbers
/// follow from the seed and the step, and gradients are empty between steps, so there is nothing else.
extension Trainer {
    /// The tensors of the state; each is copied when it is written, so they must be before the next step.
    package func stateTensors() -> [OutgoingTensor] {
        parts.flatMap { name, tensors in
            zip(names, tensors).map { OutgoingTensor(name: name + $0, shape: $1.shape.dimensions, tensor: $1) }
        }
    }

    /// Goes back to the state after `step` steps.
    ///
    /// - Throws: `state` if the file holds another adapter's state; nothing has changed then.
    package mutating func restore(step: Int, from file: SafetensorsFile) throws(Diagnostic) {
        let stored = Dictionary(file.tensors.map { ($0.name, $0) }) { first, _ in first }
        var restored: [[Tensor]] = []
        for prefix in Self.prefixes {
            var tensors: [Tensor] = []
            for (name, parameter) in zip(names, parameters) {
                guard let tensor = stored[prefix + name], tensor.type == .f32,
                    tensor.shape == parameter.shape.dimensions
                else {
                    throw Diagnostic(
                        TrainingCode.state, file: file.file.path, at: "tensor \"\(prefix + name)\"",
                        found: "no tensor of this name, type and shape", expected: "the state of this adapter")
                }
                tensors.append(Tensor(parameter.shape, try tensor.floats(), in: workspace))
            }
            restored.append(tensors)
        }
        guard stored.count == restored.count * names.count else {
            throw Diagnostic(
                TrainingCode.state, file: file.file.path, found: "\(stored.count) tensors",
                expected: "\(restored.count * names.count) of this adapter")
        }
        for (parameter, value) in zip(parameters, restored[0]) { parameter.replace(value) }
        optimizer.restore(stepCount: step, firstMoments: restored[1], secondMoments: restored[2])
        stepCount = step
    }

    private static let prefixes = ["parameter.", "first_moment.", "second_moment."]

    private var parts: [(name: String, tensors: [Tensor])] {
        let values = [parameters.compactMap(\.floats), optimizer.firstMoments, optimizer.secondMoments]
        return zip(Self.prefixes, values).map { ($0, $1) }
    }
}

extension OutgoingTensor {
    /// The values of a tensor as f32, copied when they are written.
    fileprivate init(name: String, shape: [Int], tensor: Tensor) {
        self.init(name: name, shape: shape, type: .f32) {
            Array(UnsafeRawBufferPointer(start: tensor.pointer, count: 4 * tensor.shape.count))
        }
    }
}

extension Shape {
    fileprivate var dimensions: [Int] { (0..<rank).map { self[$0] } }
}
