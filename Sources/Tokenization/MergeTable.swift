/// Pairs of ids to the rank of their merge and the id that it makes.
final class MergeTable: @unchecked Sendable {
    // Unchecked: everything is written by init only; the pointers are freed by deinit only.

    /// A merge in one word: the rank in the upper half, so that the smaller value is the earlier merge.
    struct Merge {
        let bits: UInt64
        static let none = Merge(bits: .max)

        init(bits: UInt64) { self.bits = bits }
        init(rank: UInt32, id: Int32) { bits = UInt64(rank) << 32 | UInt64(UInt32(bitPattern: id)) }

        var rank: UInt32 { UInt32(truncatingIfNeeded: bits >> 32) }
        var id: Int32 { Int32(truncatingIfNeeded: bits) }
        var exists: Bool { bits != .max }
    }

    private let keys: UnsafeMutablePointer<UInt64>
    private let merges: UnsafeMutablePointer<UInt64>
    private let mask: Int
    private(set) var count = 0

    /// - Parameter capacity: the largest number of pairs that will be added.
    init(capacity: Int) {
        var size = 16
        while size < capacity * 2 { size *= 2 }
        mask = size - 1
        keys = .allocate(capacity: size)
        keys.initialize(repeating: .max, count: size)
        merges = .allocate(capacity: size)
        merges.initialize(repeating: .max, count: size)
    }

    deinit {
        keys.deallocate()
        merges.deallocate()
    }

    /// Called by whoever builds the table, before it is shared. A pair that comes again takes the later rank.
    func add(_ left: Int32, _ right: Int32, _ merge: Merge) {
        let key = Self.key(left, right)
        var slot = Self.slot(key, mask)
        while keys[slot] != .max, keys[slot] != key { slot = (slot + 1) & mask }
        if keys[slot] == .max { count += 1 }
        keys[slot] = key
        merges[slot] = merge.bits
    }

    @inline(__always)
    func merge(_ left: Int32, _ right: Int32) -> Merge {
        let key = Self.key(left, right)
        var slot = Self.slot(key, mask)
        while true {
            let found = keys[slot]
            if found == key { return Merge(bits: merges[slot]) }
            if found == .max { return .none }
            slot = (slot + 1) & mask
        }
    }

    @inline(__always)
    private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }

    @inline(__always)
    private static func slot(_ key: UInt64, _ mask: Int) -> Int {
        Int(truncatingIfNeeded: ByteHash.mix(key)) & mask
    }
}
