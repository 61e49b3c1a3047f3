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
        /// Whether predicting tokens[i] counts; the first never does.
        var isTarget: [Bool]
    }

    let sequences: [Sequence]
    let rowLength: Int
    /// Where the other stack went by the length of its padded rows, that length.
    let paddedLength: Int?
    let batch: PackedBatch

    /// Reads `PREFIXinput_ids` and what goes with it.
    ///
    /// - Throws: `parityInputs` if a tensor is missing or two of them do not fit.
    init(_ source: WeightSource, prefix: String = "") throws(Diagnostic) {
        guard let ids = source[prefix + "input_ids"], ids.shape.count == 2 else {
            throw Diagnostic(
                TrainingCode.parityInputs, at: "tensor \"\(prefix)input_ids\"", found: "no matrix of this name",
                expected: "token ids [rows, tokens]", fix: "Name the file that has them with --inputs")
        }
        let (rows, length) = (ids.shape[0], ids.shape[1])
        func values(_ name: String) throws(Diagnostic) -> [Int32]? {
            guard let tensor = source[prefix + name] else { return nil }
            guard tensor.shape == ids.shape else {
                throw Diagnostic(
                    TrainingCode.parityInputs, at: "tensor \"\(prefix + name)\"", found: "shape \(tensor.shape)",
                    expected: "\(ids.shape), as input_ids has")
            }
            return try tensor.floats().map { Int32($0) }
        }
        let tokens = try values("input_ids") ?? []
        let mask = try values("attention_mask")
        let labels = try values("labels")
        let segments = try values("segment_ids")
        var sequences: [Sequence] = []
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
                let isTarget = (start..<end).map { $0 > start && (labels?[$0] ?? -100) != -100 }
                if let labels,
                    let wrong = (start..<end).first(where: { isTarget[$0 - start] && labels[$0] != tokens[$0] })
                {
                    throw Diagnostic(
                        TrainingCode.parityInputs, at: "tensor \"\(prefix)labels\", element \(wrong)",
                        found: "a label that differs from the token", expected: "the token's id or -100")
                }
                sequences.append(
                    Sequence(
                        row: row, start: start - range.lowerBound, tokens: Array(tokens[start..<end]),
                        isTarget: isTarget))
                start = end
            }
        }
        guard !sequences.isEmpty else {
            throw Diagnostic(
                TrainingCode.parityInputs, at: "tensor \"\(prefix)input_ids\"", found: "no token outside the padding",
                expected: "at least one")
        }
        self.sequences = sequences
        rowLength = length
        paddedLength = source[prefix + "position_ids"] == nil ? length : nil
        batch = PackedBatch(
            sequences.map { Example(tokens: $0.tokens, weights: $0.isTarget.map { $0 ? 1 : 0 }) },
            sharingPrefixes: false)
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

    /// - Throws: `parityInputs` for ids beyond the vocabulary and sequences beyond the model's positions.
    func checkFit(_ spec: DecoderSpec, prefix: String) throws(Diagnostic) {
        func wrong(_ found: String, _ expected: String) -> Diagnostic {
            Diagnostic(
                TrainingCode.parityInputs, at: "tensor \"\(prefix)input_ids\"", found: found, expected: expected)
        }
        for tokens in sequences.map(\.tokens) {
            guard tokens.allSatisfy({ $0 >= 0 && Int($0) < spec.vocabulary }) else {
                throw wrong("ids beyond the vocabulary", "ids below \(spec.vocabulary)")
            }
            if let limit = spec.positionLimit, tokens.count > limit {
                throw wrong("a sequence of \(tokens.count) tokens", "at most the model's \(limit) positions")
            }
        }
    }
}
