import Autograd
import Formats
import NN
import StrictJSON
import TestSupport
import Testing

/// AdamW and the schedules against PyTorch's and transformers' numbers.
@Suite struct OptimizerFixtureTests {
    let workspace = Workspace(threadCount: 2)

    @Test func schedules() throws {
        let document = try JSONValue(parsing: Array(Fixture.data("optim/schedules.json")))
        var compared = 0
        for entry in try #require(document["schedules"]?.array) {
            let name = try #require(entry["type"]?.string).replacing("_with_warmup", with: "")
                .replacing("_with_min_lr", with: "").replacing("_", with: "-")
            let options = entry["options"]
            let known = ["min_lr", "min_lr_rate", "min_lr_ratio", "num_decay_steps", "decay_type"]
            guard let shape = LearningRateSchedule.Shape(rawValue: name),
                options?.object?.keys.allSatisfy(known.contains) == true
            else { continue }
            let peak = try #require(entry["base_lr"]?.number)
            let share = options?["min_lr_rate"]?.number ?? options?["min_lr_ratio"]?.number ?? 0
            let schedule = LearningRateSchedule(
                peak: peak, shape: shape, warmupSteps: try #require(entry["warmup_steps"]?.integer),
                totalSteps: try #require(entry["total_steps"]?.integer),
                minimum: options?["min_lr"]?.number ?? share * peak,
                decaySteps: options?["num_decay_steps"]?.integer,
                decay: options?["decay_type"]?.string.flatMap { LearningRateSchedule.Decay(rawValue: $0) } ?? .cosine)
            for (step, expected) in try #require(entry["lr"]?.array).compactMap(\.number).enumerated() {
                // Relative to the peak where the rate itself is 0.
                #expect(abs(schedule.rate(at: step) - expected) <= 1e-9 * max(expected, 1e-3), "\(name) step \(step)")
            }
            compared += 1
        }
        #expect(compared == 10)
    }

    @Test func adamW() throws {
        let document = try JSONValue(parsing: Array(Fixture.data("optim/adamw.json")))
        let tensors = try SafetensorsFile(Fixture.path("optim/adamw.safetensors")).source
        let names = tensors.names.filter { $0.hasPrefix("param0.") }.map { String($0.dropFirst(7)) }
        #expect(!names.isEmpty)
        for entry in try #require(document["cases"]?.array) {
            let name = try #require(entry["name"]?.string)
            let betas = try #require(entry["betas"]?.array).compactMap(\.number)
            let rates = try #require(entry["lr_at_step"]?.array).compactMap(\.number)
            var optimizer = AdamW(
                beta1: betas[0], beta2: betas[1], epsilon: try #require(entry["eps"]?.number),
                weightDecay: try #require(entry["weight_decay"]?.number),
                maximumNorm: entry["max_grad_norm"]?.number.map { Float($0) })
            let parameters = try names.map { key in
                let values = try #require(tensors["param0." + key]).floats()
                return Parameter(Tensor(Shape(values.count), values, in: workspace), isTrainable: true)
            }
            var compared = 0
            for (step, rate) in rates.enumerated() {
                for (key, parameter) in zip(names, parameters) {
                    let all = try #require(tensors["grads." + key]).floats()
                    let count = parameter.shape.count
                    parameter.accumulateGradient(in: workspace) { gradient, _ in
                        for index in 0..<count { gradient[index] = all[step * count + index] }
                    }
                }
                _ = optimizer.step(parameters, scale: 1, learningRate: rate, in: workspace)
                for (key, parameter) in zip(names, parameters) {
                    guard let expected = tensors["\(name).params.\(key)"] else { continue }
                    let count = parameter.shape.count
                    let values = try expected.floats()[step * count..<(step + 1) * count]
                    for (actual, expected) in zip(parameter.floats!.elements, values) {
                        // PyTorch's own f32 run is 9.3e-7 from one in double; ours may be as far to the other side.
                        #expect(abs(actual - expected) <= 2e-6, "\(name) \(key) step \(step)")
                    }
                    compared += 1
                }
            }
            #expect(compared == rates.count * names.count, "\(name)")
        }
    }

    @Test func counterRandomIsPhilox() {
        // The first vector of the Random123 distribution: all zero.
        #expect(CounterRandom(key: 0).bits(at: 0) == 0x6627_E8D5_E169_C58D)
    }
}
