/// Finds a key among an object's keys: by comparison while they are few, by a hash table from then on.
struct KeyIndex: Sendable {
    /// Hash in the upper half, position plus one in the lower; 0 where the slot is free. Empty for few keys.
    private var slots: [UInt64] = []

    private static let fewKeys = 8

    func position(of key: String, in keys: [String]) -> Int? {
        if slots.isEmpty { return keys.firstIndex { Self.areSame($0, key) } }
        let hash = Self.hash(key)
        let mask = slots.count - 1
        var slot = Int(hash) & mask
        while slots[slot] != 0 {
            let entry = slots[slot]
            let position = Int(UInt32(truncatingIfNeeded: entry)) - 1
            if entry >> 32 == UInt64(hash), Self.areSame(keys[position], key) { return position }
            slot = (slot + 1) & mask
        }
        return nil
    }

    /// Takes note of the last of the first `count` keys.
    mutating func add(_ keys: [String], count: Int) {
        if count <= Self.fewKeys { return }
        if slots.isEmpty {
            slots = Array(repeating: 0, count: 32)
            for position in 0..<count { place(Self.hash(keys[position]), position) }
            return
        }
        if count * 2 > slots.count { grow() }
        place(Self.hash(keys[count - 1]), count - 1)
    }

    private mutating func place(_ hash: UInt32, _ position: Int) { place(UInt64(hash) << 32 | UInt64(position + 1)) }

    private mutating func place(_ entry: UInt64) {
        let mask = slots.count - 1
        var slot = Int(entry >> 32) & mask
        while slots[slot] != 0 { slot = (slot + 1) & mask }
        slots[slot] = entry
    }

    private mutating func grow() {
        let old = slots
        slots = Array(repeating: 0, count: old.count * 4)
        for entry in old where entry != 0 { place(entry) }
    }

    /// The hash is seeded anew in every process, so no document can be made to collide.
    private static func hash(_ key: String) -> UInt32 {
        var hasher = Hasher()
        var key = key
        key.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
        return UInt32(truncatingIfNeeded: hasher.finalize())
    }

    /// Whether two keys have the same bytes. Strings with the same bytes are equal, so most calls end at the count.
    @inline(__always)
    private static func areSame(_ a: String, _ b: String) -> Bool {
        a.utf8.count == b.utf8.count && a.utf8.elementsEqual(b.utf8)
    }
}
