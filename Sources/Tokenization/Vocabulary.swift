/// The tokens of a model: bytes to id and id to bytes. Ids may have gaps.
final class Vocabulary: Sendable {
    private let table: TokenTable
    /// The entry with an id, or -1 in a gap; an index never leaves this file.
    private let entries: [Int32]

    /// The tokens that a `Builder` collected.
    init(_ builder: consuming Builder) {
        table = builder.table
        var entries = [Int32](repeating: -1, count: Int(builder.largestID) + 1)
        for (entry, id) in table.ids.enumerated() { entries[Int(id)] = Int32(entry) }
        self.entries = entries
    }

    /// The number of tokens, gaps not counted.
    var count: Int { table.ids.count }
    /// One more than the largest id.
    var idCount: Int { entries.count }

    func id(of token: UnsafeBufferPointer<UInt8>) -> Int32? {
        table.find(token).entry.map { table.ids[$0] }
    }

    func id(of token: [UInt8]) -> Int32? { token.withUnsafeBufferPointer { id(of: $0) } }
    func id(of token: String) -> Int32? { id(of: Array(token.utf8)) }

    func token(_ id: Int32) -> ArraySlice<UInt8>? {
        guard id >= 0, Int(id) < entries.count, entries[Int(id)] >= 0 else { return nil }
        return table.token(Int(entries[Int(id)]))
    }

    /// Calls `body` with every token and its id, in the order in which they were added.
    func visit(_ body: (ArraySlice<UInt8>, Int32) -> Void) {
        for entry in table.ids.indices { body(table.token(entry), table.ids[entry]) }
    }
}

extension Vocabulary {
    /// Collects tokens; the caller checks ids against `TokenizerLimit.tokenID` beforehand.
    struct Builder {
        fileprivate var table: TokenTable
        fileprivate var largestID: Int32 = -1
        private var takenIDs: [Bool] = []

        /// - Parameter capacity: how many tokens are expected.
        init(capacity: Int) { table = TokenTable(capacity: capacity) }

        enum Outcome { case added, tokenTaken, idTaken }

        /// Adds a token if neither it nor its id is there.
        mutating func add(_ token: UnsafeBufferPointer<UInt8>, id: Int32) -> Outcome {
            table.makeRoom()
            let place = table.find(token)
            if place.entry != nil { return .tokenTaken }
            guard claim(id) else { return .idTaken }
            table.append(token, id: id, place)
            largestID = max(largestID, id)
            return .added
        }

        consuming func build() -> Vocabulary { Vocabulary(self) }

        private mutating func claim(_ id: Int32) -> Bool {
            let index = Int(id)
            if index >= takenIDs.count {
                let count = max(index + 1, takenIDs.count * 2)
                takenIDs.append(contentsOf: repeatElement(false, count: count - takenIDs.count))
            }
            if takenIDs[index] { return false }
            takenIDs[index] = true
            return true
        }
    }
}

/// Byte strings one behind the other, with an id each, and a hash table over them.
private struct TokenTable: Sendable {
    private(set) var ids: [Int32] = []
    private var bytes: [UInt8] = []
    /// Entry i's bytes are `bytes[starts[i]..<starts[i + 1]]`.
    private var starts: [UInt32] = [0]
    /// The hash's upper half, then the entry plus one; 0 where the slot is free.
    private var slots: [UInt64]
    private let seed = ByteHash.processSeed

    struct Place {
        var entry: Int?
        fileprivate var slot: Int
        fileprivate var tag: UInt64
    }

    init(capacity: Int) {
        var size = 16
        while size < capacity * 2 { size *= 2 }
        slots = [UInt64](repeating: 0, count: size)
        starts.reserveCapacity(capacity + 1)
        ids.reserveCapacity(capacity)
        bytes.reserveCapacity(capacity * 8)
    }

    func token(_ entry: Int) -> ArraySlice<UInt8> { bytes[Int(starts[entry])..<Int(starts[entry + 1])] }

    /// Where a token is, or where it would go.
    @inline(__always)
    func find(_ token: UnsafeBufferPointer<UInt8>) -> Place {
        let hash = ByteHash.hash(token, seed: seed)
        let tag = hash & ~0xFFFF_FFFF
        return slots.withUnsafeBufferPointer { slots in
            let mask = slots.count - 1
            var slot = Int(truncatingIfNeeded: hash) & mask
            while true {
                let found = slots[slot]
                if found == 0 { return Place(entry: nil, slot: slot, tag: tag) }
                let entry = Int(UInt32(truncatingIfNeeded: found)) - 1
                if found & ~0xFFFF_FFFF == tag, isSame(entry, token) {
                    return Place(entry: entry, slot: slot, tag: tag)
                }
                slot = (slot + 1) & mask
            }
        }
    }

    @inline(__always)
    private func isSame(_ entry: Int, _ token: UnsafeBufferPointer<UInt8>) -> Bool {
        let start = Int(starts[entry])
        guard Int(starts[entry + 1]) - start == token.count else { return false }
        return bytes.withUnsafeBufferPointer { bytes in
            for index in 0..<token.count where bytes[start + index] != token[index] { return false }
            return true
        }
    }

    /// Makes sure that a slot is free; places found before are void.
    mutating func makeRoom() {
        guard (ids.count + 1) * 2 > slots.count else { return }
        // The slots keep only half of each hash, so it is computed anew.
        slots = [UInt64](repeating: 0, count: slots.count * 2)
        for entry in ids.indices {
            let place = token(entry).withUnsafeBufferPointer { find($0) }
            slots[place.slot] = place.tag | UInt64(entry + 1)
        }
    }

    /// Adds a token that `find` did not find, at the place that it gave.
    mutating func append(_ token: UnsafeBufferPointer<UInt8>, id: Int32, _ place: Place) {
        bytes.append(contentsOf: token)
        starts.append(UInt32(bytes.count))
        ids.append(id)
        slots[place.slot] = place.tag | UInt64(ids.count)
    }
}
