package import Autograd
import Batches
package import Diagnostics
package import Formats
package import Models
import NN

/// Computes what a file of another stack's numbers holds and compares every element.
package struct Parity {
    private let model: any LanguageModel
    private let adapter: AttachedAdapter?
    private let workspace: Workspace
    private let tolerance: Double

    package init(_ model: any LanguageModel, adapter: AttachedAdapter?, tolerance: Double, in workspace: Workspace) {
        self.model = model
        self.adapter = adapter
        self.workspace = workspace
        self.tolerance = tolerance
    }

    /// - Parameters:
    ///   - expected: the other stack's numbers, in the layout of the project's reference files.
    ///   - inputs: the token ids, if `expected` does not have them.
    /// - Throws: `parityInputs` if the ids are missing or outside the vocabulary.
    package func compare(expected: WeightSource, inputs: WeightSource?) throws(Diagnostic) -> ParityReport {
        var report = ParityReport(tolerance: tolerance)
        var pending = expected.tensors.filter { !Self.inputNames.contains(Self.bare($0.name)) }
        for prefix in ["", "short."] {
            let own = pending.filter { $0.name.hasPrefix("short.") == (prefix == "short.") }
            guard !own.isEmpty else { continue }
            let source = expected[prefix + "input_ids"] == nil ? inputs ?? expected : expected
            let parsed = try ParityInputs(source, prefix: prefix, spec: model.spec)
            try compare(own, parsed, prefix: prefix, into: &report)
            pending.removeAll { tensor in own.contains { $0.name == tensor.name } }
        }
        return report
    }

    private static let inputNames: Set<String> = [
        "input_ids", "attention_mask", "labels", "token_type_ids", "position_ids", "segment_ids",
    ]

    /// States made one vector a sequence, by the names of tensors.
    private static let poolings: [String: TaskSpec.Pooling] = [
        "pooled.first": .first, "pooled.mean": .mean, "pooled.last": .last(),
    ]

    private static func bare(_ name: String) -> String {
        name.hasPrefix("short.") ? String(name.dropFirst(6)) : name
    }

    private func compare(
        _ tensors: [WeightTensor], _ inputs: ParityInputs, prefix: String, into report: inout ParityReport
    ) throws(Diagnostic) {
        let names = tensors.map { String($0.name.dropFirst(prefix.count)) }
        let needsTrace = names.contains { $0 == "logits" || $0.hasPrefix("hidden.") }
        let trace = needsTrace ? model.trace(inputs.batch, paddedLength: inputs.paddedLength, in: workspace) : nil
        let losses = try losses(inputs, names: names, baseGradients: names.contains { isBaseParameter($0) })
        for (tensor, name) in zip(tensors, names) {
            let reference = try tensor.floats()
            switch name {
            case "logits":
                compareRows(tensor, reference, trace?.logits, inputs, into: &report)
            case "hidden.final":
                compareRows(tensor, reference, trace?.final, inputs, into: &report)
            case "loss":
                report.compare(tensor.name, [Float(losses.mean)], reference)
            case "loss_sum_per_sequence":
                report.compare(tensor.name, losses.sums.map { Float($0) }, reference)
            case "token_count_per_sequence":
                report.compare(tensor.name, losses.counts.map { Float($0) }, reference)
            case _ where name.hasPrefix("hidden."):
                guard let index = Int(name.dropFirst(7)), let trace, trace.hidden.indices.contains(index) else {
                    report.miss(tensor.name, "this model has no such layer")
                    continue
                }
                compareRows(tensor, reference, trace.hidden[index], inputs, into: &report)
            case _ where Self.poolings[name] != nil:
                let pooled = Self.poolings[name].map { model.embeddings(of: inputs.batch, pooling: $0, in: workspace) }
                report.compare(tensor.name, pooled?.elements ?? [], reference)
            case _ where name.hasPrefix("grad.") && losses.gradients[String(name.dropFirst(5))] != nil:
                compareGradient(tensor, reference, losses.gradients[String(name.dropFirst(5))], into: &report)
            case _ where isBaseParameter(name):
                compareGradient(tensor, reference, losses.gradients[baseName(name)], into: &report)
            case _ where name.hasPrefix("grad."):
                report.miss(tensor.name, "the adapter has no such tensor")
            default: report.skip(tensor.name, "nothing here has this name")
            }
        }
    }

    private func compareRows(
        _ tensor: WeightTensor, _ reference: [Float], _ actual: Tensor?, _ inputs: ParityInputs,
        into report: inout ParityReport
    ) {
        // A row for each sequence, or one for each token.
        if let actual, tensor.shape == [actual.shape[0], actual.shape[1]] {
            return report.compare(tensor.name, actual.elements, reference)
        }
        guard let actual, tensor.shape.count == 3, tensor.shape[2] == actual.shape[1] else {
            return report.miss(tensor.name, "shape \(tensor.shape), which is not this model's")
        }
        report.compare(tensor.name, actual.elements, inputs.realRows(of: reference, width: tensor.shape[2]))
    }

    private func compareGradient(
        _ tensor: WeightTensor, _ reference: [Float], _ actual: [Float]?, into report: inout ParityReport
    ) {
        guard let actual, actual.count == reference.count else {
            return report.skip(tensor.name, "its shape \(tensor.shape) is not that of the tensor here")
        }
        report.compare(tensor.name, actual, reference)
    }

    /// The path of a base parameter whose gradient a tensor of this name is: `grad.PATH` or the path itself.
    private func baseName(_ name: String) -> String {
        name.hasPrefix("grad.") ? String(name.dropFirst(5)) : name
    }

    private func isBaseParameter(_ name: String) -> Bool {
        let path = baseName(name)
        return model.allParameters().contains { $0.path == path }
    }

    private struct Losses {
        var mean: Double
        var sums: [Double]
        var counts: [Int]
        /// Of the mean loss, by the name of the adapter's tensor or the path of the base's parameter.
        var gradients: [String: [Float]]
    }

    /// Losses, and gradients if a tensor asks for them.
    private func losses(
        _ inputs: ParityInputs, names: [String], baseGradients: Bool
    ) throws(Diagnostic) -> Losses {
        let batch = inputs.batch
        let count = batch.predictionCount
        if count > 0, names.contains(where: { $0.contains("loss") || $0.hasPrefix("grad.") }) {
            try model.spec.checkLoss()
        }
        let needsGradients = count > 0 && names.contains { $0.hasPrefix("grad.") || isBaseParameter($0) }
        var named: [(name: String, parameter: Parameter)] = []
        if needsGradients {
            if baseGradients {
                model.makeTrainable(in: workspace)
                named += model.allParameters().map { ($0.path, $0.parameter) }
            }
            named += adapter?.namedParameters ?? []
        }
        guard count > 0 else {
            return Losses(
                mean: 0, sums: inputs.sequences.map { _ in 0 }, counts: inputs.sequences.map { _ in 0 }, gradients: [:])
        }
        let tape = Tape(workspace, recording: needsGradients)
        let loss = model.loss(
            batch, on: tape, dropoutKey: nil, paddedLength: inputs.paddedLength, economy: MemoryEconomy())
        var result = Losses(
            mean: 0, sums: Array(repeating: 0, count: batch.exampleCount),
            counts: Array(repeating: 0, count: batch.exampleCount), gradients: [:])
        for (example, value) in zip(batch.predictionExamples, loss.perPrediction) {
            result.sums[Int(example)] += Double(value)
            result.counts[Int(example)] += 1
        }
        result.mean = result.sums.reduce(0, +) / Double(count)
        guard needsGradients else { return result }
        tape.backward(from: loss.sum, scale: 1 / Float(count))
        for (name, parameter) in named {
            result.gradients[name] =
                parameter.gradient?.elements ?? Array(repeating: 0, count: parameter.shape.count)
            parameter.clearGradient()
        }
        return result
    }
}
