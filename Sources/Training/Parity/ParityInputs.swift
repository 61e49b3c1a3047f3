import Batches
import Diagnostics
import Formats
import Models

/// The sequences of a reference's inputs without their padding, and where they stand in its [B, T] tensors.
struct ParityInputs {
    /// A run of real tokens in one row.
    struct Sequence {
        var row: Int
        var start: Int
        var tokens: [Int32]
        var tokenTypes: [Int32]?
        /// Of each token; nil: it does not count.
        var labels: [Int32?]
    }

    let sequences: [Sequence]
    let rowLength: Int
    /// Where the other stack went by the length of its padded rows, that length.
    let paddedLength: Int?
    let batch: PackedBatch

    /// Reads `PREFIXinput_ids` and what goes with it, for a model of this spec.
    ///
    /// - Throws: `parityInputs` if a tensor is missing, two of them do not fit, or one has values beyond the model's.
    init(_ source: WeightSource, prefix: String = "", spec: DecoderSpec) throws(Diagnostic) {
        let tensors = try ParityTensors(source, prefix: prefix)
        let isPooled = spec.task?.kind == .sequence
        let labels = isPooled ? nil : try tensors.values("labels")
        var sequences = try tensors.sequences(labels: labels)
        guard !sequences.isEmpty else {
            throw tensors.wrong("input_ids", "no token outside the padding", expected: "at least one")
        }
        if spec.task == nil { try Self.checkNextTokens(&sequences, tensors) }
        self.sequences = sequences
        rowLength = tensors.length
        paddedLength = source[prefix + "position_ids"] == nil ? tensors.length : nil
        if spec.task == nil {
            batch = PackedBatch(
                sequences.map { Example(tokens: $0.tokens, weights: $0.labels.map { $0 == nil ? 0 : 1 }) },
                sharingPrefixes: false)
        } else {
            let whole = isPooled ? try tensors.sequenceLabels(count: sequences.count) : nil
            batch = PackedBatch(
                labelled: sequences.enumerated().map { index, sequence in
                    LabelledExample(
                        tokens: sequence.tokens, tokenTypes: sequence.tokenTypes,
                        labels: isPooled ? whole.map { .sequence($0[index]) } ?? .none : .tokens(sequence.labels))
                })
        }
        try checkFit(spec, tensors)
    }

    /// Nothing predicts a sequence's first token, and the others must be what is predicted.
    private static func checkNextTokens(
        _ sequences: inout [Sequence], _ tensors: ParityTensors
    ) throws(Diagnostic) {
        for index in sequences.indices {
            sequences[index].labels[0] = nil
            let sequence = sequences[index]
            let wrong = zip(sequence.labels, sequence.tokens).enumerated().first { $1.0 != nil && $1.0 != $1.1 }
            guard let wrong else { continue }
            throw tensors.wrong(
                "labels", "a label that differs from the token in row \(sequence.row)",
                at: ", element \(sequence.row * tensors.length + sequence.start + wrong.offset)",
                expected: "the token's id or -100")
        }
    }

    /// The rows of a [B, T, X] tensor (flat) that belong to real tokens, in the order of the packed batch.
    func realRows(of values: [Float], width: Int) -> [Float] {
        var result: [Float] = []
        for sequence in sequences {
            let start = (sequence.row * rowLength + sequence.start) * width
            result += values[start..<start + sequence.tokens.count * width]
        }
        return result
    }

    private func checkFit(_ spec: DecoderSpec, _ tensors: ParityTensors) throws(Diagnostic) {
        func check(_ name: String, _ values: [Int32], below limit: Int) throws(Diagnostic) {
            guard values.allSatisfy({ $0 >= 0 && Int($0) < limit }) else {
                throw tensors.wrong(name, "values beyond the model's", expected: "0 to \(limit - 1)")
            }
        }
        try check("input_ids", batch.tokens, below: spec.vocabulary)
        if let types = batch.tokenTypes, let limit = spec.tokenTypes {
            try check("token_type_ids", types, below: limit)
        }
        if let limit = spec.scoreCount { try check("labels", batch.predictionTargets, below: limit) }
        if let limit = spec.positionLimit, let longest = sequences.map(\.tokens.count).max(), longest > limit {
            throw tensors.wrong(
                "input_ids", "a sequence of \(longest) tokens", expected: "at most the model's \(limit) positions")
        }
    }
}

/// The tensors of whole numbers that a reference has as inputs.
private struct ParityTensors {
    private let source: WeightSource
    private let prefix: String
    private let rows: Int
    let length: Int
    private let tokens: [Int32]

    init(_ source: WeightSource, prefix: String) throws(Diagnostic) {
        guard let ids = source[prefix + "input_ids"], ids.shape.count == 2 else {
            throw Diagnostic(
                TrainingCode.parityInputs, at: "tensor \"\(prefix)input_ids\"", found: "no matrix of this name",
                expected: "token ids [rows, tokens]", fix: "Name the file that has them with --inputs")
        }
        self.source = source
        self.prefix = prefix
        (rows, length) = (ids.shape[0], ids.shape[1])
        tokens = try Self.numbers(ids)
    }

    func wrong(_ name: String, _ found: String, at place: String = "", expected: String) -> Diagnostic {
        Diagnostic(
            TrainingCode.parityInputs, at: "tensor \"\(prefix + name)\"\(place)", found: found, expected: expected)
    }

    private static func numbers(_ tensor: WeightTensor) throws(Diagnostic) -> [Int32] {
        try tensor.floats().map { Int32(exactly: $0) ?? Int32.min }
    }

    /// The values of a tensor of input_ids' shape; nil if there is none.
    func values(_ name: String) throws(Diagnostic) -> [Int32]? {
        guard let tensor = source[prefix + name] else { return nil }
        guard tensor.shape == [rows, length] else {
            throw wrong(name, "shape \(tensor.shape)", expected: "\([rows, length]), as input_ids has")
        }
        return try Self.numbers(tensor)
    }

    /// A label for each sequence; nil if there are none.
    func sequenceLabels(count: Int) throws(Diagnostic) -> [Int32]? {
        guard let tensor = source[prefix + "labels"] else { return nil }
        guard tensor.shape == [count] else {
            throw wrong("labels", "shape \(tensor.shape)", expected: "\([count]), one for each sequence")
        }
        return try Self.numbers(tensor)
    }

    /// The runs of real tokens, cut where `segment_ids` change.
    ///
    /// - Parameter labels: of every token; -100: none.
    func sequences(labels: [Int32]?) throws(Diagnostic) -> [ParityInputs.Sequence] {
        let (mask, segments) = (try values("attention_mask"), try values("segment_ids"))
        let tokenTypes = try values("token_type_ids")
        var sequences: [ParityInputs.Sequence] = []
        for row in 0..<rows {
            let range = row * length..<(row + 1) * length
            var start = range.lowerBound
            while start < range.upperBound {
                guard mask?[start] ?? 1 != 0 else {
                    start += 1
                    continue
                }
                var end = start + 1
                while end < range.upperBound, mask?[end] ?? 1 != 0, segments?[end] == segments?[start] { end += 1 }
                sequences.append(
                    ParityInputs.Sequence(
                        row: row, start: start - range.lowerBound, tokens: Array(tokens[start..<end]),
                        tokenTypes: tokenTypes.map { Array($0[start..<end]) },
                        labels: (start..<end).map { index in labels.flatMap { $0[index] == -100 ? nil : $0[index] } }))
                start = end
            }
        }
        return sequences
    }
}
