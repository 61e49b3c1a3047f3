import Autograd
import Diagnostics
import Formats
import NN

extension Encoder {
    /// A model with the head that `spec.task` asks for, whose weights `binder` finds.
    ///
    /// - Parameter newHeadSeed: where given, layers of the head that the checkpoint lacks, or has for other labels, are
    ///   drawn: weights normally with a standard deviation of 0.02, as transformers does, biases 0.
    convenience init(
        _ spec: DecoderSpec, _ task: TaskSpec, _ binder: inout WeightBinder, newHeadSeed: UInt64?
    ) throws(Diagnostic) {
        let backbone = try Backbone(spec, &binder)
        var loader = HeadLoader(spec: spec, binder: binder, seed: newHeadSeed)
        let head = try loader.head(task, embedding: backbone.embedding)
        binder = loader.binder
        self.init(backbone, head: head)
    }
}

/// Finds or draws the layers of a head.
private struct HeadLoader {
    let spec: DecoderSpec
    var binder: WeightBinder
    let seed: UInt64?
    private var drawn: [String] = []

    init(spec: DecoderSpec, binder: WeightBinder, seed: UInt64?) {
        // Heads are stored as [out, in] in every family.
        var plain = spec
        plain.names.storesTransposed = false
        self.spec = plain
        self.binder = binder
        self.seed = seed
    }

    mutating func head(_ task: TaskSpec, embedding: Parameter) throws(Diagnostic) -> TaskHead {
        var (dense, norm): (Linear?, Norm?) = (nil, nil)
        if let part = task.dense, task.kind != .states || binder.has(part.name + ".weight") {
            let biases = part.hasBias ? [part.name + ".bias"] : []
            dense = try linear(part.name, outputs: spec.hidden, biases: biases)
            if let name = part.norm { norm = try self.norm(name) }
        }
        guard let scores = spec.scoreCount else {
            return TaskHead(task, dense: dense, norm: norm, output: nil, drawn: drawn)
        }
        let tied = task.kind == .maskedToken && spec.isTied ? embedding : nil
        let output = try linear(task.output, outputs: scores, biases: task.outputBias, tied: tied)
        return TaskHead(task, dense: dense, norm: norm, output: output, drawn: drawn)
    }

    /// - Parameter biases: names that the bias may have; empty: there is none.
    private mutating func linear(
        _ path: String, outputs: Int, biases: [String], tied: Parameter? = nil
    ) throws(Diagnostic) -> Linear {
        let biasName = biases.first { binder.has($0) } ?? biases.first
        var parts = tied == nil ? [(path + ".weight", [outputs, spec.hidden])] : []
        if let biasName { parts.append((biasName, [outputs])) }
        guard let random = random(path, parts) else {
            let weight =
                if let tied { tied } else { try binder.matrix(path + ".weight", rows: outputs, columns: spec.hidden) }
            var bias: Parameter?
            if let biasName { bias = try binder.vector(biasName, count: outputs) }
            return Linear(weight: weight, bias: bias)
        }
        let weight = tied ?? binder.made(Shape(outputs, spec.hidden)) { 0.02 * Float(random.normal(at: UInt64($0))) }
        return Linear(weight: weight, bias: biasName == nil ? nil : binder.made(Shape(outputs)) { _ in 0 })
    }

    private mutating func norm(_ path: String) throws(Diagnostic) -> Norm {
        guard random(path, [(path + ".weight", [spec.hidden])]) != nil else {
            return try binder.norm(path, width: spec.hidden, spec)
        }
        return Norm(
            spec.norm, gain: binder.made(Shape(spec.hidden)) { _ in 1 },
            bias: spec.bias.norm ? binder.made(Shape(spec.hidden)) { _ in 0 } : nil, epsilon: spec.normEpsilon)
    }

    /// What the layer at `path` is to be drawn from; nil: the checkpoint must have it.
    private mutating func random(_ path: String, _ parts: [(name: String, shape: [Int])]) -> CounterRandom? {
        guard let seed else { return nil }
        var isThere = true
        for (name, shape) in parts where !binder.has(name, shape: shape) { isThere = false }
        if isThere { return nil }
        drawn.append(path)
        return CounterRandom(seed: seed, .headInitialization, index: UInt64(drawn.count))
    }
}
