package import Datasets
package import Models
package import NN
package import StrictJSON
package import Training

/// Everything that a run is told: base, data, adapter, training, evaluation, and where the results go.
///
/// Every default is filled in; nothing has been read yet but the recipe itself.
package struct Recipe: Sendable, Equatable {
    /// A folder with a model or a GGUF file.
    package var base: RecipePath
    /// What the adapter's files call the base; never a local path.
    package var baseName: String?
    package var data: Data
    package var objective: Objective
    package var adapter: Adapter
    package var train: Train
    package var evaluate: Evaluate?
    /// The folder of the run.
    package var out: RecipePath
    /// Where relative paths start; empty for the working folder.
    package let folder: String

    /// What is minimised.
    package enum Objective: Sendable, Equatable {
        /// −log p of what is to be learned.
        case supervised
        /// A loss of pairs of completions.
        case preference(PreferenceLoss)
    }

    /// Which records are trained on, and how they become text.
    package struct Data: Sendable, Equatable {
        package var train: [RecipePath]
        /// nil if the files' names tell.
        package var format: RecordFormat?
        /// With pairs, to what is preferred.
        package var mapping: RecordMapping
        /// With pairs, the completion that the other one is preferred to.
        package var rejected: TextTemplate?
        /// With KTO, a text that is true or false: whether the completion is desirable.
        package var desirable: TextTemplate?
        package var filter: RecordFilter
        package var tooLong: TooLongPolicy
        /// The answers that may be given, for tasks that choose among labels.
        package var labels: [String]
    }

    package struct Adapter: Sendable, Equatable {
        package enum Targets: Sendable, Equatable {
            /// Every linear layer but the output.
            case allLinear
            /// The layers with these names.
            case names([String])
            /// The layers whose whole path matches a regular expression.
            case pattern(String)
        }

        package var rank: Int
        package var alpha: Double
        package var dropout: Double
        package var targets: Targets
        /// The indices of the blocks that get an adapter; nil for all.
        package var layers: [Int]?
        /// Scaling by alpha / sqrt(rank) instead of alpha / rank.
        package var isRankStabilized: Bool
        /// PEFT's rarer options, by PEFT's names.
        package var peft: JSONObject
    }

    package struct Train: Sendable, Equatable {
        /// Which state of the adapter a run leaves behind.
        package enum Keep: String, Sendable, CaseIterable {
            /// That after the last step.
            case last
            /// That with the lowest held-out loss.
            case best
        }

        package enum Compute: String, Sendable, CaseIterable {
            case auto, f32, bf16
        }

        /// Who multiplies matrices.
        package enum Provider: String, Sendable, CaseIterable {
            case auto, own, openblas, onednn
        }

        package var epochs: Int
        /// Where training ends even if the epochs are not done.
        package var maximumSteps: Int?
        package var learningRate: Double
        package var schedule: LearningRateSchedule.Shape
        package var warmupSteps: Int
        /// What the schedule falls to.
        package var minimumRate: Double
        /// The last steps of `warmup-stable-decay`, which fall; nil: a tenth of all.
        package var decaySteps: Int?
        /// How many times faster B learns than A.
        package var loraPlusRatio: Double
        /// Of modules that are trained in full; nil: as everything else.
        package var headLearningRate: Double?
        /// The tokens of a step's rows before any prefix is shared.
        package var batchTokens: Int
        /// The tokens that are computed at once; nil if memory decides.
        package var microTokens: Int?
        /// The largest resident set that training may have, in bytes; nil for no limit.
        package var maximumMemory: Int?
        package var maximumLength: Int
        package var seed: UInt64
        package var weightDecay: Double
        package var betas: (Double, Double)
        package var epsilon: Double
        /// The largest norm of the gradient; nil for no clipping.
        package var clip: Double?
        /// Steps, and minutes, after which the state is saved, whichever comes first; nil: never by the clock.
        package var checkpointEvery: Int
        package var checkpointMinutes: Double?
        /// The newest checkpoints that stay.
        package var checkpointsKept: Int
        /// Steps between two evaluations during training; nil for none.
        package var evaluateEvery: Int?
        /// Evaluations in a row without a lower held-out loss after which training ends; nil: never.
        package var patience: Int?
        package var keep: Keep
        /// Whether a loss that grows or does not move ends the run.
        package var hasWatchdog: Bool
        package var compute: Compute
        package var provider: Provider
        /// In what form the base is trained against.
        package var baseEncoding: BaseEncoding
        package var sharesPrefixes: Bool
    }

    package struct Evaluate: Sendable, Equatable {
        package enum Leaks: String, Sendable, CaseIterable {
            case refuse, drop, allow
        }

        package enum Metric: String, Sendable, CaseIterable {
            /// The share of answers that are the reference to the letter.
            case exactMatch = "exact-match"
            /// Nats per token of the reference.
            case loss
            /// The share of pairs whose chosen completion is the likelier one.
            case preferenceAccuracy = "preference-accuracy"
        }

        package var data: [RecipePath]
        package var format: RecordFormat?
        package var metric: Metric
        /// Conditions are those of the training data unless it has its own.
        package var filter: RecordFilter
        /// What becomes of rows that are trained on too.
        package var leaks: Leaks
        /// The longest answer that is generated, in tokens.
        package var maximumNewTokens: Int
    }
}

extension Recipe.Train {
    package static func == (a: Self, b: Self) -> Bool { a.json == b.json }
}
