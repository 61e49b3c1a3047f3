import Datasets
import Autograd
import Diagnostics
import Formats
import Models
import StrictJSON

/// `run.json`: what a run was made of and what came out, so that it can be checked and repeated.
struct RunRecord {
    let preparation: Preparation
    let digests: BaseDigests
    let workspace: Workspace
    let parameters: Int
    let totalSteps: Int
    let summary: TrainingRun.Summary
    /// The recipe's folder, from which its paths start, as seen from the run's folder.
    let recipeFolder: String

    var json: JSONValue {
        let recipe = preparation.recipe
        return .object([
            "espalier": .string(Version.current), "recipe": recipe.json, "recipe_folder": .string(recipeFolder),
            "base": .object([
                "architecture": .string(preparation.base.decoder.spec.architecture),
                "weights_sha256": .string(digests.weights), "tokenizer_sha256": .string(digests.tokenizer),
                "chat_template_sha256": digests.template.map(JSONValue.string) ?? .null,
            ]),
            "data": .array(
                preparation.dataDigests.map { name, digest in
                    .object(["file": .string(name), "sha256": .string(digest)])
                }),
            "ledger": preparation.dataset.ledger.json,
            "adapter": .object([
                "sha256": .string(summary.adapterDigest), "trainable_parameters": .integer(parameters),
            ]),
            "steps": .integer(summary.steps), "adapter_step": .integer(summary.publishedStep),
            "ended_early": .bool(summary.endedEarly), "planned_steps": .integer(totalSteps),
            "seed": .integer(Int(clamping: recipe.train.seed)), "threads": .integer(workspace.threads.count),
            "instruction_set": .string(workspace.instructionSet.rawValue),
            "compute": .string(workspace.precision.rawValue),
            "provider": .string(workspace.productProvider.rawValue),
            "train_seconds": .number(summary.trainSeconds), "tokens_per_second": .number(summary.tokensPerSecond),
            "peak_bytes": .integer(summary.peakBytes), "memory": summary.memory.json,
            "final_loss": .number(summary.lastLoss),
            "resumed_from": summary.resumedFrom.map(JSONValue.integer) ?? .null,
            "bit_exact": .bool(summary.drift.isEmpty), "drift": .array(summary.drift.map(JSONValue.string)),
        ])
    }
}

/// The version of this program.
package enum Version {
    package static let current = "0.1.0"
}
