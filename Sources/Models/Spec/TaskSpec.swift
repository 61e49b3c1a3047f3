package import Autograd
package import Diagnostics

/// What a model makes of its states besides guessing the next token: an optional dense layer with activation and norm,
/// and a layer of scores, for every token or for a sequence as a whole.
package struct TaskSpec: Sendable {
    package var kind: Kind
    /// The names of the labels by their numbers; empty where tokens are guessed and where there are no scores.
    package var labels: [String] = []
    /// Which states stand for a sequence; only for `sequence`.
    package var pooling: Pooling = .first
    /// Pooling comes after the dense layer.
    package var poolsLate = false
    /// For `states` a layer that files may hold and adapters name, though it changes no state.
    package var dense: Dense?
    /// Of the layer of scores.
    package var output = "classifier"
    /// Of its bias, likeliest first; empty: it has none.
    package var outputBias: [String] = ["classifier.bias"]
    /// What labels are: the loss is computed only for one label of several.
    package var problem = Problem.oneLabel

    /// The most labels that a head can have.
    package static let maximumLabels = 1 << 20

    package init(_ kind: Kind) { self.kind = kind }

    package enum Kind: String, Sendable, CaseIterable {
        /// The token that a mask stands for.
        case maskedToken = "masked language"
        /// One label for a whole sequence.
        case sequence = "sequence classification"
        /// A label for each token.
        case token = "token classification"
        /// The states themselves: embeddings.
        case states = "embeddings"
    }

    package enum Pooling: Sendable, Equatable {
        case first
        case mean
        /// The last token that is not `padding`, or the first if all are; without a padding token the last one.
        case last(padding: Int? = nil)
    }

    package struct Dense: Sendable {
        package var name: String
        package var hasBias = true
        package var activation: Activation
        /// nil: no norm follows.
        package var norm: String?
    }

    package enum Problem: String, Sendable, CaseIterable {
        case oneLabel = "single_label_classification"
        case manyLabels = "multi_label_classification"
        case number = "regression"
    }
}

/// A task that a base is to be trained for, whatever its config names: heads that its files lack are made new.
package struct NewTask: Sendable {
    package var kind: TaskSpec.Kind
    /// For classification; not empty.
    package var labels: [String]
    /// Of the drawing of new weights.
    package var seed: UInt64

    package init(_ kind: TaskSpec.Kind, labels: [String] = [], seed: UInt64) {
        precondition(
            kind == .maskedToken || kind == .states || (1...TaskSpec.maximumLabels).contains(labels.count),
            "\(labels.count) labels")
        self.kind = kind
        self.labels = labels
        self.seed = seed
    }
}

extension DecoderSpec {
    /// Scores of a row of the head: labels, or the vocabulary; nil where there is no head.
    package var scoreCount: Int? {
        switch task?.kind {
        case nil, .maskedToken: vocabulary
        case .sequence, .token: task?.labels.count
        case .states: nil
        }
    }

    /// The model in words: `bert, an encoder for sequence classification`.
    package var summary: String {
        let use = task.map { "for \($0.kind.rawValue)" } ?? "for the next token"
        return "\(architecture), \(isCausal ? "a decoder" : "an encoder") \(use)"
    }

    /// - Throws: `unsupported` for a model whose loss is not computed here: one without scores, or whose labels are
    ///   numbers or several at once.
    package func checkLoss() throws(Diagnostic) {
        guard let task else { return }
        if task.kind == .states {
            throw Diagnostic(
                ModelsCode.unsupported, at: "key \"architectures\"", found: summary, expected: "a model with a head")
        }
        guard task.kind == .maskedToken || task.problem == .oneLabel else {
            throw Diagnostic(
                ModelsCode.unsupported, at: "key \"problem_type\"", found: task.problem.rawValue,
                expected: TaskSpec.Problem.oneLabel.rawValue + ", with two labels or more")
        }
    }
}
