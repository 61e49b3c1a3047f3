import CKernels

/// A value in a forward pass, with its place on the tape.
package struct Variable {
    package var value: Tensor
    package let tape: Tape
    /// nil: nothing upstream is trainable, so no gradient flows here.
    package let node: Int?
    let forms: ActivationForms

    init(value: Tensor, tape: Tape, node: Int?, forms: ActivationForms = ActivationForms()) {
        self.value = value
        self.tape = tape
        self.node = node
        self.forms = forms
    }

    /// Where this value's gradient goes; capturing it keeps no activation alive.
    package var slot: Slot { Slot(node: node, shape: value.shape) }
}

package struct Slot {
    let node: Int?
    let shape: Shape

    package var isNeeded: Bool { node != nil }
}

/// The record of one forward pass, walked backwards once.
///
/// A tape that does not record is how inference runs: the same operations keep nothing.
package final class Tape {
    package typealias Backward = (_ dy: Tensor, _ adjoints: Adjoints) -> Void

    package let workspace: Workspace
    package let isRecording: Bool
    private var nodes: [Backward] = []

    package init(_ workspace: Workspace, recording: Bool) {
        self.workspace = workspace
        isRecording = recording
    }

    /// The number of operations that a backward pass would visit.
    package var nodeCount: Int { nodes.count }

    /// A value that needs no gradient.
    package func constant(_ value: Tensor) -> Variable { Variable(value: value, tape: self, node: nil) }

    /// A value whose gradient `receive` gets in the backward pass.
    package func watched(_ value: Tensor, receive: @escaping (Tensor) -> Void) -> Variable {
        guard isRecording else { return constant(value) }
        nodes.append { dy, _ in receive(dy) }
        return Variable(value: value, tape: self, node: nodes.count - 1)
    }

    /// Records `y`, computed from `inputs` and `parameters`; `backward` is kept only if one of them needs a gradient.
    package func record(
        _ y: Tensor, from inputs: Variable..., parameters: [Parameter?] = [], backward: @escaping Backward
    ) -> Variable {
        record(y, inputs, parameters, ActivationForms(), backward)
    }

    /// The same for any number of inputs.
    func record(
        _ y: Tensor, fromAll inputs: [Variable], parameters: [Parameter?] = [], backward: @escaping Backward
    ) -> Variable {
        record(y, inputs, parameters, ActivationForms(), backward)
    }

    /// The same for an operation that has made other forms of `y` itself.
    func record(
        _ y: Tensor, from inputs: Variable..., forms: ActivationForms, backward: @escaping Backward
    ) -> Variable {
        record(y, inputs, [], forms, backward)
    }

    /// Records `y` whatever it was computed from.
    func record(_ y: Tensor, backward: @escaping Backward) -> Variable {
        nodes.append(backward)
        return Variable(value: y, tape: self, node: nodes.count - 1)
    }

    private func record(
        _ y: Tensor, _ inputs: [Variable], _ parameters: [Parameter?], _ forms: ActivationForms,
        _ backward: @escaping Backward
    ) -> Variable {
        let isNeeded =
            isRecording && (inputs.contains { $0.node != nil } || parameters.contains { $0?.isTrainable == true })
        let node = isNeeded ? nodes.count : nil
        if isNeeded { nodes.append(backward) }
        return Variable(value: y, tape: self, node: node, forms: forms)
    }

    /// Adds scale · ∂loss/∂p to the gradient of every trainable parameter, and empties the tape.
    package func backward(from loss: Variable, scale: Float = 1) {
        precondition(loss.value.shape.count == 1, "a loss has one element, this has shape \(loss.value.shape)")
        backward(from: loss, gradient: Tensor(Shape(1), [scale], in: workspace))
    }

    /// The same from any value whose gradient is known.
    func backward(from y: Variable, gradient: Tensor) {
        guard let node = y.node else { return nodes.removeAll() }
        let adjoints = Adjoints(count: nodes.count, workspace: workspace)
        adjoints.give(gradient, to: y.slot)
        precondition(node < nodes.count, "node \(node) of a tape with \(nodes.count)")
        while let backward = nodes.popLast() {  // popping frees the activations that the node had saved
            if let dy = adjoints.take(nodes.count) { backward(dy, adjoints) }
        }
    }
}

/// The gradients that the backward pass has found so far, by node.
package final class Adjoints {
    private var pending: [Tensor?]
    package let workspace: Workspace

    init(count: Int, workspace: Workspace) {
        pending = Array(repeating: nil, count: count)
        self.workspace = workspace
    }

    func take(_ node: Int) -> Tensor? {
        let value = pending[node]
        pending[node] = nil
        return value
    }

    /// Calls `body` to write (accumulate false) or add to (true) the gradient at `slot`, if one is needed there.
    package func add(to slot: Slot, _ body: (_ dx: UnsafeMutablePointer<Float>, _ accumulate: Bool) -> Void) {
        guard let node = slot.node else { return }
        if pending[node] != nil {
            pending[node]!.update(in: workspace) { body($0, true) }
        } else {
            pending[node] = Tensor(slot.shape, in: workspace) { body($0, false) }
        }
    }

    /// Adds `gradient` at `slot` without a copy where it is the first.
    package func give(_ gradient: Tensor, to slot: Slot) {
        guard let node = slot.node else { return }
        guard pending[node] != nil else { return pending[node] = gradient.reshaped(slot.shape) }
        add(to: slot) { [workspace] dx, _ in workspace.addScaled(gradient, 1, to: dx, accumulating: true) }
    }
}

/// Elements for one task of an elementwise loop: enough to outweigh handing it out.
let elementGrain = 16_384

/// Rows for one task of a loop over rows of `width` elements.
func rowGrain(width: Int) -> Int { max(1, elementGrain / max(1, width)) }
