package import Autograd
package import Batches
package import Datasets
package import Diagnostics
import Formats
package import Models
import Tokenization
package import Training

/// A recipe with its base opened and its records read: what `plan`, `preview`, `train` and `evaluate` start from.
package struct Preparation {
    package let recipe: Recipe
    package let base: BaseModel
    package let encoder: ExampleEncoder
    package let training: ConversationSet
    package let dataset: Dataset
    /// Of every example of a pair, where its completion begins; empty for other objectives.
    private let completionStarts: [Int]
    /// With KTO, of every row.
    private let isDesirable: [Bool]
    /// The SHA-256 of every training file, by the name that the recipe gives it.
    package let dataDigests: [(name: String, digest: String)]

    /// Opens the base and reads every training record.
    ///
    /// - Throws: what is wrong with the base, the records or their fit; nothing has been written.
    package init(_ recipe: Recipe, in workspace: Workspace) throws(Diagnostic) {
        self.recipe = recipe
        base = try BaseModel(recipe.base.resolved, encoding: recipe.train.baseEncoding, in: workspace)
        encoder = ExampleEncoder(base, recipe: recipe)
        let files = try Self.open(recipe.data.train, recipe.data.format)
        dataDigests = files.map { ($0.name, SHA256.digest($0.bytes).description) }
        training = try ConversationSet(
            files: files, mapping: recipe.data.mapping,
            filter: recipe.data.filter, requiringEveryValue: true)
        var dataset = try Self.dataset(training, recipe, files, encoder, workspace)
        isDesirable = try Self.desirability(recipe, files, rows: dataset.rowCount)
        completionStarts = dataset.examplesPerRow == 2 ? Self.prepareForPairs(&dataset, recipe) : []
        dataset.ledger.savedTokens = Self.savedTokens(dataset, recipe: recipe, spec: base.decoder.spec)
        self.dataset = dataset
    }

    /// - Parameter training: with pairs, what is preferred.
    private static func dataset(
        _ training: ConversationSet, _ recipe: Recipe, _ files: [RecordFile], _ encoder: ExampleEncoder,
        _ workspace: Workspace
    ) throws(Diagnostic) -> Dataset {
        if recipe.data.desirable != nil {
            return try Dataset(unpaired: training, encoder: encoder, threads: workspace.threads)
        }
        guard let mapping = recipe.data.rejectedMapping else {
            return try Dataset(training, encoder: encoder, threads: workspace.threads)
        }
        let rejected = try ConversationSet(files: files, mapping: mapping, filter: recipe.data.filter)
        return try Dataset(chosen: training, rejected: rejected, encoder: encoder, threads: workspace.threads)
    }

    /// Whether each record's completion is desirable; empty for other objectives.
    private static func desirability(
        _ recipe: Recipe, _ files: [RecordFile], rows: Int
    ) throws(Diagnostic) -> [Bool] {
        guard let template = recipe.data.desirable, case .texts(let system, let prompt, _) = recipe.data.mapping.form
        else { return [] }
        let mapping = RecordMapping(form: .texts(system: system, prompt: prompt, completion: template))
        let set = try ConversationSet(files: files, mapping: mapping, filter: recipe.data.filter)
        var result: [Bool] = []
        for (source, conversation) in set.conversations {
            switch conversation.reference?.lowercased() {
            case "true", "1", "yes": result.append(true)
            case "false", "0", "no": result.append(false)
            default:
                throw Diagnostic(
                    DataCode.value, file: set.ledger.sources[source].name, at: "line \(conversation.line)",
                    found: "a value of data.desirable that is neither true nor false", expected: "true or false",
                    fix: "Write true, 1 or yes, or false, 0 or no")
            }
        }
        guard result.count == rows, Set(result).count == 2 else {
            throw Diagnostic(
                DataCode.label, file: set.ledger.sources.first?.name,
                found: "completions that are all \(result.first == true ? "desirable" : "undesirable")",
                expected: "both kinds", fix: "Add records of the other kind, or train with objective: supervised")
        }
        return result
    }

    /// - Returns: where the completions begin. With ORPO what stands before them in the preferred text is learned too.
    private static func prepareForPairs(_ dataset: inout Dataset, _ recipe: Recipe) -> [Int] {
        let starts = dataset.examples.map { $0.weights.firstIndex { $0 != 0 } ?? 0 }
        if case .preference(.orpo) = recipe.objective {
            for index in stride(from: 0, to: dataset.examples.count, by: 2) {
                for token in dataset.examples[index].tokens.indices.dropFirst() {
                    dataset.examples[index].weights[token] = 1
                }
            }
        }
        return starts
    }

    package static func open(
        _ paths: [RecipePath], _ format: RecordFormat?
    ) throws(Diagnostic) -> [RecordFile] {
        var files: [RecordFile] = []
        for path in paths { files.append(try RecordFile(path: path.resolved, name: path.written, format: format)) }
        return files
    }

    /// The steps of one epoch, as indices into the dataset.
    package func steps(epoch: Int) -> [[Int]] { Self.steps(dataset, recipe: recipe, epoch: epoch) }

    private static func steps(_ dataset: Dataset, recipe: Recipe, epoch: Int) -> [[Int]] {
        StepPacking.steps(
            lengths: dataset.lengths, batchTokens: recipe.train.batchTokens, seed: recipe.train.seed, epoch: epoch)
    }

    /// The micro-batches of a step: as few as have at most `tokens` tokens each after prefixes are shared; a longer row
    /// is one of its own.
    package func microBatches(of step: [Int], tokens: Int) -> [PackedBatch] {
        parts(of: step, tokens: tokens).map(\.batch)
    }

    /// The same for pairs.
    ///
    /// - Parameter reference: log p of every example's completion under the base, where the loss needs it.
    func preferenceBatches(of step: [Int], tokens: Int, reference: [Double]) -> [PreferenceBatch] {
        parts(of: step, tokens: tokens).map { rows, batch in
            let examples = rows.flatMap { [2 * $0, 2 * $0 + 1] }
            return PreferenceBatch(
                batch, reference: reference.isEmpty ? [] : examples.map { reference[$0] },
                completionStarts: examples.map { completionStarts[$0] },
                isDesirable: isDesirable.isEmpty ? [] : rows.map { isDesirable[$0] })
        }
    }

    private func parts(of step: [Int], tokens: Int) -> [(rows: [Int], batch: PackedBatch)] {
        let sharing = recipe.train.sharesPrefixes
        func packed(_ rows: ArraySlice<Int>) -> (rows: [Int], batch: PackedBatch) {
            (
                Array(rows),
                base.decoder.spec.pack(rows.flatMap { dataset.examples(ofRow: $0) }, sharingPrefixes: sharing)
            )
        }
        let whole = packed(step[...])
        if whole.batch.tokens.count <= tokens || step.count == 1 { return [whole] }
        // Rows that begin alike come together, so that a cut separates as few of them as can be.
        let rows =
            sharing
            ? step.sorted { a, b in
                let (first, second) = (dataset.examples(ofRow: a).first, dataset.examples(ofRow: b).first)
                return (first?.tokens ?? []).lexicographicallyPrecedes(second?.tokens ?? [])
            } : step
        // Long rows: there may be fewer of them than parts of this size.
        for count in min(step.count, (whole.batch.tokens.count + tokens - 1) / tokens)...step.count {
            let parts = StepPacking.parts(of: rows, lengths: dataset.lengths, count: count).map(packed)
            if parts.allSatisfy({ $0.batch.tokens.count <= tokens || $0.rows.count == 1 }) { return parts }
        }
        return rows.indices.map { packed(rows[$0...$0]) }
    }

    /// Tokens that are computed at once; where the recipe does not say, as many as products need to be fast.
    package var microTokens: Int {
        recipe.train.microTokens ?? min(recipe.train.batchTokens, StepPacking.defaultMicroTokens)
    }

    /// The optimiser steps of the whole run.
    package var totalSteps: Int {
        let all = (0..<recipe.train.epochs).reduce(0) { $0 + steps(epoch: $1).count }
        return min(all, recipe.train.maximumSteps ?? all)
    }

    /// Over the first epoch.
    private static func savedTokens(_ dataset: Dataset, recipe: Recipe, spec: DecoderSpec) -> Int {
        guard recipe.train.sharesPrefixes else { return 0 }
        return steps(dataset, recipe: recipe, epoch: 0).reduce(0) { sum, step in
            sum + spec.pack(step.flatMap { dataset.examples(ofRow: $0) }, sharingPrefixes: true).savedTokenCount
        }
    }

    /// The held-out records of the recipe.
    ///
    /// - Parameters:
    ///   - file: instead of the recipe's own.
    ///   - limit: the most rows, drawn by the recipe's rules.
    ///   - mapping: instead of the recipe's own.
    /// - Throws: `RecipeCode` errors if the recipe has no evaluation, and what reading records throws.
    package func heldOut(
        file: String? = nil, limit: Int? = nil, mapping: RecordMapping? = nil
    ) throws(Diagnostic) -> ConversationSet {
        guard let evaluate = recipe.evaluate else {
            throw Diagnostic(
                RecipeCode.missingKey, at: "evaluate", found: "no such section", expected: "evaluate: { data: FILE }",
                fix: "Say which records are held out")
        }
        var filter = evaluate.filter
        if let limit { filter.limit = min(limit, filter.limit ?? limit) }
        let files: [RecordFile]
        if let file {
            files = [try RecordFile(path: file, format: evaluate.format)]
        } else {
            files = try Self.open(evaluate.data, evaluate.format)
        }
        var set = try ConversationSet(files: files, mapping: mapping ?? recipe.data.mapping, filter: filter)
        let leaked = set.shared(with: training)
        switch evaluate.leaks {
        case .allow: break
        case .drop: set.drop(leaked, for: .leaked)
        case .refuse:
            guard let first = leaked.min() else { break }
            let (source, conversation) = set.conversations[first]
            throw Diagnostic(
                DataCode.leak, file: set.ledger.sources[source].name, at: "line \(conversation.line)",
                found: "\(leaked.count) of \(set.conversations.count) rows that ask what is trained on, this one first",
                expected: "none",
                fix: "Set evaluate.leaks to drop, which leaves them out, or to allow, or split with data.split")
        }
        guard !set.conversations.isEmpty else {
            throw Diagnostic(
                DataCode.empty, file: files.first?.name, found: "only rows that are trained on", expected: "others",
                fix: "Hold out other records")
        }
        return set
    }

    /// Held-out pairs in parts of about `microTokens` tokens.
    ///
    /// - Throws: as `heldOut`, and what encoding throws.
    package func heldOutPairs(
        file: String? = nil, limit: Int? = nil, in workspace: Workspace
    ) throws(Diagnostic) -> [PreferenceBatch] {
        guard let mapping = recipe.data.rejectedMapping else { return [] }
        var pairs = try Dataset(
            chosen: heldOut(file: file, limit: limit), rejected: heldOut(file: file, limit: limit, mapping: mapping),
            encoder: encoder, threads: workspace.threads)
        let starts = Self.prepareForPairs(&pairs, recipe)
        return StepPacking.parts(of: Array(0..<pairs.rowCount), lengths: pairs.lengths, tokens: microTokens).map {
            rows in
            PreferenceBatch(
                base.decoder.spec.pack(rows.flatMap { pairs.examples(ofRow: $0) }, sharingPrefixes: true),
                reference: [],
                completionStarts: rows.flatMap { starts[2 * $0...2 * $0 + 1] })
        }
    }
}

extension ExampleEncoder {
    package init(_ base: BaseModel, recipe: Recipe) {
        self.init(
            tokenizer: base.tokenizer, renderer: base.renderer, stopTokens: base.stopTokens,
            maximumLength: min(recipe.train.maximumLength, base.decoder.spec.positionLimit ?? .max),
            tooLong: recipe.data.tooLong)
    }
}

extension Recipe.Data {
    /// With pairs, to the completion that the other one is preferred to.
    var rejectedMapping: RecordMapping? {
        guard let rejected, case .texts(let system, let prompt, _) = mapping.form else { return nil }
        return RecordMapping(form: .texts(system: system, prompt: prompt, completion: rejected))
    }
}
