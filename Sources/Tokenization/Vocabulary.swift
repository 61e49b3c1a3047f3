/// The tokens of a model: bytes to id and id to bytes. Ids may have gaps.
final class Vocabulary: @unchecked Sendable {
    // Unchecked: everything is written by init only; the pointers are freed by deinit only.
    private let bytes: [UInt8]
    /// Entry i's bytes are `bytes[starts[i]..<starts[i + 1]]`.
    private let starts: [UInt32]
    private let ids: [Int32]
    /// The entry with an id, or -1 in a gap; an index never leaves this file.
    private let entries: [Int32]
    private let slots: UnsafeMutablePointer<UInt32>
    private let mask: Int
    private let seed = ByteHash.processSeed

    /// Builds the tables of what a `Builder` collected.
    init(_ builder: consuming Builder) {
        var entries = [Int32](repeating: -1, count: Int(builder.largestID) + 1)
        for (entry, id) in builder.ids.enumerated() { entries[Int(id)] = Int32(entry) }
        self.entries = entries
        bytes = builder.bytes
        starts = builder.starts
        ids = builder.ids
        mask = builder.slots.count - 1
        slots = UnsafeMutablePointer<UInt32>.allocate(capacity: builder.slots.count)
        slots.initialize(from: builder.slots, count: builder.slots.count)
    }

    deinit { slots.deallocate() }

    /// The number of tokens, gaps not counted.
    var count: Int { ids.count }
    /// One more than the largest id.
    var idCount: Int { entries.count }

    func id(of token: UnsafeBufferPointer<UInt8>) -> Int32? {
        var slot = Int(truncatingIfNeeded: ByteHash.hash(token, seed: seed)) & mask
        while true {
            let entry = slots[slot]
            if entry == 0 { return nil }
            let index = Int(entry) - 1
            let (start, end) = (Int(starts[index]), Int(starts[index + 1]))
            if end - start == token.count, bytes.withUnsafeBufferPointer({ areEqual($0, start, token) }) {
                return ids[index]
            }
            slot = (slot + 1) & mask
        }
    }

    func id(of token: [UInt8]) -> Int32? { token.withUnsafeBufferPointer { id(of: $0) } }
    func id(of token: String) -> Int32? { id(of: Array(token.utf8)) }

    func token(_ id: Int32) -> ArraySlice<UInt8>? {
        guard id >= 0, Int(id) < entries.count, entries[Int(id)] >= 0 else { return nil }
        let entry = Int(entries[Int(id)])
        return bytes[Int(starts[entry])..<Int(starts[entry + 1])]
    }

    /// Calls `body` with every token and its id, in the order in which they were added.
    func visit(_ body: (ArraySlice<UInt8>, Int32) -> Void) {
        for entry in ids.indices { body(bytes[Int(starts[entry])..<Int(starts[entry + 1])], ids[entry]) }
    }
}

extension Vocabulary {
    /// Collects tokens; the caller checks ids against `TokenizerLimit.tokenID` beforehand.
    struct Builder {
        fileprivate var bytes: [UInt8] = []
        fileprivate var starts: [UInt32] = [0]
        fileprivate var ids: [Int32] = []
        fileprivate var slots: [UInt32]
        fileprivate var largestID: Int32 = -1
        private var takenIDs: [Bool] = []
        private let seed = ByteHash.processSeed

        /// - Parameter capacity: how many tokens are expected.
        init(capacity: Int) {
            var size = 16
            while size < capacity * 2 { size *= 2 }
            slots = [UInt32](repeating: 0, count: size)
            starts.reserveCapacity(capacity + 1)
            ids.reserveCapacity(capacity)
            bytes.reserveCapacity(capacity * 8)
        }

        enum Outcome { case added, tokenTaken, idTaken }

        /// Adds a token if neither it nor its id is there.
        mutating func add(_ token: UnsafeBufferPointer<UInt8>, id: Int32) -> Outcome {
            if (ids.count + 1) * 2 > slots.count { grow() }
            let (slot, found) = place(token)
            if found { return .tokenTaken }
            guard claim(id) else { return .idTaken }
            bytes.append(contentsOf: token)
            starts.append(UInt32(bytes.count))
            ids.append(id)
            slots[slot] = UInt32(ids.count)
            largestID = max(largestID, id)
            return .added
        }

        consuming func build() -> Vocabulary { Vocabulary(self) }

        private mutating func claim(_ id: Int32) -> Bool {
            let index = Int(id)
            if index >= takenIDs.count {
                takenIDs.append(
                    contentsOf: repeatElement(false, count: max(index + 1, takenIDs.count * 2) - takenIDs.count))
            }
            if takenIDs[index] { return false }
            takenIDs[index] = true
            return true
        }

        private func place(_ token: UnsafeBufferPointer<UInt8>) -> (slot: Int, found: Bool) {
            let mask = slots.count - 1
            var slot = Int(truncatingIfNeeded: ByteHash.hash(token, seed: seed)) & mask
            while slots[slot] != 0 {
                let index = Int(slots[slot]) - 1
                let (start, end) = (Int(starts[index]), Int(starts[index + 1]))
                if end - start == token.count, bytes.withUnsafeBufferPointer({ areEqual($0, start, token) }) {
                    return (slot, true)
                }
                slot = (slot + 1) & mask
            }
            return (slot, false)
        }

        private mutating func grow() {
            let count = slots.count * 2
            slots = [UInt32](repeating: 0, count: count)
            bytes.withUnsafeBufferPointer { bytes in
                for entry in ids.indices {
                    let token = UnsafeBufferPointer(rebasing: bytes[Int(starts[entry])..<Int(starts[entry + 1])])
                    var slot = Int(truncatingIfNeeded: ByteHash.hash(token, seed: seed)) & (count - 1)
                    while slots[slot] != 0 { slot = (slot + 1) & (count - 1) }
                    slots[slot] = UInt32(entry + 1)
                }
            }
        }
    }
}

@inline(__always)
private func areEqual(_ bytes: UnsafeBufferPointer<UInt8>, _ start: Int, _ token: UnsafeBufferPointer<UInt8>) -> Bool {
    for index in 0..<token.count where bytes[start + index] != token[index] { return false }
    return true
}
