package import Autograd
package import Batches
package import Diagnostics

/// Records that passed the filter, as conversations, with the account so far.
package struct ConversationSet: Sendable {
    /// A conversation and the index of the file that it comes from.
    package var conversations: [(source: Int, conversation: Conversation)]
    package var ledger: Ledger

    /// Reads every file, in order, through filter and mapping.
    ///
    /// - Parameter requiringEveryValue: whether a value of a condition that no record has is an error.
    /// - Throws: the first error of a file or record; `DataCode.label` for a value that no record has, `.empty` if no
    ///   record is left.
    package init(
        files: [RecordFile], mapping: RecordMapping, filter: RecordFilter = .all, requiringEveryValue: Bool = false
    ) throws(Diagnostic) {
        var state = FilterState(filter)
        let drawn = try Self.drawnOrdinals(files, filter)
        var ledger = Ledger()
        var result: [(source: Int, conversation: Conversation)] = []
        var ordinal = 0
        for (index, file) in files.enumerated() {
            var source = Ledger.Source(name: file.name)
            try file.forEachRecord { (record) throws(Diagnostic) in
                source.records += 1
                guard try state.admits(record) else {
                    source.dropped[.filtered, default: 0] += 1
                    return
                }
                guard try filter.split?.admits(record) ?? true else {
                    source.dropped[.otherPart, default: 0] += 1
                    return
                }
                defer { ordinal += 1 }
                if drawn?.contains(ordinal) == false {
                    source.dropped[.notSampled, default: 0] += 1
                } else if let limit = filter.limit, result.count >= limit {
                    source.dropped[.overLimit, default: 0] += 1
                } else {
                    result.append((index, try mapping.conversation(for: record)))
                }
            }
            ledger.sources.append(source)
        }
        conversations = result
        self.ledger = ledger
        try check(state, requiringEveryValue, files.first?.name)
    }

    /// Which of the records that meet the conditions are drawn; nil for all of them.
    private static func drawnOrdinals(_ files: [RecordFile], _ filter: RecordFilter) throws(Diagnostic) -> Set<Int>? {
        guard let sample = filter.sample else { return nil }
        var state = FilterState(filter)
        var total = 0
        for file in files {
            try file.forEachRecord { (record) throws(Diagnostic) in
                if try state.admits(record), try filter.split?.admits(record) ?? true { total += 1 }
            }
        }
        return sampledOrdinals(sample, of: total, seed: filter.seed)
    }

    private func check(_ state: FilterState, _ requiringEveryValue: Bool, _ name: String?) throws(Diagnostic) {
        if let (field, values) = state.unmet.first, requiringEveryValue || conversations.isEmpty {
            throw Diagnostic(
                DataCode.label, file: name, at: "key \"\(field)\"",
                found: "no record with the value \"\(values[0])\"", expected: "at least one for every value",
                fix: "Correct or remove the value under data.where")
        }
        guard !conversations.isEmpty else {
            throw Diagnostic(
                DataCode.empty, file: name, found: "no record that passes the filter", expected: "at least one",
                fix: "Widen data.where, data.sample or the limit")
        }
    }

    /// The indices of the conversations that ask what one of `training` asks, but for case, spaces and punctuation.
    package func shared(with training: ConversationSet) -> Set<Int> {
        let known = Set(training.conversations.map(\.conversation.promptFingerprint))
        return Set(conversations.indices.filter { known.contains(conversations[$0].conversation.promptFingerprint) })
    }

    /// Leaves conversations out, and counts them.
    package mutating func drop(_ indices: Set<Int>, for reason: Ledger.DropReason) {
        for index in indices { ledger.sources[conversations[index].source].dropped[reason, default: 0] += 1 }
        conversations = conversations.indices.filter { !indices.contains($0) }.map { conversations[$0] }
    }
}

/// Examples ready to be packed, with the account of how they came about.
package struct Dataset: Sendable {
    package var examples: [Example]
    package var ledger: Ledger
    /// How many examples a row of training has: 2 where it is a pair, the preferred one first.
    package let examplesPerRow: Int

    package var rowCount: Int { examples.count / examplesPerRow }

    package func examples(ofRow row: Int) -> ArraySlice<Example> {
        examples[row * examplesPerRow..<(row + 1) * examplesPerRow]
    }

    /// Encodes every conversation; those too long (where the policy is to drop) or without a token to learn are left out
    /// and counted.
    ///
    /// - Parameter threads: share the work; nil for the caller's alone. The result is the same.
    /// - Throws: the first error of a record, with its file, and what `Ledger.check()` throws.
    package init(
        _ set: ConversationSet, encoder: ExampleEncoder, threads: ThreadPool? = nil
    ) throws(Diagnostic) {
        var ledger = set.ledger
        var examples: [Example] = []
        var seen: Set<UInt64> = []
        let outcomes = encoder.encodeAll(set.conversations.map(\.conversation), threads: threads)
        for ((source, _), outcome) in zip(set.conversations, outcomes) {
            let encoded: EncodedRecord?
            do throws(Diagnostic) {
                encoded = try outcome.get()
            } catch {
                throw error.inFile(ledger.sources[source].name)
            }
            guard let encoded else {
                ledger.sources[source].dropped[.tooLong, default: 0] += 1
                continue
            }
            guard encoded.example.targetCount > 0 else {
                ledger.sources[source].dropped[.nothingSupervised, default: 0] += 1
                continue
            }
            ledger.add(encoded, source: source)
            var fingerprint = Fingerprint()
            fingerprint.add(encoded.example.tokens)
            if !seen.insert(fingerprint.value).inserted { ledger.duplicates += 1 }
            examples.append(encoded.example)
        }
        try ledger.check()
        self.examples = examples
        self.ledger = ledger
        examplesPerRow = 1
    }

    /// Encodes pairs: of each record what is preferred, and what it is preferred to. Where one of them is too long or has
    /// nothing to learn, the pair is left out.
    ///
    /// - Parameters:
    ///   - chosen, rejected: of the same records in the same order.
    /// - Throws: as for records, and `DataCode.value` for a pair of equal completions.
    package init(
        chosen: ConversationSet, rejected: ConversationSet, encoder: ExampleEncoder, threads: ThreadPool? = nil
    ) throws(Diagnostic) {
        var ledger = chosen.ledger
        var examples: [Example] = []
        let sides = [chosen, rejected].map { encoder.encodeAll($0.conversations.map(\.conversation), threads: threads) }
        for (index, (source, conversation)) in chosen.conversations.enumerated() {
            var pair: [EncodedRecord?] = []
            do throws(Diagnostic) {
                for side in sides { pair.append(try side[index].get()) }
            } catch { throw error.inFile(ledger.sources[source].name) }
            guard let first = pair[0], let second = pair[1] else {
                ledger.sources[source].dropped[.tooLong, default: 0] += 1
                continue
            }
            guard first.example.targetCount > 0, second.example.targetCount > 0 else {
                ledger.sources[source].dropped[.nothingSupervised, default: 0] += 1
                continue
            }
            guard first.example.tokens != second.example.tokens else {
                throw Diagnostic(
                    DataCode.value, file: ledger.sources[source].name, at: "line \(conversation.line)",
                    found: "a pair whose two completions are the same", expected: "two that differ",
                    fix: "Leave the record out")
            }
            for record in [first, second] {
                ledger.add(record, source: source)
                examples.append(record.example)
            }
        }
        ledger.pairs = examples.count / 2
        try ledger.check()
        self.examples = examples
        self.ledger = ledger
        examplesPerRow = 2
    }

    /// Encodes completions that are each desirable or not: of each record the completion, and the prompt with the
    /// completion of the next record, by which KTO measures how far a model has gone.
    ///
    /// - Parameter set: records of which none is too long.
    /// - Throws: as for records; `DataCode.empty` for a single record.
    package init(
        unpaired set: ConversationSet, encoder: ExampleEncoder, threads: ThreadPool? = nil
    ) throws(Diagnostic) {
        let conversations = set.conversations.map(\.conversation)
        guard conversations.count > 1 else {
            throw Diagnostic(
                DataCode.empty, file: set.ledger.sources.first?.name, found: "one record", expected: "at least two",
                fix: "Add records of which the model can learn a difference")
        }
        let mismatched = conversations.indices.map { index in
            let other = conversations[(index + 1) % conversations.count]
            return Conversation(
                messages: conversations[index].prompt.messages + other.messages.suffix(1),
                tools: conversations[index].tools, line: conversations[index].line)
        }
        let whole = try Dataset(set, encoder: encoder, threads: threads)
        guard whole.rowCount == conversations.count else {
            throw Diagnostic(
                DataCode.tooLong, file: set.ledger.sources.first?.name,
                found: "\(conversations.count - whole.rowCount) records that are too long or have nothing to learn",
                expected: "none", fix: "Raise train.max_length, or leave these records out of the file")
        }
        var examples: [Example] = []
        let others = encoder.encodeAll(mismatched, threads: threads)
        for (index, example) in whole.examples.enumerated() {
            do throws(Diagnostic) {
                // What does not fit beside this prompt stands in for itself.
                examples += [example, try others[index].get()?.example ?? example]
            } catch {
                guard error.code as? DataCode == .tooLong else { throw error }
                examples += [example, example]
            }
        }
        (self.examples, ledger, examplesPerRow) = (examples, whole.ledger, 2)
    }

    /// The tokens of every row, as packing wants them.
    package var lengths: [Int] {
        (0..<rowCount).map { row in examples(ofRow: row).reduce(0) { $0 + $1.tokens.count } }
    }
}

extension Ledger {
    mutating func add(_ record: EncodedRecord, source: Int) {
        let count = record.example.tokens.count
        sources[source].rows += 1
        sources[source].tokens += count
        sources[source].supervisedTokens += record.example.targetCount
        if record.isTruncated { sources[source].truncated += 1 }
        if record.learnsToStop { rowsThatLearnToStop += 1 }
        if record.startTokens > 0 { rowsWithStart += 1 }
        if record.startTokens > 1 { rowsWithDoubleStart += 1 }
        lengths.append(count)
    }
}
