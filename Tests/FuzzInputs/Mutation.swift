package import TestSupport

extension [UInt8] {
    /// The bytes with one to three changes in the first `head`: bits, bytes, pieces left out or doubled, an early end,
    /// another number in a text.
    package func mutated(head: Int, _ random: inout SplitMix) -> [UInt8] {
        var mutant = self
        for _ in 0..<Int.random(in: 1...3, using: &random) where !mutant.isEmpty {
            let place = Int.random(in: 0..<Swift.min(head, mutant.count), using: &random)
            switch Int.random(in: 0..<8, using: &random) {
            case 0: mutant[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            case 1: mutant[place] = UInt8.random(in: 0...255, using: &random)
            case 2: mutant[place] = [0, 0xFF, 0x7F, 0x80, 0x22, 0x7B, 0x5D].randomElement(using: &random) ?? 0
            case 3:
                mutant.removeSubrange(place..<Swift.min(mutant.count, place + Int.random(in: 1...9, using: &random)))
            case 4: mutant.insert(contentsOf: mutant[place..<Swift.min(mutant.count, place + 40)], at: place)
            case 5: mutant.removeSubrange(place...)
            default:
                // A number of the text becomes another, or something that is none.
                guard let start = mutant[place...].firstIndex(where: { (0x30...0x39).contains($0) }) else { continue }
                let end = mutant[start...].firstIndex { !(0x30...0x39).contains($0) } ?? mutant.count
                mutant.replaceSubrange(start..<end, with: (numbers.randomElement(using: &random) ?? "0").utf8)
            }
        }
        return mutant
    }
}

private let numbers = [
    "0", "-1", "1", "2", "3", "7", "65536", "2147483647", "2147483648", "4294967296", "9223372036854775807", "1e30",
    "1e-30", "0.5", "1e999", "null", "true", "\"x\"", "[]", "{}",
]
