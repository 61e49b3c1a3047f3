package import StrictJSON

extension PEFTConfig {
    /// The members that PEFT writes and this version does not interpret, with their defaults.
    static let defaults: JSONObject = [
        "alora_invocation_tokens": .null, "arrow_config": .null, "auto_mapping": .null, "corda_config": .null,
        "ensure_weight_tying": .bool(false), "eva_config": .null, "kasa_config": .null, "layer_replication": .null,
        "loftq_config": .object([:]), "lora_ga_config": .null, "megatron_config": .null,
        "megatron_core": .string("megatron.core"), "monteclora_config": .null, "qalora_group_size": .integer(16),
        "use_bdlora": .null, "use_qalora": .bool(false), "velora_config": .null,
    ]

    /// All members as PEFT writes them, keys sorted; the patterns keep their order, which has a meaning.
    package var json: JSONValue {
        var members = Self.defaults
        for (key, value) in otherMembers.members { members[key] = value }
        members["alpha_pattern"] = .object(JSONObject(alphaPattern.map { ($0.pattern, Self.number($0.alpha)) }))
        members["base_model_name_or_path"] = Self.text(baseModel)
        members["bias"] = .string(bias.rawValue)
        members["exclude_modules"] = Self.selection(excludeModules)
        members["fan_in_fan_out"] = .bool(fanInFanOut)
        members["inference_mode"] = .bool(inferenceMode)
        members["init_lora_weights"] = initializationValue
        members["layers_pattern"] = layersPatternValue
        members["layers_to_transform"] = layersToTransform.map { .array($0.map { .integer($0) }) } ?? .null
        members["lora_alpha"] = Self.number(alpha)
        members["lora_bias"] = .bool(loraBias)
        members["lora_dropout"] = .number(dropout)
        members["modules_to_save"] = Self.texts(modulesToSave)
        members["peft_type"] = .string("LORA")
        members["peft_version"] = Self.text(peftVersion)
        members["r"] = .integer(r)
        members["rank_pattern"] = .object(JSONObject(rankPattern.map { ($0.pattern, .integer($0.rank)) }))
        members["revision"] = Self.text(revision)
        members["target_modules"] = Self.selection(targetModules)
        members["target_parameters"] = Self.texts(targetParameters)
        members["task_type"] = Self.text(taskType)
        members["trainable_token_indices"] = tokensValue
        members["use_dora"] = .bool(useDoRA)
        members["use_rslora"] = .bool(useRSLoRA)
        return Self.sorted(.object(members), keepingPatterns: true)
    }

    /// The file's text.
    package var serialized: String { json.serialized(.indented) }

    private var initializationValue: JSONValue {
        switch initialization {
        case .standard: .bool(true)
        case .random: .bool(false)
        case .named(let name): .string(name)
        }
    }

    private var layersPatternValue: JSONValue {
        switch layersPattern.count {
        case 0: .null
        case 1: .string(layersPattern[0])
        default: .array(layersPattern.map { .string($0) })
        }
    }

    private var tokensValue: JSONValue {
        switch trainableTokenIndices {
        case nil: .null
        case .tokens(let ids): .array(ids.map { .integer($0) })
        case .byModule(let map): .object(JSONObject(map.map { ($0.key, .array($0.value.map { .integer($0) })) }))
        }
    }

    /// Names as a sorted list: PEFT keeps them as a set.
    private static func selection(_ selection: ModuleSelection?) -> JSONValue {
        switch selection {
        case nil: .null
        case .allLinear: .string("all-linear")
        case .regex(let pattern): .string(pattern)
        case .names(let names):
            .array(names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }.map { .string($0) })
        }
    }

    private static func text(_ text: String?) -> JSONValue { text.map { .string($0) } ?? .null }

    private static func texts(_ texts: [String]?) -> JSONValue {
        texts.map { .array($0.map { .string($0) }) } ?? .null
    }

    /// An alpha without a fraction is an integer to PEFT.
    private static func number(_ value: Double) -> JSONValue {
        Int(exactly: value).map { .integer($0) } ?? .number(value)
    }

    private static func sorted(_ value: JSONValue, keepingPatterns: Bool = false) -> JSONValue {
        switch value {
        case .array(let values): return .array(values.map { sorted($0) })
        case .object(let object):
            let members = object.members.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
            return .object(
                JSONObject(
                    members.map { key, value in
                        let isPattern = keepingPatterns && (key == "rank_pattern" || key == "alpha_pattern")
                        return (key, isPattern ? value : sorted(value))
                    }))
        default: return value
        }
    }
}
