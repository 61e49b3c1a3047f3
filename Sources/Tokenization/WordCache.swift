/// The ids of words that were seen before. It forgets everything when it is full, which bounds its memory.
struct WordCache {
    private struct Entry {
        var hash: UInt64
        var key: UInt32
        var ids: UInt32
        var keyCount: UInt16
        var idCount: UInt16
    }

    /// Longer words are not worth keeping: they do not come again.
    static let longestWord = 64
    private static let capacity = 1 << 16

    private var slots = [UInt32](repeating: 0, count: 1 << 10)
    private var entries: [Entry] = []
    private var keys: [UInt8] = []
    private var ids: [Int32] = []
    private let seed = ByteHash.processSeed

    @inline(__always)
    func hash(_ word: UnsafeBufferPointer<UInt8>) -> UInt64 { ByteHash.hash(word, seed: seed) }

    /// Appends the word's ids if it is known; `hash` is the word's.
    @inline(__always)
    func append(_ word: UnsafeBufferPointer<UInt8>, hash: UInt64, to result: inout [Int32]) -> Bool {
        let mask = slots.count - 1
        var slot = Int(truncatingIfNeeded: hash) & mask
        while true {
            let index = slots[slot]
            if index == 0 { return false }
            let entry = entries[Int(index) - 1]
            if entry.hash == hash, Int(entry.keyCount) == word.count, matches(word, at: Int(entry.key)) {
                let start = Int(entry.ids)
                if entry.idCount == 1 {
                    result.append(ids[start])
                } else {
                    result.append(contentsOf: ids[start..<start + Int(entry.idCount)])
                }
                return true
            }
            slot = (slot + 1) & mask
        }
    }

    @inline(__always)
    private func matches(_ word: UnsafeBufferPointer<UInt8>, at start: Int) -> Bool {
        keys.withUnsafeBufferPointer { keys in
            for index in 0..<word.count where keys[start + index] != word[index] { return false }
            return true
        }
    }

    /// Keeps a word that is not there yet; it has at most `longestWord` bytes.
    mutating func insert(_ word: UnsafeBufferPointer<UInt8>, hash: UInt64, ids wordIDs: ArraySlice<Int32>) {
        guard wordIDs.count <= Int(UInt16.max) else { return }
        if entries.count == Self.capacity { self = WordCache() }
        if (entries.count + 1) * 2 > slots.count { grow() }
        entries.append(
            Entry(
                hash: hash, key: UInt32(keys.count), ids: UInt32(ids.count), keyCount: UInt16(word.count),
                idCount: UInt16(wordIDs.count)))
        keys.append(contentsOf: word)
        ids.append(contentsOf: wordIDs)
        place(UInt32(entries.count), hash)
    }

    private mutating func place(_ entry: UInt32, _ hash: UInt64) {
        let mask = slots.count - 1
        var slot = Int(truncatingIfNeeded: hash) & mask
        while slots[slot] != 0 { slot = (slot + 1) & mask }
        slots[slot] = entry
    }

    private mutating func grow() {
        slots = [UInt32](repeating: 0, count: slots.count * 4)
        for (index, entry) in entries.enumerated() { place(UInt32(index + 1), entry.hash) }
    }
}
