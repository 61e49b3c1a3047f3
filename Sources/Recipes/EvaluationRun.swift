package import Autograd
import Batches
import Datasets
package import Diagnostics
package import Evaluation
package import Formats
import Tokenization
import Training
import Models

/// The recipe's metric on held-out rows, for the base and the adapted model on the same rows.
package struct EvaluationRun {
    private let preparation: Preparation
    private let workspace: Workspace
    private let heldOut: ConversationSet
    private let pairs: [PreferenceBatch]

    package init(
        _ preparation: Preparation, data: String?, limit: Int?, in workspace: Workspace
    ) throws(Diagnostic) {
        self.preparation = preparation
        self.workspace = workspace
        heldOut = try preparation.heldOut(file: data, limit: limit)
        pairs =
            preparation.recipe.evaluate?.metric == .preferenceAccuracy
            ? try preparation.heldOutPairs(file: data, limit: limit, in: workspace) : []
    }

    package var rowCount: Int { heldOut.conversations.count }
    /// Held-out rows whose question is also trained on.
    package var sharedWithTraining: Int { heldOut.shared(with: preparation.training).count }

    /// - Parameters:
    ///   - adapter: nil: the base alone.
    ///   - progress: gets the rows done and the rows in all, both systems together.
    package func run(
        adapter: PEFTAdapter?, progress: (Int, Int) -> Void
    ) throws(Diagnostic) -> EvaluationReport {
        let total = rowCount * (adapter == nil ? 1 : 2)
        let decoder = preparation.base.decoder
        guard let metric = preparation.recipe.evaluate?.metric else {
            return EvaluationReport(rows: 0, metrics: [])
        }
        decoder.detachAdapter()
        switch metric {
        case .exactMatch:
            let base = try answers { progress($0, total) }
            var adapted: [Bool]?
            if let adapter {
                _ = try decoder.attach(adapter, trainable: false, in: workspace)
                adapted = try hits(answers { progress(rowCount + $0, total) })
            }
            return EvaluationReport(
                rows: rowCount,
                metrics: [
                    .share(
                        metric.rawValue, base: hits(base), adapted: adapted, naiveBayes: naiveBayesHits(), seed: seed)
                ])
        case .preferenceAccuracy:
            let base = preferred(pairs)
            progress(rowCount, total)
            var adapted: [Bool]?
            if let adapter {
                _ = try decoder.attach(adapter, trainable: false, in: workspace)
                adapted = preferred(pairs)
                progress(total, total)
            }
            return EvaluationReport(
                rows: base.count, metrics: [.share(metric.rawValue, base: base, adapted: adapted, seed: seed)])
        case .loss:
            let base = try losses { progress($0, total) }
            var adapted: [(nats: Double, tokens: Double)]?
            if let adapter {
                _ = try decoder.attach(adapter, trainable: false, in: workspace)
                adapted = try losses { progress(rowCount + $0, total) }
            }
            return EvaluationReport(
                rows: rowCount,
                metrics: [
                    .loss(
                        base: base.map(\.nats), adapted: adapted?.map(\.nats), tokens: base.map(\.tokens), seed: seed)
                ])
        }
    }

    private var seed: UInt64 { preparation.recipe.train.seed }

    /// The answer of the model as it is now to every held-out prompt.
    private func answers(_ progress: (Int) -> Void) throws(Diagnostic) -> [String] {
        let model = preparation.base
        let generator = Generator(model.decoder, in: workspace)
        var prompts: [[Int32]] = []
        for (_, conversation) in heldOut.conversations {
            let prompt = try preparation.encoder.promptTokens(conversation.prompt)
            try model.decoder.spec.checkPrompt(prompt)
            prompts.append(prompt)
        }
        var answers: [String] = []
        while answers.count < prompts.count {
            // Some rows at a time, with what they share computed once.
            let batch = Array(prompts[answers.count..<min(prompts.count, answers.count + rowsAtOnce)])
            let tokens = generator.generate(
                batch, maximumTokens: preparation.recipe.evaluate?.maximumNewTokens ?? 64,
                stopTokens: model.stopTokens)
            answers += tokens.map { model.tokenizer.decode($0, skippingSpecialTokens: true) }
            progress(answers.count)
        }
        return answers
    }

    private let rowsAtOnce = 32

    private func hits(_ answers: [String]) -> [Bool] {
        zip(heldOut.conversations, answers).map { row, answer in
            isExactMatch(answer, row.conversation.reference ?? "")
        }
    }

    /// What counting words achieves: trained on the training rows, on the user's text alone.
    private func naiveBayesHits() -> [Bool]? {
        func row(_ conversation: Conversation) -> (text: String, label: String)? {
            guard let text = conversation.messages.last(where: { $0.role == "user" })?.content,
                let label = conversation.reference
            else { return nil }
            return (text, label)
        }
        let rows = preparation.training.conversations.compactMap { row($0.conversation) }
        // A label for every row or so is no classification, and a table of words would say nothing.
        guard Set(rows.map(\.label)).count <= max(2, rows.count / 4) else { return nil }
        let bayes = NaiveBayes(rows)
        return heldOut.conversations.map { entry in
            guard let row = row(entry.conversation) else { return false }
            return isExactMatch(bayes.label(for: row.text), row.label)
        }
    }

    /// Whether the model as it is finds the chosen completion of each pair likelier than the other.
    private func preferred(_ batches: [PreferenceBatch]) -> [Bool] {
        batches.flatMap { batch in
            let loss = preparation.base.decoder.loss(batch.packed, on: Tape(workspace, recording: false))
            let completions = batch.completions(loss.perPrediction)
            return (0..<batch.pairCount).map { completions[2 * $0].policy > completions[2 * $0 + 1].policy }
        }
    }

    /// Summed loss and number of learned tokens of every held-out row.
    private func losses(_ progress: (Int) -> Void) throws(Diagnostic) -> [(nats: Double, tokens: Double)] {
        let data = try Dataset(heldOut, encoder: preparation.encoder, threads: workspace.threads)
        var result: [(nats: Double, tokens: Double)] = []
        for part in StepPacking.parts(
            of: Array(data.examples.indices), lengths: data.lengths, tokens: preparation.microTokens)
        {
            let batch = preparation.base.decoder.spec.pack(part.map { data.examples[$0] }, sharingPrefixes: true)
            let loss = preparation.base.decoder.loss(batch, on: Tape(workspace, recording: false))
            var sums = part.map { _ in (nats: 0.0, tokens: 0.0) }
            for (example, value) in zip(batch.predictionExamples, loss.perPrediction) {
                sums[Int(example)].nats += Double(value)
                sums[Int(example)].tokens += 1
            }
            result += sums
            progress(result.count)
        }
        return result
    }
}
