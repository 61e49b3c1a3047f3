package import Batches

extension DecoderSpec {
    /// Whether a token is rotated otherwise in a sequence of `longer` tokens than in one of `shorter`.
    package func rotationDiffers(_ shorter: Int, _ longer: Int) -> Bool {
        layers.contains { layer in
            guard let rotary = layer.rotary, rotary.dependsOnLength else { return false }
            return rotary.frequencies(length: shorter) != rotary.frequencies(length: longer)
        }
    }

    /// The examples in one row for this model.
    ///
    /// - Parameter sharingPrefixes: whether examples that begin with the same tokens compute them once; they do not
    ///   where the same token would be rotated otherwise in each, or sees what comes after it.
    package func pack(_ examples: [Example], sharingPrefixes: Bool) -> PackedBatch {
        let lengths = examples.map(\.tokens.count)
        let differs = rotationDiffers(lengths.min() ?? 0, lengths.max() ?? 0)
        return PackedBatch(examples, sharingPrefixes: sharingPrefixes && isCausal && !differs)
    }

    /// The rows of the table of learned positions for the tokens of `batch`.
    package func positionRows(of batch: PackedBatch) -> [Int32] {
        guard case .learned(let padding?) = positions else { return batch.positions }
        let padded = Int32(padding)
        var rows = [Int32](repeating: padded, count: batch.tokens.count)
        for segment in batch.segments {
            var last = padded
            for index in segment.range where batch.tokens[index] != padded {
                last += 1
                rows[index] = last
            }
        }
        return rows
    }
}
