package import Diagnostics
package import StrictJSON

extension PEFTConfig {
    package static let maximumRank = 1 << 16
    private static let maximumBytes = 8 << 20

    /// Reads the file at `path`.
    ///
    /// - Throws: `adapterConfig` and `adapterKey` with the key, `adapterPattern`, `fileMissing`, `fileKind`,
    ///   `fileRead`, and what `JSONValue` throws.
    package init(contentsOf path: String) throws(Diagnostic) {
        do {
            try self.init(readJSON(path, maximumBytes: Self.maximumBytes))
        } catch { throw error.inFile(path) }
    }

    package init(_ document: JSONValue) throws(Diagnostic) {
        guard case .object(let object) = document else {
            throw Diagnostic(FormatsCode.adapterConfig, found: "no object", expected: "an object with PEFT's keys")
        }
        var members = ConfigMembers(object)
        let type = try members.string("peft_type")
        guard type == "LORA" else {
            throw members.error(
                "peft_type", "\(type.map { "\"\($0.prefix(40))\"" } ?? "no value")", expected: "\"LORA\"")
        }
        try readNumbers(&members)
        try readSelections(&members)
        try readOptions(&members)
        try checkPatterns()
        otherMembers = try members.rest()
    }

    private mutating func readNumbers(_ members: inout ConfigMembers) throws(Diagnostic) {
        let range = 1...Self.maximumRank
        r = try members.required("r", try members.integer("r", in: range))
        alpha = try members.required("lora_alpha", try members.positive("lora_alpha"))
        if let value = try members.number("lora_dropout") {
            guard value >= 0, value < 1 else {
                throw members.error("lora_dropout", "\(value)", expected: "a number from 0 to below 1")
            }
            dropout = value
        }
        for (pattern, value) in try members.object("rank_pattern")?.members ?? [] {
            guard case .integer(let rank) = value, range.contains(rank) else {
                throw members.error(
                    "rank_pattern", "\"\(pattern.prefix(80))\" without a rank", expected: "an integer of 1 or more")
            }
            rankPattern.append((pattern, rank))
        }
        for (pattern, value) in try members.object("alpha_pattern")?.members ?? [] {
            guard let alpha = value.number, alpha > 0 else {
                throw members.error(
                    "alpha_pattern", "\"\(pattern.prefix(80))\" without an alpha", expected: "a number over 0")
            }
            alphaPattern.append((pattern, alpha))
        }
    }

    private mutating func readSelections(_ members: inout ConfigMembers) throws(Diagnostic) {
        targetModules = try members.selection("target_modules")
        if case .names(let names) = targetModules, names.isEmpty { targetModules = nil }
        excludeModules = try members.selection("exclude_modules")
        modulesToSave = try members.strings("modules_to_save")
        targetParameters = try members.strings("target_parameters")
        switch members.take("layers_to_transform") {
        case nil, .null?: break
        case .integer(let layer)?: layersToTransform = [layer]
        case .array(let values)?:
            layersToTransform = try members.integers("layers_to_transform", values)
        default: throw members.error("layers_to_transform", "another value", expected: "a list of integers")
        }
        if let layers = layersToTransform, let wrong = layers.first(where: { $0 < 0 }) {
            throw members.error("layers_to_transform", "\(wrong)", expected: "layers of 0 or more")
        }
        if case .string(let pattern)? = members.peek("layers_pattern") {
            _ = members.take("layers_pattern")
            layersPattern = pattern.isEmpty ? [] : [pattern]
        } else {
            layersPattern = try members.strings("layers_pattern") ?? []
        }
        trainableTokenIndices = try members.tokens("trainable_token_indices")
        guard targetModules != nil || !(targetParameters ?? []).isEmpty || trainableTokenIndices != nil else {
            throw members.error("target_modules", "no module", expected: "names or a regular expression")
        }
    }

    private mutating func readOptions(_ members: inout ConfigMembers) throws(Diagnostic) {
        if let name = try members.string("bias") {
            guard let bias = Bias(rawValue: name) else {
                throw members.error("bias", "\"\(name.prefix(40))\"", expected: "none, all or lora_only")
            }
            self.bias = bias
        }
        fanInFanOut = try members.bool("fan_in_fan_out") ?? false
        useRSLoRA = try members.bool("use_rslora") ?? false
        useDoRA = try members.bool("use_dora") ?? false
        loraBias = try members.bool("lora_bias") ?? false
        inferenceMode = try members.bool("inference_mode") ?? false
        switch members.take("init_lora_weights") {
        case nil, .null?, .bool(true)?: initialization = .standard
        case .bool(false)?: initialization = .random
        case .string(let name)?: initialization = .named(name)
        default: throw members.error("init_lora_weights", "another value", expected: "true, false or a name")
        }
        taskType = try members.string("task_type")
        baseModel = try members.string("base_model_name_or_path")
        revision = try members.string("revision")
        peftVersion = try members.string("peft_version")
    }

    private func checkPatterns() throws(Diagnostic) {
        for (key, patterns) in [
            ("rank_pattern", rankPattern.map(\.pattern)), ("alpha_pattern", alphaPattern.map(\.pattern)),
            ("layers_pattern", layersPattern), ("target_modules", targetModules?.pattern ?? []),
            ("exclude_modules", excludeModules?.pattern ?? []),
        ] {
            for pattern in patterns {
                do {
                    _ = try ModuleRegex(pattern)
                } catch {
                    var named = error
                    named.place = "key \"\(key)\""
                    throw named
                }
            }
        }
    }
}

extension PEFTConfig.ModuleSelection {
    fileprivate var pattern: [String] { if case .regex(let pattern) = self { [pattern] } else { [] } }
}

/// The members of the object, which are taken out one by one; what is left at the end is not understood.
private struct ConfigMembers {
    private var object: JSONObject

    init(_ object: JSONObject) { self.object = object }

    func peek(_ key: String) -> JSONValue? { object[key] }

    mutating func take(_ key: String) -> JSONValue? {
        defer { object[key] = nil }
        return object[key]
    }

    mutating func string(_ key: String) throws(Diagnostic) -> String? {
        switch take(key) {
        case nil, .null?: nil
        case .string(let text)?: text
        default: throw error(key, "another value", expected: "a string")
        }
    }

    mutating func bool(_ key: String) throws(Diagnostic) -> Bool? {
        switch take(key) {
        case nil, .null?: nil
        case .bool(let value)?: value
        default: throw error(key, "another value", expected: "true or false")
        }
    }

    mutating func integer(_ key: String, in range: ClosedRange<Int>) throws(Diagnostic) -> Int? {
        switch take(key) {
        case nil, .null?: return nil
        case .integer(let value)? where range.contains(value): return value
        case .integer(let value)?:
            throw error(key, "\(value)", expected: "an integer from \(range.lowerBound) to \(range.upperBound)")
        default: throw error(key, "another value", expected: "an integer")
        }
    }

    mutating func number(_ key: String) throws(Diagnostic) -> Double? {
        guard let value = take(key), !value.isNull else { return nil }
        guard let number = value.number else { throw error(key, "another value", expected: "a number") }
        return number
    }

    mutating func positive(_ key: String) throws(Diagnostic) -> Double? {
        guard let value = try number(key) else { return nil }
        guard value > 0, value.isFinite else { throw error(key, "\(value)", expected: "a number over 0") }
        return value
    }

    func required<Value>(_ key: String, _ value: Value?) throws(Diagnostic) -> Value {
        if let value { return value }
        throw error(key, "no value", expected: "one")
    }

    mutating func object(_ key: String) throws(Diagnostic) -> JSONObject? {
        switch take(key) {
        case nil, .null?: nil
        case .object(let object)?: object
        default: throw error(key, "another value", expected: "an object")
        }
    }

    mutating func strings(_ key: String) throws(Diagnostic) -> [String]? {
        switch take(key) {
        case nil, .null?: return nil
        case .array(let values)?:
            let strings = values.compactMap(\.string)
            guard strings.count == values.count, strings.allSatisfy({ !$0.isEmpty }) else {
                throw error(key, "something else than names", expected: "a list of names")
            }
            return strings
        default: throw error(key, "another value", expected: "a list of names")
        }
    }

    func integers(_ key: String, _ values: [JSONValue]) throws(Diagnostic) -> [Int] {
        var numbers: [Int] = []
        for value in values {
            guard case .integer(let number) = value else {
                throw error(key, "something else than integers", expected: "a list of integers")
            }
            numbers.append(number)
        }
        return numbers
    }

    mutating func selection(_ key: String) throws(Diagnostic) -> PEFTConfig.ModuleSelection? {
        guard case .string(let text)? = object[key] else { return try strings(key).map { .names($0) } }
        object[key] = nil
        guard !text.isEmpty else { throw error(key, "an empty string", expected: "names or a regular expression") }
        return text == "all-linear" ? .allLinear : .regex(text)
    }

    mutating func tokens(_ key: String) throws(Diagnostic) -> PEFTConfig.TokenSelection? {
        switch take(key) {
        case nil, .null?: return nil
        case .array(let values)?: return .tokens(try tokenIDs(key, values))
        case .object(let object)?:
            var result: [String: [Int]] = [:]
            for (name, value) in object.members {
                guard let values = value.array else { throw error(key, "no list", expected: "lists of token ids") }
                result[name] = try tokenIDs(key, values)
            }
            return .byModule(result)
        default: throw error(key, "another value", expected: "a list of token ids")
        }
    }

    private func tokenIDs(_ key: String, _ values: [JSONValue]) throws(Diagnostic) -> [Int] {
        let ids = try integers(key, values)
        guard ids.allSatisfy({ $0 >= 0 }) else { throw error(key, "a negative id", expected: "ids of 0 or more") }
        return ids
    }

    /// The members that nothing took, if each says nothing: null, false, empty, or PEFT's default.
    func rest() throws(Diagnostic) -> JSONObject {
        for (key, value) in object.members {
            switch value {
            case .null, .bool(false): continue
            case .string(let text) where text.isEmpty: continue
            case .array(let values) where values.isEmpty: continue
            case .object(let members) where members.count == 0: continue
            case PEFTConfig.defaults[key] ?? .null: continue
            // These two only record where an adapter came from.
            case .object where key == "auto_mapping" || key == "eva_config": continue
            default:
                throw Diagnostic(
                    FormatsCode.adapterKey, at: "key \"\(key.prefix(80))\"",
                    found: "an option that this version does not know, with a value that may matter",
                    expected: "the option unset", fix: "Save the adapter with PEFT without this option")
            }
        }
        return object
    }

    func error(_ key: String, _ found: String, expected: String) -> Diagnostic {
        Diagnostic(FormatsCode.adapterConfig, at: "key \"\(key)\"", found: found, expected: expected)
    }
}
