package import Autograd
import Batches
package import Diagnostics
import Formats
package import Models
import NN
import StrictJSON

/// Replays a training run of another stack, step by step, and compares losses, norms and weights.
package struct TrainingParity {
    private let model: any LanguageModel
    private let adapter: AttachedAdapter
    private let workspace: Workspace
    private let tolerance: Double

    package init(_ model: any LanguageModel, adapter: AttachedAdapter, tolerance: Double, in workspace: Workspace) {
        self.model = model
        self.adapter = adapter
        self.workspace = workspace
        self.tolerance = tolerance
    }

    /// - Parameter folder: with meta.json (hyperparameters) and trajectory.safetensors (micro-batches and results).
    /// - Throws: `parityInputs` for what is missing, and what the readers throw.
    package func compare(folder: String) throws(Diagnostic) -> ParityReport {
        try model.spec.checkLoss()
        let settings = try Settings(joinPath(folder, "meta.json"))
        let trajectory = try SafetensorsFile(joinPath(folder, "trajectory.safetensors")).source
        var report = ParityReport(tolerance: tolerance)
        var compared: Set<String> = []
        let parameters = adapter.parameters
        var optimizer = AdamW(
            beta1: settings.beta1, beta2: settings.beta2, epsilon: settings.epsilon,
            weightDecay: settings.weightDecay, maximumNorm: settings.maximumNorm.map { Float($0) })
        var microLosses: [Float] = [], stepLosses: [Float] = [], norms: [Float] = [], rates: [Float] = []
        var counts: [Float] = []
        for step in 0..<settings.steps {
            let batches = try microBatches(of: step, settings, trajectory, &compared)
            let targets = batches.reduce(0) { $0 + $1.batch.predictionCount }
            var sum = 0.0
            for inputs in batches {
                let tape = Tape(workspace, recording: true)
                let loss = model.loss(
                    inputs.batch, on: tape, dropoutKey: nil, paddedLength: inputs.paddedLength,
                    economy: MemoryEconomy())
                let total = loss.perPrediction.reduce(0.0) { $0 + Double($1) }
                microLosses.append(Float(total / Double(max(1, targets))))
                sum += total
                tape.backward(from: loss.sum)
            }
            let scale = 1 / Float(max(1, targets))
            compareClippedGradients(step, scale, optimizer, trajectory, &report, &compared)
            let rate = settings.schedule.rate(at: step)
            norms.append(optimizer.step(parameters, scale: scale, learningRate: rate, in: workspace))
            stepLosses.append(Float(sum / Double(max(1, targets))))
            rates.append(Float(rate))
            counts.append(Float(targets))
            let prefix = "weights.after_step_\(step + 1)."
            for (name, parameter) in adapter.namedParameters {
                guard let tensor = trajectory[prefix + name] else { continue }
                compared.insert(tensor.name)
                report.compare(tensor.name, parameter.floats?.elements ?? [], try tensor.floats())
            }
        }
        for (name, values) in [
            ("loss.microbatch", microLosses), ("loss.step", stepLosses), ("grad_norm", norms), ("lr_used", rates),
            ("num_items", counts),
        ] {
            guard let tensor = trajectory[name] else { continue }
            compared.insert(name)
            report.compare(name, values, try tensor.floats())
        }
        for tensor in trajectory.tensors where !compared.contains(tensor.name) {
            report.skip(tensor.name, "nothing here has this name")
        }
        return report
    }

    private func microBatches(
        of step: Int, _ settings: Settings, _ trajectory: WeightSource, _ compared: inout Set<String>
    ) throws(Diagnostic) -> [ParityInputs] {
        var batches: [ParityInputs] = []
        for micro in 0..<settings.accumulation {
            let index = step * settings.accumulation + micro
            let prefix = "mb.\(index < 10 ? "0" : "")\(index)."
            for name in ["input_ids", "attention_mask", "labels"] { compared.insert(prefix + name) }
            batches.append(try ParityInputs(trajectory, prefix: prefix, spec: model.spec))
        }
        return batches
    }

    /// The gradients as the optimiser is about to see them.
    private func compareClippedGradients(
        _ step: Int, _ scale: Float, _ optimizer: AdamW, _ trajectory: WeightSource, _ report: inout ParityReport,
        _ compared: inout Set<String>
    ) {
        let norm = scale * gradientNorm(adapter.parameters, in: workspace)
        let clip = optimizer.maximumNorm.map { min(1, $0 / (norm + 1e-6)) } ?? 1
        for (name, parameter) in adapter.namedParameters {
            guard let tensor = trajectory["grad_after_clip.step\(step).\(name)"], let values = try? tensor.floats()
            else {
                continue
            }
            compared.insert(tensor.name)
            report.compare(tensor.name, (parameter.gradient?.elements ?? []).map { $0 * scale * clip }, values)
        }
    }
}

extension TrainingParity {
    /// The hyperparameters of meta.json.
    private struct Settings {
        let beta1, beta2, epsilon, weightDecay: Double
        let maximumNorm: Double?
        let accumulation: Int
        let steps: Int
        let schedule: LearningRateSchedule

        init(_ path: String) throws(Diagnostic) {
            let document = try readJSON(path)
            let values = document["hyperparameters"] ?? .null
            func number(_ key: String) throws(Diagnostic) -> Double {
                guard let number = values[key]?.number else { throw Self.missing(path, key) }
                return number
            }
            func count(_ key: String, in range: ClosedRange<Int>) throws(Diagnostic) -> Int {
                guard let number = values[key]?.integer, range.contains(number) else { throw Self.missing(path, key) }
                return number
            }
            guard let betas = values["betas"]?.array?.compactMap(\.number), betas.count == 2 else {
                throw Self.missing(path, "betas")
            }
            (beta1, beta2) = (betas[0], betas[1])
            epsilon = try number("eps")
            weightDecay = try number("weight_decay")
            maximumNorm = values["max_grad_norm"]?.number
            accumulation = try count("gradient_accumulation", in: 1...50)
            steps = try count("total_steps", in: 1...100_000)
            let name = values["schedule"]?.string?.replacing("_with_warmup", with: "") ?? ""
            guard let shape = LearningRateSchedule.Shape(rawValue: name) else { throw Self.missing(path, "schedule") }
            schedule = LearningRateSchedule(
                peak: try number("learning_rate"), shape: shape,
                warmupSteps: try count("warmup_steps", in: 0...100_000),
                totalSteps: steps)
        }

        private static func missing(_ path: String, _ key: String) -> Diagnostic {
            Diagnostic(
                TrainingCode.parityInputs, file: path, at: "hyperparameters.\(key)", found: "nothing that can be used",
                expected: "the setting of the reference run")
        }
    }
}
