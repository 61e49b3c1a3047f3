import Diagnostics

/// SentencePiece's compiled character map: a double-array trie of source strings and a blob of their replacements.
///
/// Every node that can be reached is checked when the map is read, so that no look-up leaves the arrays.
struct CharacterMap: Sendable {
    private let units: [UInt32]
    private let replacements: [UInt8]

    /// - Parameter blob: four bytes with the trie's size, the trie, and the replacements, each ended by a zero.
    /// - Throws: `TokenizerCode.characterMap` if the trie leads out of itself or out of the blob.
    init(_ blob: [UInt8]) throws(Diagnostic) {
        func word(_ offset: Int) -> UInt32 {
            UInt32(blob[offset]) | UInt32(blob[offset + 1]) << 8 | UInt32(blob[offset + 2]) << 16
                | UInt32(blob[offset + 3]) << 24
        }
        guard blob.count >= 8 else { throw Self.broken("\(blob.count) bytes", expected: "a trie") }
        let size = Int(word(0))
        guard size.isMultiple(of: 4), size >= 4, size <= blob.count - 4 else {
            throw Self.broken("a trie of \(size) bytes", expected: "a multiple of 4 up to \(blob.count - 4)")
        }
        units = (0..<size / 4).map { word(4 + $0 * 4) }
        replacements = Array(blob[(4 + size)...])
        guard String(validating: replacements, as: UTF8.self) != nil else {
            throw Self.broken("replacements that are not UTF-8", expected: "UTF-8")
        }
        try walk()
    }

    /// The replacement of the shortest source string that begins `text`.
    func replacement(of text: some Sequence<UInt8>) -> ArraySlice<UInt8>? {
        var position = Self.offset(units[0])
        for byte in text {
            if byte == 0 { return nil }
            position ^= Int(byte)
            let unit = units[position]
            guard Self.label(unit) == UInt32(byte) else { return nil }
            position ^= Self.offset(unit)
            if Self.hasLeaf(unit) {
                let start = Int(units[position] & 0x7FFF_FFFF)
                return replacements[start...].prefix { $0 != 0 }
            }
        }
        return nil
    }

    private static func offset(_ unit: UInt32) -> Int { Int((unit >> 10) << ((unit & 1 << 9) >> 6)) }
    private static func label(_ unit: UInt32) -> UInt32 { unit & (1 << 31 | 0xFF) }
    private static func hasLeaf(_ unit: UInt32) -> Bool { unit >> 8 & 1 == 1 }

    private enum Mark { case unseen, open, done }

    /// Refuses what the SentencePiece library would follow out of the map: it believes that no more than so many sources
    /// begin one another, that a zero in the text leads nowhere, and that the last replacement ends in a zero.
    func checkForLibrary(nestedSources: Int) throws(Diagnostic) {
        let deepest = try walk { base throws(Diagnostic) in
            let unit = units[base]
            guard unit == 0 || Self.label(unit) != 0 else {
                throw Self.broken("a trie node that a zero leads to", expected: "none")
            }
        }
        guard deepest <= nestedSources else {
            throw Self.broken("\(deepest) sources that begin one another", expected: "at most \(nestedSources)")
        }
        guard replacements.isEmpty || replacements.last == 0 else {
            throw Self.broken("a replacement without an end", expected: "a zero behind each")
        }
    }

    /// Walks all that can be reached and returns the largest number of sources on one path. Nodes may be shared, so each
    /// is entered once; none may lead back to itself.
    @discardableResult
    private func walk(_ visit: (Int) throws(Diagnostic) -> Void = { _ in }) throws(Diagnostic) -> Int {
        guard !Self.hasLeaf(units[0]) else { throw Self.broken("a leaf at the trie's root", expected: "none") }
        let children = UnitsByBase(units.map { $0 & 1 << 31 == 0 ? Int($0 & 0xFF) : 0 })
        var marks = [Mark](repeating: .unseen, count: units.count)
        let root = try checkedBase(Self.offset(units[0]))
        var path = [(base: root, rest: children[root], isSource: false)]
        // The most sources on a way down from each node.
        var below = [Int32](repeating: 0, count: units.count)
        marks[root] = .open
        while let (base, rest, isSource) = path.last {
            guard let child = rest.first else {
                try visit(base)
                marks[base] = .done
                path.removeLast()
                if let parent = path.last {
                    below[parent.base] = max(below[parent.base], below[base] + (isSource ? 1 : 0))
                }
                continue
            }
            path[path.count - 1].rest = rest.dropFirst()
            let unit = units[Int(child)]
            let next = try checkedBase(Int(child) ^ Self.offset(unit))
            let endsSource = Self.hasLeaf(unit)
            if endsSource { try checkReplacement(Int(units[next] & 0x7FFF_FFFF)) }
            switch marks[next] {
            case .unseen:
                marks[next] = .open
                path.append((next, children[next], endsSource))
            case .open: throw Self.broken("a trie that leads back to itself", expected: "a tree")
            case .done: below[base] = max(below[base], below[next] + (endsSource ? 1 : 0))
            }
        }
        return Int(below[root])
    }

    /// The children of a node lie at its base XOR the byte, so a base is good if its block of 256 is there.
    private func checkedBase(_ base: Int) throws(Diagnostic) -> Int {
        guard base | 0xFF < units.count else {
            throw Self.broken("a trie node at \(base)", expected: "below \(units.count)")
        }
        return base
    }

    private func checkReplacement(_ start: Int) throws(Diagnostic) {
        guard start < replacements.count, replacements[start] & 0xC0 != 0x80 else {
            throw Self.broken(
                "a replacement at \(start)", expected: "the start of a character below \(replacements.count)")
        }
    }

    private static func broken(_ found: String, expected: String) -> Diagnostic {
        Diagnostic(TokenizerCode.characterMap, found: "a compiled character map with " + found, expected: expected)
    }
}

/// The units of a double array by the base that they are children of: a unit with the label b at i belongs to i XOR b.
private struct UnitsByBase {
    private var starts: [Int32]
    private var units: [Int32]

    /// - Parameter labels: the label of each unit, 0 for those that are no children.
    init(_ labels: [Int]) {
        starts = Array(repeating: 0, count: labels.count + 1)
        units = Array(repeating: 0, count: labels.count)
        // The last block may be cut short; what would lie behind it is nobody's child.
        let bases = labels.enumerated().map { index, label in
            label != 0 && index ^ label < labels.count ? index ^ label : nil
        }
        for case let base? in bases { starts[base + 1] += 1 }
        for index in 1..<starts.count { starts[index] += starts[index - 1] }
        var next = starts
        for case (let unit, let base?) in bases.enumerated() {
            units[Int(next[base])] = Int32(unit)
            next[base] += 1
        }
    }

    subscript(base: Int) -> ArraySlice<Int32> { units[Int(starts[base])..<Int(starts[base + 1])] }
}
