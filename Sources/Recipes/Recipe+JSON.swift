import Models
import NN
import Datasets
package import StrictJSON
import Training

extension Recipe {
    /// The recipe with every default and override in place, keys in the recipe's own spelling; paths as written.
    package var json: JSONValue {
        .object([
            "base": .string(base.written), "base_name": baseName.map(JSONValue.string) ?? .null, "data": data.json,
            "objective": objective.json, "adapter": adapter.json, "train": train.json,
            "evaluate": evaluate?.json ?? .null,
            "out": .string(out.written),
        ])
    }
}

extension Recipe.Data {
    var json: JSONValue {
        var object: JSONObject = ["train": paths(train), "format": format.map { .string($0.rawValue) } ?? .null]
        switch mapping.form {
        case .texts(let system, let prompt, let completion):
            object["system"] = system.map { .string($0.source) } ?? .null
            object["prompt"] = prompt.map { .string($0.source) } ?? .null
            object[rejected == nil ? "completion" : "chosen"] = .string(completion.source)
            object["desirable"] = desirable.map { .string($0.source) } ?? .null
            object["rejected"] = rejected.map { .string($0.source) } ?? .null
        case .messages(let field): object["messages"] = .string(field)
        }
        object["loss_on"] = rejected == nil && desirable == nil ? strings(mapping.learnedRoles) : .null
        object["where"] = conditions(filter)
        object["sample"] = filter.sample.map(JSONValue.integer) ?? .null
        object["split"] =
            filter.split.map { split in
                .object([
                    "by": .string(split.field ?? "record"), "holdout": .number(split.share),
                    "seed": .integer(Int(clamping: split.seed)),
                ])
            } ?? .null
        object["too_long"] = .string(tooLong.rawValue)
        object["labels"] = labels.isEmpty ? .null : strings(labels)
        return .object(object)
    }
}

extension Recipe.Objective {
    var json: JSONValue {
        switch self {
        case .supervised: .object(["name": .string("supervised")])
        case .preference(.orpo(let beta)): .object(["name": .string("orpo"), "beta": .number(beta)])
        case .preference(.kto(let beta, let desirable, let undesirable)):
            .object([
                "name": .string("kto"), "beta": .number(beta), "desirable_weight": .number(desirable),
                "undesirable_weight": .number(undesirable),
            ])
        case .preference(.dpo(let form, let beta, let smoothing)):
            .object([
                "name": .string("dpo"), "beta": .number(beta), "loss": .string(form.rawValue),
                "label_smoothing": .number(smoothing),
            ])
        }
    }
}

extension Recipe.Adapter {
    var json: JSONValue {
        let chosen: JSONValue =
            switch targets {
            case .allLinear: .string("all-linear")
            case .names(let names): strings(names)
            case .pattern(let pattern): .string(pattern)
            }
        return .object([
            "rank": .integer(rank), "alpha": .number(alpha), "dropout": .number(dropout), "targets": chosen,
            "layers": layers.map { .array($0.map(JSONValue.integer)) } ?? .null, "rslora": .bool(isRankStabilized),
            "peft": .object(peft),
        ])
    }
}

extension Recipe.Train {
    var json: JSONValue {
        let steps: JSONObject = [
            "epochs": .integer(epochs), "max_steps": maximumSteps.map(JSONValue.integer) ?? .null,
            "learning_rate": .number(learningRate), "schedule": .string(schedule.rawValue),
            "warmup_steps": .integer(warmupSteps),
            "min_learning_rate": minimumRate > 0 ? .number(minimumRate) : .null,
            "decay_steps": decaySteps.map(JSONValue.integer) ?? .null, "lora_plus_ratio": .number(loraPlusRatio),
            "head_learning_rate": headLearningRate.map(JSONValue.number) ?? .null,
            "batch_tokens": .integer(batchTokens),
            "micro_tokens": microTokens.map(JSONValue.integer) ?? .null, "max_length": .integer(maximumLength),
            "max_memory": maximumMemory.map(JSONValue.integer) ?? .null,
            "seed": .integer(Int(seed)),
        ]
        let optimizer: JSONObject = [
            "weight_decay": .number(weightDecay), "betas": .array([.number(betas.0), .number(betas.1)]),
            "epsilon": .number(epsilon), "clip": clip.map(JSONValue.number) ?? .string("none"),
            "checkpoint_every": .integer(checkpointEvery),
            "checkpoint_minutes": checkpointMinutes.map(JSONValue.number) ?? .null,
            "checkpoints_kept": .integer(checkpointsKept),
            "evaluate_every": evaluateEvery.map(JSONValue.integer) ?? .null,
            "patience": patience.map(JSONValue.integer) ?? .null, "keep": .string(keep.rawValue),
            "watchdog": .bool(hasWatchdog), "compute": .string(compute.rawValue),
            "provider": .string(provider.rawValue), "base_encoding": .string(baseEncoding.rawValue),
            "share_prefixes": .bool(sharesPrefixes),
        ]
        return .object(JSONObject((steps.members + optimizer.members).map { ($0.key, $0.value) }))
    }
}

extension Recipe.Evaluate {
    var json: JSONValue {
        .object([
            "data": paths(data), "format": format.map { .string($0.rawValue) } ?? .null,
            "metric": .string(metric.rawValue), "where": conditions(filter),
            "sample": filter.sample.map(JSONValue.integer) ?? .null,
            "limit": filter.limit.map(JSONValue.integer) ?? .null, "max_new_tokens": .integer(maximumNewTokens),
            "leaks": .string(leaks.rawValue),
        ])
    }
}

private func strings(_ values: [String]) -> JSONValue { .array(values.map(JSONValue.string)) }

private func paths(_ paths: [RecipePath]) -> JSONValue { strings(paths.map(\.written)) }

private func conditions(_ filter: RecordFilter) -> JSONValue {
    .object(JSONObject(filter.conditions.map { ($0.field, strings($0.values)) }))
}
