import Diagnostics
import StrictJSON

/// Which records of a data set are used.
package struct RecordFilter: Sendable, Equatable {
    /// A field and the values that it may have.
    package struct Condition: Sendable, Equatable {
        package var field: String
        package var values: [String]

        package init(field: String, values: [String]) {
            self.field = field
            self.values = values
        }
    }

    /// Records that are trained on, apart from those that are held out, by a digest: a value of the field, such as a
    /// patient's number, is wholly on one side.
    package struct Split: Sendable, Equatable {
        package enum Part: Sendable { case training, heldOut }

        /// nil: by the whole record.
        package var field: String?
        /// The share of values that is held out.
        package var share: Double
        package var part: Part
        package var seed: UInt64

        package init(field: String?, share: Double, part: Part, seed: UInt64) {
            (self.field, self.share, self.part, self.seed) = (field, share, part, seed)
        }

        /// Whether the record is in this part.
        ///
        /// - Throws: `DataCode.field` or `.value` if the record has no value of the field.
        func admits(_ record: Record) throws(Diagnostic) -> Bool {
            var digest = Fingerprint()
            if let field {
                digest.add(try record.text(of: field).utf8)
            } else {
                for (name, value) in zip(record.names, record.values) {
                    digest.add(name.utf8)
                    digest.add(value.serialized().utf8)
                }
            }
            var random = KeyedRandom(seed: seed, purpose: .split, index: digest.value)
            // The upper 53 bits: a number from 0 to 1.
            let isHeldOut = Double(random.next() >> 11) * 0x1p-53 < share
            return isHeldOut == (part == .heldOut)
        }
    }

    package var conditions: [Condition]
    package var split: Split?
    /// How many of the remaining records are drawn, evenly and always the same for a seed; nil for all of them.
    package var sample: Int?
    package var seed: UInt64
    /// How many of the records are taken from the start, after the draw; nil for all of them.
    package var limit: Int?

    package init(
        conditions: [Condition] = [], sample: Int? = nil, seed: UInt64 = 0, limit: Int? = nil, split: Split? = nil
    ) {
        self.conditions = conditions
        self.split = split
        self.sample = sample
        self.seed = seed
        self.limit = limit
    }

    package static let all = RecordFilter()
}

/// A filter at work: it remembers which values it met.
struct FilterState {
    private let conditions: [(field: String, values: Set<BytewiseString>)]
    private var met: [Set<BytewiseString>]

    init(_ filter: RecordFilter) {
        conditions = filter.conditions.map { ($0.field, Set($0.values.map(BytewiseString.init))) }
        met = Array(repeating: [], count: conditions.count)
    }

    /// Whether the record meets every condition; null meets none.
    ///
    /// - Throws: `DataCode.field` if the record lacks the field of a condition.
    mutating func admits(_ record: Record) throws(Diagnostic) -> Bool {
        var result = true
        for (index, condition) in conditions.enumerated() {
            guard let value = record[condition.field] else { throw record.missing(condition.field) }
            if value.isNull { return false }
            let text = BytewiseString(try record.text(of: condition.field))
            if condition.values.contains(text) { met[index].insert(text) } else { result = false }
        }
        return result
    }

    /// The values that no record had, by condition.
    var unmet: [(field: String, values: [String])] {
        zip(conditions, met).compactMap { condition, met in
            let missing = condition.values.subtracting(met).map(\.text)
            return missing.isEmpty ? nil : (condition.field, missing.sorted())
        }
    }
}

/// The ordinals of `count` out of `total` records: those with the smallest random keys.
func sampledOrdinals(_ count: Int, of total: Int, seed: UInt64) -> Set<Int> {
    guard count < total else { return Set(0..<total) }
    let keys = (0..<total).map { ordinal in
        var random = KeyedRandom(seed: seed, purpose: .sample, index: UInt64(ordinal))
        return (key: random.next(), ordinal: ordinal)
    }
    return Set(keys.sorted { ($0.key, $0.ordinal) < ($1.key, $1.ordinal) }.prefix(count).map(\.ordinal))
}
