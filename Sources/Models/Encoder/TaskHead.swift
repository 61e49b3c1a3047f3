import Autograd
import Batches
package import NN

/// What makes scores of a model's final states, as a `TaskSpec` says.
package final class TaskHead {
    /// Its weight is the embedding where tokens are guessed and the head is tied; nil: there are no scores.
    package let output: Linear?
    let dense: Linear?
    let norm: Norm?
    /// The paths of layers that no checkpoint had: an adapter that uses them must keep them.
    package let drawn: [String]
    private let task: TaskSpec

    init(_ task: TaskSpec, dense: Linear?, norm: Norm?, output: Linear?, drawn: [String] = []) {
        self.task = task
        self.dense = dense
        self.norm = norm
        self.output = output
        self.drawn = drawn
    }

    /// Whether scores are a sequence's, not a token's.
    var isPooled: Bool { task.kind == .sequence }

    /// What the layer of scores gets of `states`: a row for each of their rows, or for each sequence of `batch`.
    func features(_ states: Variable, _ batch: PackedBatch, dropoutKey: UInt64?) -> Variable {
        guard isPooled else { return transformed(states, dropoutKey: dropoutKey) }
        // Scores are linear in the features, so that a late mean may as well come before them.
        if task.poolsLate { return task.pooling(transformed(states, dropoutKey: dropoutKey), batch) }
        return transformed(task.pooling(states, batch), dropoutKey: dropoutKey)
    }

    private func transformed(_ h: Variable, dropoutKey: UInt64?) -> Variable {
        guard let dense, let activation = task.dense?.activation else { return h }
        let y = gatedActivation(dense(h, dropoutKey: dropoutKey), nil, activation)
        return norm?(y) ?? y
    }

    /// Under the paths of the checkpoint, which have no common beginning.
    var children: [(name: String, module: any Module)] {
        var list: [(name: String, module: any Module)] = []
        if let dense, let name = task.dense?.name { list.append((name, dense)) }
        if let norm, let name = task.dense?.norm { list.append((name, norm)) }
        if let output { list.append((task.output, output)) }
        return list
    }
}
