import Autograd
import Diagnostics
import Formats
import NN

extension Encoder {
    /// A model with the head that `spec.task` asks for, whose weights `binder` finds.
    convenience init(_ spec: DecoderSpec, _ task: TaskSpec, _ binder: inout WeightBinder) throws(Diagnostic) {
        let backbone = try Backbone(spec, &binder)
        var plain = spec
        plain.names.storesTransposed = false  // heads are stored as [out, in] in every family
        var (dense, norm): (Linear?, Norm?) = (nil, nil)
        if let part = task.dense, task.kind != .states || binder.has(part.name + ".weight") {
            dense = try binder.linear(part.name, spec.hidden, spec.hidden, bias: part.hasBias, plain)
            if let name = part.norm { norm = try binder.norm(name, width: spec.hidden, plain) }
        }
        guard let scores = spec.scoreCount else {
            self.init(backbone, head: TaskHead(task, dense: dense, norm: norm, output: nil))
            return
        }
        let weight =
            task.kind == .maskedToken && spec.isTied
            ? backbone.embedding : try binder.matrix(task.output + ".weight", rows: scores, columns: spec.hidden)
        var bias: Parameter?
        if let usual = task.outputBias.first {
            bias = try binder.vector(task.outputBias.first { binder.has($0) } ?? usual, count: scores)
        }
        self.init(backbone, head: TaskHead(task, dense: dense, norm: norm, output: Linear(weight: weight, bias: bias)))
    }
}
