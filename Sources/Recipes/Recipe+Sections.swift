import Datasets
import Diagnostics
import Models
import NN
import StrictJSON
import Training

extension Recipe.Data {
    init(
        _ section: SectionReader, folder: String, objective: Recipe.Objective, seed: UInt64
    ) throws(Diagnostic) {
        train = try section.paths("train", folder: folder)
        format = try section.choice("format", RecordFormat.self)
        (rejected, desirable) = (nil, nil)
        if case .preference(let loss) = objective, !loss.isOfPairs {
            for key in ["messages", "chosen", "rejected", "loss_on"] where section.node(key) != nil {
                throw section.conflict(key, "data.\(key) with the objective kto", "data.completion and data.desirable")
            }
            _ = try section.required("prompt")
            desirable = try section.template(try section.required("desirable"), "desirable")
        } else if section.node("desirable") != nil {
            throw section.conflict("desirable", "data.desirable without the objective kto", "objective: kto")
        } else if case .preference = objective {
            for key in ["messages", "completion", "loss_on"] where section.node(key) != nil {
                throw section.conflict(key, "data.\(key) with an objective for pairs", "data.chosen and data.rejected")
            }
            rejected = try section.template(try section.required("rejected"), "rejected")
        }
        if case .supervised = objective {
            for key in ["chosen", "rejected"] where section.node(key) != nil {
                throw section.conflict(
                    key, "data.\(key) without an objective for pairs", "objective: dpo or orpo, or data.completion")
            }
        }
        mapping = RecordMapping(
            form: try Self.form(section, completion: rejected == nil ? "completion" : "chosen"),
            learnedRoles: try Self.learnedRoles(section))
        filter = RecordFilter(
            conditions: try section.conditions("where") ?? [], sample: try section.integer("sample", in: 1...Int.max),
            seed: seed, split: try Self.split(section, seed: seed))
        tooLong = try section.choice("too_long", TooLongPolicy.self) ?? .refuse
        labels = try section.strings("labels") ?? []
    }

    /// `{ by: FIELD, holdout: 0.1 }`; `by: record` is by all of a record.
    private static func split(_ section: SectionReader, seed: UInt64) throws(Diagnostic) -> RecordFilter.Split? {
        guard let node = section.node("split") else { return nil }
        let split = try SectionReader(node, prefix: "data.split.", known: ["by", "holdout", "seed"])
        let field = try split.text(try split.required("by"), "by")
        return RecordFilter.Split(
            field: field == "record" ? nil : field,
            share: try split.number("holdout", "more than 0, less than 1") { $0 > 0 && $0 < 1 } ?? 0.1, part: .training,
            seed: try split.integer("seed", in: 0...Int.max).map { UInt64($0) } ?? seed)
    }

    private static func form(
        _ section: SectionReader, completion key: String
    ) throws(Diagnostic) -> RecordMapping.Form {
        if let node = section.node("messages") {
            for key in ["prompt", "system", "completion"] where section.node(key) != nil {
                throw Diagnostic(
                    RecipeCode.conflict, at: node.place + section.naming("messages"),
                    found: "both data.messages and data.\(key)", expected: "one of them",
                    fix: "Keep data.messages for conversations, data.prompt and data.completion for fields")
            }
            return .messages(field: try section.text(node, "messages"))
        }
        let completion = try section.template(try section.required(key), key)
        let system = try section.node("system").map { (node) throws(Diagnostic) in
            try section.template(node, "system")
        }
        let prompt = try section.node("prompt").map { (node) throws(Diagnostic) in
            try section.template(node, "prompt")
        }
        if let node = section.node("system"), prompt == nil {
            throw Diagnostic(
                RecipeCode.conflict, at: node.place + section.naming("system"), found: "a system text without a prompt",
                expected: "data.prompt", fix: "Add data.prompt, or remove data.system to learn plain texts")
        }
        return .texts(system: system, prompt: prompt, completion: completion)
    }

    private static func learnedRoles(_ section: SectionReader) throws(Diagnostic) -> [String] {
        guard let node = section.node("loss_on") else { return ["assistant"] }
        let roles = try section.strings(node, "loss_on")
        guard roles.allSatisfy(RecordMapping.roles.contains) else {
            throw section.wrongRange(node, "loss_on", "roles out of " + RecordMapping.roles.joined(separator: ", "))
        }
        return roles
    }
}

extension Recipe.Objective {
    private enum Name: String, CaseIterable { case supervised, dpo, orpo, kto }

    init(_ section: SectionReader) throws(Diagnostic) {
        _ = try section.required("name")
        let name = try section.choice("name", Name.self) ?? .supervised
        let allowed: [Name: [String]] = [
            .dpo: ["beta", "loss", "label_smoothing"], .orpo: ["beta"],
            .kto: ["beta", "desirable_weight", "undesirable_weight"],
        ]
        for key in ["beta", "loss", "label_smoothing", "desirable_weight", "undesirable_weight"]
        where section.node(key) != nil && allowed[name]?.contains(key) != true {
            throw section.conflict(key, "objective.\(key) with \(name.rawValue)", "an objective that has it")
        }
        let beta = try section.number("beta", "more than 0") { $0 > 0 } ?? 0.1
        switch name {
        case .supervised: self = .supervised
        case .orpo: self = .preference(.orpo(beta: beta))
        case .kto:
            self = .preference(
                .kto(
                    beta: beta,
                    desirableWeight: try section.number("desirable_weight", "more than 0") { $0 > 0 } ?? 1,
                    undesirableWeight: try section.number("undesirable_weight", "more than 0") { $0 > 0 } ?? 1))
        case .dpo:
            let smoothing =
                try section.number("label_smoothing", "0 or more, less than 0.5") { $0 >= 0 && $0 < 0.5 } ?? 0
            let form = try section.choice("loss", PreferenceLoss.DPOForm.self) ?? .sigmoid
            if smoothing > 0, form == .hinge || form == .ipo {
                throw section.conflict(
                    "label_smoothing", "label smoothing with the loss \(form.rawValue)", "sigmoid or sigmoid-norm")
            }
            self = .preference(.dpo(form: form, beta: beta, labelSmoothing: smoothing))
        }
    }
}

extension SectionReader {
    /// Two keys, or a key and a value, that do not go together.
    func conflict(_ key: String, _ found: String, _ expected: String) -> Diagnostic {
        Diagnostic(
            RecipeCode.conflict, at: (node(key)?.place ?? place) + naming(key), found: found, expected: expected,
            fix: "Remove one of the two")
    }
}

extension Recipe.Adapter {
    init(_ section: SectionReader) throws(Diagnostic) {
        rank = try section.integer("rank", in: 1...4096) ?? 16
        alpha = try section.number("alpha", "more than 0, at most 65536") { $0 > 0 && $0 <= 65536 } ?? Double(2 * rank)
        dropout = try section.number("dropout", "0 or more, less than 1") { $0 >= 0 && $0 < 1 } ?? 0
        targets = try Self.targets(section)
        if let items = try section.list("layers") {
            var indices: [Int] = []
            for item in items { indices.append(try section.integer(item, "layers", in: 0...65535)) }
            guard !indices.isEmpty, Set(indices).count == indices.count else {
                throw section.wrongRange(try section.required("layers"), "layers", "every index once")
            }
            layers = indices.sorted()
        }
        isRankStabilized = try section.bool("rslora") ?? false
        peft = JSONObject()
        if let node = section.node("peft") {
            guard try node.asSection() != nil, let object = try node.json().object else {
                throw section.wrongType(node, "peft", "a section with PEFT's options")
            }
            peft = object
        }
    }

    private static func targets(_ section: SectionReader) throws(Diagnostic) -> Targets {
        guard let node = section.node("targets") else { return .allLinear }
        if let items = try node.asList() {
            let names = try section.strings(node, "targets")
            guard !items.isEmpty, names.allSatisfy({ !$0.isEmpty }), Set(names).count == names.count else {
                throw section.wrongRange(node, "targets", "every name once")
            }
            return .names(names)
        }
        let text = try section.text(node, "targets")
        if text.isEmpty { throw section.wrongRange(node, "targets", "all-linear, a list of names, or a pattern") }
        return text == "all-linear" ? .allLinear : .pattern(text)
    }
}

extension Recipe.Train {
    private static let maximumTokens = 1 << 24

    init(_ section: SectionReader) throws(Diagnostic) {
        epochs = try section.integer("epochs", in: 1...100_000) ?? 1
        maximumSteps = try section.integer("max_steps", in: 1...Int.max)
        learningRate = try section.number("learning_rate", "more than 0, at most 1") { $0 > 0 && $0 <= 1 } ?? 2e-4
        schedule = try section.choice("schedule", LearningRateSchedule.Shape.self) ?? .cosine
        warmupSteps = try section.integer("warmup_steps", in: 0...Int.max) ?? 5
        minimumRate = try section.number("min_learning_rate", "0 or more, at most 1") { $0 >= 0 && $0 <= 1 } ?? 0
        decaySteps = try section.integer("decay_steps", in: 1...Int.max)
        if section.node("min_learning_rate") != nil, schedule == .constant || schedule == .linear {
            throw section.conflict(
                "min_learning_rate", "a minimum with the schedule \(schedule.rawValue)", "cosine or warmup-stable-decay"
            )
        }
        if decaySteps != nil, schedule != .warmupStableDecay {
            throw section.conflict(
                "decay_steps", "decay steps with the schedule \(schedule.rawValue)", "warmup-stable-decay")
        }
        loraPlusRatio = try section.number("lora_plus_ratio", "1 or more, at most 1000") { $0 >= 1 && $0 <= 1000 } ?? 1
        headLearningRate = try section.number("head_learning_rate", "more than 0, at most 1") { $0 > 0 && $0 <= 1 }
        let length = try section.integer("max_length", in: 2...Self.maximumTokens)
        let batch = try section.integer("batch_tokens", in: 2...Self.maximumTokens)
        maximumLength = length ?? min(512, batch ?? 512)
        batchTokens = batch ?? max(2048, maximumLength)
        if maximumLength > batchTokens, let node = section.node("batch_tokens") {
            throw Diagnostic(
                RecipeCode.conflict, at: node.place + section.naming("batch_tokens"),
                found: "\(batchTokens), less than train.max_length", expected: "at least \(maximumLength)",
                fix: "Raise train.batch_tokens or lower train.max_length; a step must hold the longest row")
        }
        microTokens = try section.integer("micro_tokens", in: 1...Self.maximumTokens)
        maximumMemory = try section.byteCount("max_memory")
        seed = UInt64(try section.integer("seed", in: 0...Int.max) ?? 0)
        weightDecay = try section.number("weight_decay", "0 or more, less than 1") { $0 >= 0 && $0 < 1 } ?? 0
        betas = try Self.betas(section)
        epsilon = try section.number("epsilon", "more than 0, at most 1") { $0 > 0 && $0 <= 1 } ?? 1e-8
        clip = try Self.clip(section)
        checkpointEvery = try section.integer("checkpoint_every", in: 1...Int.max) ?? 100
        checkpointMinutes = try section.number("checkpoint_minutes", "more than 0") { $0 > 0 }
        checkpointsKept = try section.integer("checkpoints_kept", in: 2...1000) ?? 2
        evaluateEvery = try section.integer("evaluate_every", in: 1...Int.max)
        patience = try section.integer("patience", in: 1...Int.max)
        keep = try section.choice("keep", Keep.self) ?? .last
        hasWatchdog = try section.bool("watchdog") ?? true
        for (key, isSet) in [("patience", patience != nil), ("keep", keep == .best)] where isSet && evaluateEvery == nil
        {
            throw section.conflict(key, "train.\(key) without train.evaluate_every", "an interval of evaluations")
        }
        compute = try section.choice("compute", Compute.self) ?? .auto
        provider = try section.choice("provider", Provider.self) ?? .auto
        baseEncoding = try section.choice("base_encoding", BaseEncoding.self) ?? .automatic
        sharesPrefixes = try section.bool("share_prefixes") ?? true
    }

    private static func betas(_ section: SectionReader) throws(Diagnostic) -> (Double, Double) {
        guard let items = try section.list("betas") else { return (0.9, 0.999) }
        guard items.count == 2 else {
            throw section.wrongRange(try section.required("betas"), "betas", "two numbers")
        }
        var values: [Double] = []
        for item in items {
            values.append(try section.number(item, "betas", "0 or more, less than 1") { $0 >= 0 && $0 < 1 })
        }
        return (values[0], values[1])
    }

    /// A number, or `none`.
    private static func clip(_ section: SectionReader) throws(Diagnostic) -> Double? {
        guard let node = section.node("clip") else { return 1 }
        switch node.content {
        case .scalar("none", isPlain: _), .argument("none"): return nil
        default: return try section.number(node, "clip", "more than 0, or none") { $0 > 0 }
        }
    }
}

extension Recipe.Evaluate {
    init(
        _ section: SectionReader, folder: String, training: Recipe.Data, seed: UInt64
    ) throws(Diagnostic) {
        var split = training.filter.split
        if section.node("data") == nil, split != nil {
            // What the split holds out of the training files.
            (data, format) = (training.train, try section.choice("format", RecordFormat.self) ?? training.format)
            split?.part = .heldOut
        } else {
            data = try section.paths("data", folder: folder)
            format = try section.choice("format", RecordFormat.self)
            // A file of its own is evaluated on as a whole; the training file itself never is.
            let isTrained = data.contains { path in training.train.contains { $0.components == path.components } }
            if isTrained { split?.part = .heldOut } else { split = nil }
        }
        leaks = try section.choice("leaks", Leaks.self) ?? .refuse
        metric =
            try section.choice("metric", Metric.self) ?? (training.rejected == nil ? .exactMatch : .preferenceAccuracy)
        if metric == .preferenceAccuracy, training.rejected == nil {
            throw section.conflict("metric", "preference-accuracy without pairs", "an objective for pairs")
        }
        filter = RecordFilter(
            conditions: try section.conditions("where") ?? training.filter.conditions,
            sample: try section.integer("sample", in: 1...Int.max), seed: seed,
            limit: try section.integer("limit", in: 1...Int.max), split: split)
        maximumNewTokens = try section.integer("max_new_tokens", in: 1...(1 << 20)) ?? 32
    }
}

extension SectionReader {
    /// A number of bytes, such as 2GiB, 800 MB or 1073741824.
    func byteCount(_ key: String) throws(Diagnostic) -> Int? {
        guard let node = node(key) else { return nil }
        let text = try text(node, key)
        guard let bytes = parsedByteCount(text), bytes > 0 else {
            throw wrongRange(node, key, "a number of bytes, such as 2GiB or 800MB")
        }
        return bytes
    }

    /// One path or a list of them, each once.
    func paths(_ key: String, folder: String) throws(Diagnostic) -> [RecipePath] {
        let node = try required(key)
        var result: [RecipePath] = []
        for item in try node.asList() ?? [node] {
            let path = try path(item, key, folder: folder)
            if result.contains(where: { $0.components == path.components }) {
                throw Diagnostic(
                    RecipeCode.path, at: item.place + naming(key), found: "a path that is listed already",
                    expected: "every file once", fix: "Remove it")
            }
            result.append(path)
        }
        if result.isEmpty { throw wrongType(node, key, "at least one path") }
        return result
    }

    /// `field: [value, ...]`, in the order of the file.
    func conditions(_ key: String) throws(Diagnostic) -> [RecordFilter.Condition]? {
        guard let node = node(key) else { return nil }
        guard let entries = try node.asSection() else {
            throw wrongType(node, key, "fields with the values they may have")
        }
        var result: [RecordFilter.Condition] = []
        for entry in entries {
            result.append(
                RecordFilter.Condition(field: entry.key, values: try strings(entry.value, "\(key).\(entry.key)")))
        }
        return result
    }

    func template(_ node: RecipeNode, _ key: String) throws(Diagnostic) -> TextTemplate {
        let text = try text(node, key)
        do throws(Diagnostic) {
            return try TextTemplate(parsing: text)
        } catch {
            var moved = error
            moved.place = node.place + naming(key) + (error.place.map { ", " + $0 } ?? "")
            throw moved
        }
    }
}

/// nil if `text` is no whole or decimal number with one of the usual units, or is beyond what fits.
private func parsedByteCount(_ text: String) -> Int? {
    let units: [(name: String, bytes: Double)] = [
        ("kib", 0x1p10), ("mib", 0x1p20), ("gib", 0x1p30), ("tib", 0x1p40), ("kb", 1e3), ("mb", 1e6), ("gb", 1e9),
        ("tb", 1e12), ("b", 1), ("", 1),
    ]
    let lowered = text.lowercased()
    for unit in units where lowered.hasSuffix(unit.name) {
        let digits = lowered.dropLast(unit.name.count).trimmingSpaces
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (48...57).contains($0) || $0 == 46 }),
            let number = Double(digits)
        else { return nil }
        return Int(exactly: (number * unit.bytes).rounded())
    }
    return nil
}

extension Substring {
    fileprivate var trimmingSpaces: Substring {
        var rest = self
        while rest.last == " " { rest.removeLast() }
        return rest
    }
}
