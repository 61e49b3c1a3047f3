/// A set of byte strings, each with a value, that is walked byte by byte to find the longest or every prefix of a text.
struct ByteTrie: Sendable {
    /// Edges in an open-addressing table: node and byte to the child.
    private var keys: [UInt64]
    private var children: [Int32]
    private var edgeCount = 0
    /// The root's children, which most searches need only.
    private var first = [Int32](repeating: -1, count: 256)
    /// The value of each node's string, nil inside `missing`.
    private var values: [Int32] = [missing]

    private static let missing = Int32.min

    init() {
        keys = Array(repeating: .max, count: 64)
        children = Array(repeating: -1, count: 64)
    }

    var isEmpty: Bool { values.count == 1 }
    static let root: Int32 = 0

    /// Adds a string, which must not be empty; one that is there already takes the new value.
    mutating func insert(_ bytes: some Sequence<UInt8>, value: Int32) {
        var node = Self.root
        for byte in bytes {
            var next = child(of: node, byte)
            if next < 0 {
                next = Int32(values.count)
                values.append(Self.missing)
                addEdge(node, byte, next)
            }
            node = next
        }
        values[Int(node)] = value
    }

    /// The node reached from `node` by `byte`; negative if there is none.
    @inline(__always)
    func child(of node: Int32, _ byte: UInt8) -> Int32 {
        if node == Self.root { return first[Int(byte)] }
        let key = Self.key(node, byte)
        var slot = Int(truncatingIfNeeded: ByteHash.mix(key)) & (keys.count - 1)
        while true {
            let found = keys[slot]
            if found == key { return children[slot] }
            if found == .max { return -1 }
            slot = (slot + 1) & (keys.count - 1)
        }
    }

    @inline(__always)
    func value(at node: Int32) -> Int32? {
        let value = values[Int(node)]
        return value == Self.missing ? nil : value
    }

    /// The node that `bytes` leads to from the root.
    func node(for bytes: some Sequence<UInt8>) -> Int32? {
        var node = Self.root
        for byte in bytes {
            node = child(of: node, byte)
            if node < 0 { return nil }
        }
        return node
    }

    /// How many of the strings begin `bytes`, itself included.
    func prefixCount(of bytes: some Sequence<UInt8>) -> Int {
        var node = Self.root
        var count = 0
        for byte in bytes {
            node = child(of: node, byte)
            guard node >= 0 else { break }
            if value(at: node) != nil { count += 1 }
        }
        return count
    }

    /// The longest string that `text` has at `start`, and where it ends.
    @inline(__always)
    func longestMatch(_ text: UnsafeBufferPointer<UInt8>, at start: Int) -> (value: Int32, end: Int)? {
        var node = first[Int(text[start])]
        var index = start + 1
        var best: (value: Int32, end: Int)?
        while node >= 0 {
            if let value = value(at: node) { best = (value, index) }
            guard index < text.count else { break }
            node = child(of: node, text[index])
            index += 1
        }
        return best
    }

    @inline(__always)
    private static func key(_ node: Int32, _ byte: UInt8) -> UInt64 { UInt64(node) << 8 | UInt64(byte) }

    private mutating func addEdge(_ node: Int32, _ byte: UInt8, _ next: Int32) {
        if node == Self.root {
            first[Int(byte)] = next
            return
        }
        if (edgeCount + 1) * 2 > keys.count { grow() }
        place(Self.key(node, byte), next)
        edgeCount += 1
    }

    private mutating func place(_ key: UInt64, _ next: Int32) {
        var slot = Int(truncatingIfNeeded: ByteHash.mix(key)) & (keys.count - 1)
        while keys[slot] != .max { slot = (slot + 1) & (keys.count - 1) }
        keys[slot] = key
        children[slot] = next
    }

    private mutating func grow() {
        let (oldKeys, oldChildren) = (keys, children)
        keys = Array(repeating: .max, count: oldKeys.count * 2)
        children = Array(repeating: -1, count: oldKeys.count * 2)
        for (key, next) in zip(oldKeys, oldChildren) where key != .max { place(key, next) }
    }
}
