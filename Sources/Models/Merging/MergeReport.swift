package import Autograd
package import StrictJSON

/// What merging did, and what it lost.
package struct MergeReport {
    package let path: String
    /// Parameters whose values are not the base's.
    package let changed: Int
    /// What rounding to the stored type lost of the update: the length of the one over that of the other.
    package let roundingShare: Double?
    /// The parameter that lost the largest share.
    package let worst: (path: String, share: Double)?
    package let logits: LogitDifference?

    /// The scores of the merged model beside those of base and adapter, on 32 tokens from all over the vocabulary.
    package struct LogitDifference {
        /// The largest difference.
        package let largest: Double
        /// The largest difference that the adapter makes.
        package let adapterLargest: Double
        /// Tokens after which both models have the same best next one.
        package let agreeing: Int
        package let count: Int

        /// All [T, V].
        init(base: Tensor, adapted: Tensor, merged: Tensor) {
            let (rows, width) = (adapted.shape[0], adapted.shape[1])
            let (base, adapted, merged) = (base.elements, adapted.elements, merged.elements)
            func largest(_ a: [Float], _ b: [Float]) -> Double {
                zip(a, b).reduce(0) { max($0, Double(abs($1.0 - $1.1))) }
            }
            func best(_ scores: [Float], _ row: Int) -> Int {
                let range = row * width..<(row + 1) * width
                return range.max { scores[$0] < scores[$1] } ?? 0
            }
            self.largest = largest(adapted, merged)
            adapterLargest = largest(base, adapted)
            agreeing = (0..<rows).count { best(adapted, $0) == best(merged, $0) }
            count = rows
        }
    }

    package var json: JSONValue {
        var object: JSONObject = [
            "path": .string(path), "changed_parameters": .integer(changed),
            "rounding_share": roundingShare.map(JSONValue.number) ?? .null,
        ]
        if let worst {
            object["worst"] = .object(["parameter": .string(worst.path), "rounding_share": .number(worst.share)])
        }
        if let logits {
            object["logits"] = .object([
                "largest_difference": .number(logits.largest),
                "largest_change_by_adapter": .number(logits.adapterLargest), "same_best": .integer(logits.agreeing),
                "tokens": .integer(logits.count),
            ])
        }
        return .object(object)
    }
}
