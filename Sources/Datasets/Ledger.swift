package import Diagnostics
package import StrictJSON

/// What became of every record: the account that `preview` prints and a run's record keeps.
package struct Ledger: Sendable, Equatable {
    /// The account of one file.
    package struct Source: Sendable, Equatable {
        package var name: String
        /// Records in the file.
        package var records = 0
        /// Records that became examples.
        package var rows = 0
        package var tokens = 0
        package var supervisedTokens = 0
        package var truncated = 0
        /// Records that were left out, by reason.
        package var dropped: [DropReason: Int] = [:]

        package init(name: String) { self.name = name }
    }

    package enum DropReason: String, Sendable, CaseIterable {
        /// The filter's conditions.
        case filtered = "filtered out"
        case otherPart = "in the other part of the split"
        case leaked = "also trained on"
        case notSampled = "not drawn"
        case overLimit = "over the limit"
        case tooLong = "too long"
        case nothingSupervised = "nothing to learn"
    }

    package var sources: [Source] = []
    /// Rows that learn a token that ends the text.
    package var rowsThatLearnToStop = 0
    /// Rows that begin with the token that begins a text.
    package var rowsWithStart = 0
    /// Rows that begin with it twice.
    package var rowsWithDoubleStart = 0
    /// Rows whose tokens are those of an earlier row.
    package var duplicates = 0
    /// Pairs of rows, where rows are completions of which one is preferred to the other.
    package var pairs: Int?
    /// The number of tokens of every row, in order.
    package var lengths: [Int] = []
    /// The tokens that shared prefixes save in one epoch, once the steps are known.
    package var savedTokens: Int?
    /// Evaluation rows that ask what a training row asks, once both are known.
    package var sharedWithTraining: Int?

    package init() {}

    package var rows: Int { sources.reduce(0) { $0 + $1.rows } }
    package var tokens: Int { sources.reduce(0) { $0 + $1.tokens } }
    package var supervisedTokens: Int { sources.reduce(0) { $0 + $1.supervisedTokens } }
    package var truncated: Int { sources.reduce(0) { $0 + $1.truncated } }

    /// The rows by length, in classes that double: up to 16, 32, 64, ... tokens. Classes at both ends that are empty are
    /// left out.
    package var histogram: [(atMost: Int, rows: Int)] {
        var counts: [Int: Int] = [:]
        for length in lengths {
            var bound = 16
            while bound < length { bound *= 2 }
            counts[bound, default: 0] += 1
        }
        guard let least = counts.keys.min(), let most = counts.keys.max() else { return [] }
        return sequence(first: least) { $0 < most ? $0 * 2 : nil }.map { ($0, counts[$0] ?? 0) }
    }

    /// Refuses what would train on nothing or on a wrong beginning.
    ///
    /// - Throws: `DataCode.nothingSupervised` or `.doubleStart`.
    package func check() throws(Diagnostic) {
        let name = sources.first?.name
        guard supervisedTokens > 0 else {
            throw Diagnostic(
                DataCode.nothingSupervised, file: name, found: "\(rows) rows without a token to learn",
                expected: "tokens of the answers", fix: "Check data.completion, data.loss_on and data.max_length")
        }
        guard rowsWithDoubleStart == 0 else {
            throw Diagnostic(
                DataCode.doubleStart, file: name,
                found: "\(rowsWithDoubleStart) rows that begin with the start token twice", expected: "once",
                fix: "Take the start token out of the prompt or the template")
        }
    }
}

extension Ledger {
    package var json: JSONValue {
        let classes = histogram.map { JSONValue.object(["at_most": .integer($0.atMost), "rows": .integer($0.rows)]) }
        return .object([
            "rows": .integer(rows), "pairs": pairs.map(JSONValue.integer) ?? .null, "tokens": .integer(tokens),
            "supervised_tokens": .integer(supervisedTokens),
            "truncated": .integer(truncated), "duplicates": .integer(duplicates),
            "rows_that_learn_to_stop": .integer(rowsThatLearnToStop), "rows_with_bos": .integer(rowsWithStart),
            "rows_with_double_bos": .integer(rowsWithDoubleStart), "longest": .integer(lengths.max() ?? 0),
            "tokens_saved_by_shared_prefixes": savedTokens.map(JSONValue.integer) ?? .null,
            "rows_shared_with_training": sharedWithTraining.map(JSONValue.integer) ?? .null,
            "lengths": .array(classes), "sources": .array(sources.map(\.json)),
        ])
    }

    /// The account in lines for people.
    package var text: String {
        var lines: [String] = []
        for source in sources {
            lines.append("\(escaped(source.name)): \(source.records) records, \(source.rows) rows")
            for (reason, count) in source.orderedDrops { lines.append("  left out, \(reason.rawValue): \(count)") }
            if source.truncated > 0 { lines.append("  truncated: \(source.truncated)") }
        }
        if let pairs { lines.append("pairs of a preferred and another completion: \(pairs)") }
        let share = tokens == 0 ? 0 : Double(supervisedTokens) * 100 / Double(tokens)
        lines.append("tokens: \(tokens), learned: \(supervisedTokens) (\(tenths(share)) %)")
        lines.append("rows that learn to stop: \(rowsThatLearnToStop) of \(rows)")
        lines.append("rows with a start token: \(rowsWithStart), with two: \(rowsWithDoubleStart)")
        if duplicates > 0 { lines.append("rows that repeat an earlier row: \(duplicates)") }
        if let sharedWithTraining { lines.append("rows whose question is also trained on: \(sharedWithTraining)") }
        if let savedTokens {
            let saved = tokens == 0 ? 0 : Double(savedTokens) * 100 / Double(tokens)
            lines.append("tokens that shared prefixes save: \(savedTokens) (\(tenths(saved)) %)")
        }
        if !lengths.isEmpty {
            let classes = histogram.map { "up to \($0.atMost): \($0.rows)" }.joined(separator: ", ")
            lines.append("rows by tokens: \(classes); longest \(lengths.max() ?? 0)")
        }
        return lines.joined(separator: "\n")
    }

    /// The number with one digit after the point.
    private func tenths(_ value: Double) -> String {
        let scaled = Int((value * 10).rounded())
        return "\(scaled / 10).\(scaled % 10)"
    }
}

extension Ledger.Source {
    /// The reasons that occurred, in the order of the enumeration.
    var orderedDrops: [(Ledger.DropReason, Int)] {
        Ledger.DropReason.allCases.compactMap { reason in dropped[reason].map { (reason, $0) } }
    }

    var json: JSONValue {
        .object([
            "name": .string(name), "records": .integer(records), "rows": .integer(rows), "tokens": .integer(tokens),
            "supervised_tokens": .integer(supervisedTokens), "truncated": .integer(truncated),
            "dropped": .object(JSONObject(orderedDrops.map { ($0.0.rawValue, .integer($0.1)) })),
        ])
    }
}
