import Autograd
import Batches
import Formats
import Models
import NN
import StrictJSON
import TestSupport
import Testing
import Training

/// Losses of pairs: TRL's numbers, their derivatives, and what a step on a model does with them.
@Suite struct PreferenceTests {
    private static func cases(_ name: String) throws -> [JSONValue] {
        try readJSON(Fixture.path("preference/\(name).json"))["cases"]?.array ?? []
    }

    private func floats(_ file: WeightSource, _ name: String) throws -> [Float] {
        try #require(file[name], "\(name)").floats()
    }

    /// Every case of a loss that there is: its value, and the derivative by every token's log-probability.
    @Test func directPreferenceOptimisation() throws {
        let file = try SafetensorsFile(Fixture.path("preference/dpo.safetensors")).source
        let (policy, reference) = (try floats(file, "policy_logps"), try floats(file, "ref_logps"))
        // Column t predicts token t + 1.
        let mask = try floats(file, "completion_mask")
        let isCompletion = (0..<8).flatMap { row in (1..<12).map { mask[row * 12 + $0] != 0 } }
        let completions = (0..<8).map { row in
            PreferenceLoss.Completion(
                policy: Double(policy[row]), reference: Double(reference[row]),
                tokens: isCompletion[row * 11..<row * 11 + 11].count { $0 })
        }
        var compared = 0
        for entry in try Self.cases("dpo") where entry["f_divergence"]?.string == "reverse_kl" {
            let name = try #require(entry["name"]?.string)
            let type = try #require(entry["loss_type"]?.string).replacing("_", with: "-")
            guard let form = PreferenceLoss.DPOForm(rawValue: type), let beta = entry["beta"]?.number else { continue }
            let loss = PreferenceLoss.dpo(form: form, beta: beta, labelSmoothing: 0)
            let gradients = try floats(file, name + ".grad_policy_token_logps")
            var sum = 0.0
            for pair in 0..<4 {
                let value = loss(chosen: completions[pair], rejected: completions[pair + 4])
                sum += value.loss / 4
                for (row, slope) in [(pair, value.chosen), (pair + 4, value.rejected)] {
                    for column in 0..<11 {
                        let expected = Double(gradients[row * 11 + column])
                        let own = isCompletion[row * 11 + column] ? slope / 4 : 0
                        #expect(abs(own - expected) <= 1e-6 + 1e-4 * abs(expected), "\(name) \(row) \(column)")
                    }
                }
            }
            let expected = Double(try floats(file, name + ".loss")[0])
            #expect(abs(sum - expected) <= 1e-5 * max(1, abs(expected)), "\(name): \(sum), not \(expected)")
            compared += 1
        }
        #expect(compared == 8)
    }

    @Test func unpairedCompletions() throws {
        let file = try SafetensorsFile(Fixture.path("preference/kto.safetensors")).source
        let (logps, mask) = (try floats(file, "policy_token_logps"), try floats(file, "completion_mask"))
        let (reference, labels) = (try floats(file, "ref_logps"), try floats(file, "label"))
        let isCompletion = (0..<6).flatMap { row in (1..<12).map { mask[row * 12 + $0] != 0 } }
        var compared = 0
        for entry in try Self.cases("kto") where entry["loss_type"]?.string == "kto" {
            let name = try #require(entry["name"]?.string)
            let loss = PreferenceLoss.kto(
                beta: try #require(entry["beta"]?.number),
                desirableWeight: try #require(entry["desirable_weight"]?.number),
                undesirableWeight: try #require(entry["undesirable_weight"]?.number))
            let kind = name.hasSuffix("klneg") ? "ref_kl_logps_negative_case" : "ref_kl_logps"
            let others = zip(try floats(file, "policy_kl_logps"), try floats(file, kind))
            let divergence = max(0, others.reduce(0) { $0 + Double($1.0) - Double($1.1) } / 6)
            #expect(abs(divergence - (try #require(entry["kl"]?.number))) < 1e-5)
            let gradients = try floats(file, name + ".grad_policy_token_logps")
            var sum = 0.0
            for row in 0..<6 {
                let columns = row * 11..<row * 11 + 11
                let policy = columns.reduce(0) { $0 + (isCompletion[$1] ? Double(logps[$1]) : 0) }
                let (value, slope) = loss(
                    .init(policy: policy, reference: Double(reference[row]), tokens: 1),
                    isDesirable: labels[row] != 0, divergence: divergence)
                sum += value / 6
                for column in columns {
                    let own = isCompletion[column] ? slope / 6 : 0
                    #expect(abs(own - Double(gradients[column])) <= 1e-6, "\(name) \(row)")
                }
            }
            #expect(abs(sum - (try #require(entry["loss"]?.number))) < 1e-5, "\(name)")
            compared += 1
        }
        #expect(compared == 3)
    }

    @Test func oddsRatio() throws {
        let file = try SafetensorsFile(Fixture.path("preference/orpo.safetensors")).source
        let (chosen, rejected) = (
            try floats(file, "odds.chosen_mean_logps"), try floats(file, "odds.rejected_mean_logps")
        )
        let betas = file.names.filter { $0.hasSuffix("grad_chosen") }
        #expect(!betas.isEmpty)
        for name in betas {
            let prefix = String(name.dropLast("grad_chosen".count))
            let beta = try #require(Double(prefix.dropFirst("odds.beta".count).dropLast()))
            let (dChosen, dRejected) = (try floats(file, name), try floats(file, prefix + "grad_rejected"))
            for index in chosen.indices {
                // The mean of one token is its sum.
                let value = PreferenceLoss.orpo(beta: beta)(
                    chosen: .init(policy: Double(chosen[index]), reference: 0, tokens: 1),
                    rejected: .init(policy: Double(rejected[index]), reference: 0, tokens: 1))
                for (own, expected) in [(value.chosen, dChosen[index]), (value.rejected, dRejected[index])] {
                    let expected = Double(expected) * Double(chosen.count)
                    guard expected.isFinite else { continue }
                    #expect(
                        abs(own - expected) <= 1e-6 + 2e-3 * abs(expected), "\(prefix)\(index): \(own), \(expected)")
                }
            }
        }
    }

    /// The whole loss on logits, prompt's likelihood included, and its derivative by every logit.
    @Test func oddsRatioOnLogits() throws {
        let file = try SafetensorsFile(Fixture.path("preference/orpo.safetensors")).source
        let (logits, ids) = (try floats(file, "logits"), try floats(file, "input_ids"))
        let (attended, labels) = (try floats(file, "attention_mask"), try floats(file, "labels"))
        let workspace = Workspace(threadCount: 1)
        // TRL has the chosen rows first; here a pair's two follow each other. An identity as the head gives the logits.
        let order = [0, 3, 1, 4, 2, 5]
        var (examples, starts): ([Example], [Int]) = ([], [])
        var states: [Float] = []
        for (index, row) in order.enumerated() {
            let count = (0..<12).count { attended[row * 12 + $0] != 0 }
            let first = (0..<12).first { labels[row * 12 + $0] >= 0 } ?? 0
            let tokens = (0..<count).map { Int32(ids[row * 12 + $0]) }
            let weights = tokens.indices.map { token -> Float in
                token > 0 && (index % 2 == 0 || token >= first) ? 1 : 0
            }
            examples.append(Example(tokens: tokens, weights: weights))
            starts.append(first)
            states += logits[row * 12 * 40..<(row * 12 + count) * 40]
        }
        let packed = PackedBatch(examples, sharingPrefixes: false)
        let batch = PreferenceBatch(packed, reference: [], completionStarts: starts)
        let identity = (0..<40 * 40).map { Float($0 % 41 == 0 ? 1 : 0) }
        for entry in try Self.cases("orpo") {
            let (name, beta) = (try #require(entry["name"]?.string), try #require(entry["beta"]?.number))
            let tape = Tape(workspace, recording: true)
            let parameter = Parameter(
                Tensor(Shape(packed.tokens.count, 40), states, in: workspace), isTrainable: true)
            let input = embedding((0..<Int32(packed.tokens.count)).map { $0 }, table: parameter, scale: 1, on: tape)
            let predictions = Predictions(
                rows: packed.predictionIndices, targets: packed.predictionTargets, weights: packed.predictionWeights)
            var outcome = PreferenceBatch.Outcome()
            let result = crossEntropy(
                gatherRows(input, predictions.distinctRows),
                head: Parameter(Tensor(Shape(40, 40), identity, in: workspace)),
                predictions: predictions
            ) { losses in
                outcome = batch.outcome(
                    losses, .orpo(beta: beta), likelihoodWeight: 3 / Double(batch.likelihoodCount))
                return outcome.weights
            }
            let expected = try #require(entry["loss"]?.number)
            #expect(abs(outcome.loss / 3 - expected) <= 1e-5 * expected, "\(name)")
            #expect(outcome.accurate == Int((try #require(entry["rewards/accuracies"]?.number) * 3).rounded()))
            #expect(abs(outcome.chosenReward / 3 - (try #require(entry["rewards/chosen"]?.number))) <= 1e-5)
            tape.backward(from: result.sum)
            let gradient = try #require(parameter.gradient).elements.map { $0 / 3 }
            let all = try floats(file, name + ".grad_logits")
            var start = 0
            for (row, example) in zip(order, examples) {
                let count = example.tokens.count * 40
                let reference = Array(all[row * 12 * 40..<row * 12 * 40 + count])
                for index in 0..<count {
                    #expect(
                        abs(gradient[start + index] - reference[index]) <= 1e-6 + 1e-4 * abs(reference[index]),
                        "\(name) row \(row) logit \(index)")
                }
                start += count
            }
        }
    }

    /// Derivatives by differences, at margins where a loss bends.
    @Test(arguments: [
        PreferenceLoss.dpo(form: .sigmoid, beta: 0.3, labelSmoothing: 0.1),
        .dpo(form: .hinge, beta: 0.3, labelSmoothing: 0),
        .dpo(form: .ipo, beta: 0.3, labelSmoothing: 0), .dpo(form: .sigmoidNorm, beta: 2, labelSmoothing: 0.2),
        .orpo(beta: 0.4),
    ])
    func derivatives(_ loss: PreferenceLoss) {
        let step = 1e-5
        var worst = 0.0
        for (a, b) in [(-3.0, -9.0), (-12, -2), (-5, -5.5), (-0.3, -40)] {
            func value(_ x: Double, _ y: Double) -> PreferenceLoss.Value {
                loss(
                    chosen: .init(policy: x, reference: -4, tokens: 3),
                    rejected: .init(policy: y, reference: -6, tokens: 5))
            }
            let own = value(a, b)
            let byChosen = (value(a + step, b).loss - value(a - step, b).loss) / (2 * step)
            let byRejected = (value(a, b + step).loss - value(a, b - step).loss) / (2 * step)
            #expect(abs(own.chosen - byChosen) < 1e-5 && abs(own.rejected - byRejected) < 1e-5, "\(a) \(b)")
            worst = max(worst, abs(own.chosen + byChosen))
        }
        // The control: the opposite sign is far off.
        #expect(worst > 1e-2)
    }

    /// A few steps widen the margin, the same to the bit on any number of threads, prefixes shared or not to the last
    /// digits.
    @Test func stepsWidenTheMargin() throws {
        var results: [(losses: [Double], margin: Double)] = []
        for (threads, sharing) in [(1, true), (3, true), (2, false)] {
            let workspace = Workspace(threadCount: threads)
            let decoder = try BaseFiles(Fixture.path("models/llama_gqa")).makeDecoder(in: workspace)
            var config = PEFTConfig()
            config.r = 4
            config.targetModules = .allLinear
            let adapter = try decoder.attachNewAdapter(config, seed: 1, in: workspace)
            var trainer = Trainer(
                decoder, adapter: adapter, optimizer: AdamW(),
                schedule: LearningRateSchedule(peak: 1e-2, shape: .constant, warmupSteps: 0, totalSteps: 8), seed: 1,
                in: workspace)
            let prompt: [Int32] = [3, 7, 11, 20, 9, 14]
            let answers: [[Int32]] = [[5, 6, 7], [8, 9], [30, 31, 2], [40, 12, 13, 2]]
            let examples = answers.map { answer in
                Example(
                    tokens: prompt + answer, weights: prompt.map { _ in 0 } + answer.map { _ in 1 })
            }
            let packed = decoder.spec.pack(examples, sharingPrefixes: sharing)
            let starts = examples.map { _ in prompt.count }
            let reference = trainer.completions(
                PreferenceBatch(packed, reference: [], completionStarts: starts)
            ).map(\.policy)
            let batch = PreferenceBatch(packed, reference: reference, completionStarts: starts)
            let objective = PreferenceLoss.dpo(form: .sigmoid, beta: 0.1, labelSmoothing: 0)
            var losses: [Double] = []
            var margin = 0.0
            for _ in 0..<8 {
                let step = try trainer.step([batch], objective)
                losses.append(step.loss)
                margin = try #require(step.preference).margin
            }
            #expect(
                abs(losses[0] - 0.6931471805599453) < 1e-6 && losses[7] < 0.6 && margin > 0.2, "\(losses) \(margin)")
            results.append((losses, margin))
        }
        #expect(results[0].losses == results[1].losses && results[0].margin == results[1].margin)
        for (a, b) in zip(results[0].losses, results[2].losses) { #expect(abs(a - b) < 1e-4) }
    }
}
