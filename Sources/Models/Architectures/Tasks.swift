import Diagnostics

/// The use that a model was saved for, by the class of transformers that its config names.
enum ModelClass {
    case nextToken
    case task(TaskSpec.Kind)

    /// What the model is wanted for, else what its config names.
    ///
    /// - Returns: nil for a config that names no class, or one of an unusual name.
    /// - Throws: `unsupported` for a class whose head is not known here.
    init?(_ config: ConfigReader) throws(Diagnostic) {
        if let wanted = config.newTask {
            self = .task(wanted.kind)
            return
        }
        guard let name = try config.strings("architectures")?.first else { return nil }
        let endings: [(String, ModelClass)] = [
            ("ForCausalLM", .nextToken), ("LMHeadModel", .nextToken), ("ForMaskedLM", .task(.maskedToken)),
            ("ForPreTraining", .task(.maskedToken)), ("ForSequenceClassification", .task(.sequence)),
            ("ForTokenClassification", .task(.token)), ("Model", .task(.states)),
        ]
        if let known = endings.first(where: { name.hasSuffix($0.0) }) {
            self = known.1
            return
        }
        for ending in ["ForQuestionAnswering", "ForMultipleChoice", "ForNextSentencePrediction"]
        where name.hasSuffix(ending) {
            throw config.unsupported(
                "architectures",
                supported: "a class for causal or masked language, sequence or token classification, or without a head")
        }
        return nil
    }
}

extension Architecture {
    /// The heads that an encoder family has for its tasks.
    struct EncoderHeads {
        var maskedToken: TaskSpec
        var sequence: TaskSpec
        var token: TaskSpec
        var states = TaskSpec(.states)
        /// Beginnings of tensors of all heads there are: a file may hold those of other tasks.
        var parts: [String]
    }

    /// Gives `spec` the head for the class that the config names; without one the states are all there is.
    static func setTask(_ spec: inout DecoderSpec, _ config: ConfigReader, _ heads: EncoderHeads) throws(Diagnostic) {
        let kind: TaskSpec.Kind
        switch try ModelClass(config) {
        case .nextToken:
            throw config.unsupported(
                "architectures", supported: TaskSpec.Kind.allCases.map(\.rawValue).joined(separator: ", "))
        case .task(let named): kind = named
        case nil: kind = .states
        }
        var task =
            switch kind {
            case .maskedToken: heads.maskedToken
            case .sequence: heads.sequence
            case .token: heads.token
            case .states: heads.states
            }
        try task.readLabels(config)
        spec.setTask(task)
        let scores = kind == .states ? [] : [task.output] + task.outputBias
        let own = scores + [task.dense?.name].compactMap(\.self)
        spec.names.otherParts += heads.parts.filter { part in !own.contains { $0.hasPrefix(part) } }
    }

    /// A decoder's head: the class tells whether it guesses the next token or scores labels, as transformers' generic
    /// classes do for every family.
    static func setDecoderTask(_ spec: inout DecoderSpec, _ config: ConfigReader) throws(Diagnostic) {
        guard case .task(let kind) = try ModelClass(config) else { return }
        var task = TaskSpec(kind)
        switch kind {
        case .maskedToken:
            throw config.unsupported(
                "architectures", supported: "a class for causal language or classification, as a decoder has")
        case .sequence:
            let text = try config.nested("text_config") ?? config
            let padding = try text.count("pad_token_id")
            let usual = text.has("pad_token_id") ? nil : usualPadding[spec.architecture]
            task.pooling = .last(padding: padding ?? usual)
            (task.output, task.outputBias) = ("score", [])
        case .token:
            if !["gpt2", "gpt_neox", "bloom"].contains(spec.architecture) {
                let hasBias = try config.bool("token_classification_bias", default: true)
                (task.output, task.outputBias) = ("score", hasBias ? ["score.bias"] : [])
            }
        case .states: break
        }
        try task.readLabels(config)
        spec.names.otherParts.append(spec.names.head + ".")
        spec.setTask(task)
    }

    /// `pad_token_id` of configs that do not say.
    private static let usualPadding = [
        "olmo2": 1, "smollm3": 128_004, "gemma2": 0, "gemma3_text": 0, "gemma3": 0, "phi3": 32_000, "apertus": 3,
    ]
}

extension DecoderSpec {
    fileprivate mutating func setTask(_ task: TaskSpec) {
        self.task = task
        // Only the scores of tokens can be the embedding's.
        if task.kind != .maskedToken { isTied = false }
        if task.kind == .states { return names.dropHead() }
        names.head = task.output
        // Where a file holds the bias under both of its names, one is a copy.
        names.buffers += task.outputBias
    }
}

extension TaskSpec {
    /// The names in `id2label`, else as many as `num_labels` says, else two.
    fileprivate mutating func readLabels(_ config: ConfigReader) throws(Diagnostic) {
        guard kind == .sequence || kind == .token else { return }
        if let wanted = config.newTask {
            labels = wanted.labels
            if kind == .sequence, labels.count == 1 { problem = .number }
            return
        }
        if let names = try config.nested("id2label") {
            var numbered: [Int: String] = [:]
            for key in names.keys { if let number = Int(key) { numbered[number] = try names.string(key) ?? key } }
            labels = numbered.keys.sorted().compactMap { numbered[$0] }
            guard labels.count == names.keys.count, numbered.keys.allSatisfy({ 0..<labels.count ~= $0 }),
                !labels.isEmpty
            else { throw config.wrong("id2label", expected: "names of labels by numbers from 0 on") }
        } else {
            let count = try config.extent("num_labels") ?? 2
            guard count <= Self.maximumLabels else {
                throw config.wrong("num_labels", expected: "at most \(Self.maximumLabels)")
            }
            labels = (0..<count).map { "LABEL_\($0)" }
        }
        guard let name = try config.string("problem_type") else {
            problem = labels.count == 1 && kind == .sequence ? .number : .oneLabel
            return
        }
        guard let problem = Problem(rawValue: name) else {
            throw config.unsupported(
                "problem_type", supported: Problem.allCases.map(\.rawValue).joined(separator: ", "))
        }
        if kind == .sequence { self.problem = problem }
    }
}
