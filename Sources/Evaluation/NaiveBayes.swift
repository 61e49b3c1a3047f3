import Glibc
import StrictJSON

/// Multinomial naive Bayes on words and character 4-grams: a baseline that needs no language model.
///
/// Words are runs of letters and digits in lower case; the 4-grams run over the words with one space between and around
/// them. Features that training never met are passed over.
package struct NaiveBayes: Sendable {
    /// The labels in the order of their bytes.
    package let labels: [String]
    /// For every label the logarithm of its share of the rows.
    private let priors: [Double]
    /// For every label the logarithm of the smoothed probability of a feature that it never met.
    private let unseen: [Double]
    private let features: [UInt64: Int32]
    /// For every feature the place of its first entry; one more at the end.
    private let starts: [Int32]
    private let entryLabels: [Int32]
    /// For every label that met the feature, by how much that raises the logarithm of its probability.
    private let entryGains: [Double]

    /// - Parameters:
    ///   - rows: at least one.
    ///   - smoothing: the count that every feature has in every label before training, more than 0.
    package init(_ rows: [(text: String, label: String)], smoothing: Double = 0.05) {
        precondition(!rows.isEmpty && smoothing > 0, "\(rows.count) rows, smoothing \(smoothing)")
        let names = Set(rows.map { BytewiseString($0.label) }).map(\.text)
        labels = names.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) }
        let places = Dictionary(uniqueKeysWithValues: labels.enumerated().map { (BytewiseString($1), $0) })
        var features: [UInt64: Int32] = [:]
        var counts: [UInt64: Int32] = [:]
        var rowCounts = [Int](repeating: 0, count: labels.count)
        var totals = [Double](repeating: 0, count: labels.count)
        for row in rows {
            guard let label = places[BytewiseString(row.label)] else { continue }
            rowCounts[label] += 1
            forEachFeature(of: row.text) { hash in
                let next = Int32(features.count)
                let feature = features[hash] ?? next
                if feature == next { features[hash] = next }
                counts[UInt64(feature) << 32 | UInt64(label), default: 0] += 1
                totals[label] += 1
            }
        }
        let size = Double(features.count)
        priors = rowCounts.map { log(Double($0) / Double(rows.count)) }
        unseen = totals.map { log(smoothing) - log($0 + smoothing * max(size, 1)) }
        // Sorted keys lie feature by feature, and within one label by label.
        let sorted = counts.sorted { $0.key < $1.key }
        var starts = [Int32](repeating: 0, count: features.count + 1)
        for (key, _) in sorted { starts[Int(key >> 32) + 1] += 1 }
        for index in 1..<starts.count { starts[index] += starts[index - 1] }
        self.features = features
        self.starts = starts
        entryLabels = sorted.map { Int32(truncatingIfNeeded: $0.key) }
        entryGains = sorted.map { log((Double($0.value) + smoothing) / smoothing) }
    }

    /// The most probable label; of equals the first in byte order.
    package func label(for text: String) -> String {
        let scores = scores(for: text)
        return labels[scores.indices.max { scores[$0] < scores[$1] || (scores[$0] == scores[$1] && $0 > $1) } ?? 0]
    }

    /// For every label the logarithm of the joint probability of label and text.
    package func scores(for text: String) -> [Double] {
        var scores = priors
        var known = 0.0
        forEachFeature(of: text) { hash in
            guard let feature = features[hash].map(Int.init) else { return }
            known += 1
            for entry in Int(starts[feature])..<Int(starts[feature + 1]) {
                scores[Int(entryLabels[entry])] += entryGains[entry]
            }
        }
        for label in scores.indices { scores[label] += known * unseen[label] }
        return scores
    }
}

/// Calls `body` with a 64-bit digest (FNV-1a) of every feature of `text`; words and 4-grams never share one.
private func forEachFeature(of text: String, _ body: (UInt64) -> Void) {
    var window: (UInt32, UInt32, UInt32, UInt32) = (0, 0, 0, 0)
    var filled = 0
    func push(_ scalar: UInt32) {
        window = (window.1, window.2, window.3, scalar)
        filled += 1
        guard filled >= 4 else { return }
        body(digest(digest(digest(digest(gramSeed, window.0), window.1), window.2), window.3))
    }
    var word = wordSeed
    var isInWord = false
    func endWord() {
        guard isInWord else { return }
        body(word)
        word = wordSeed
        isInWord = false
    }
    for scalar in text.unicodeScalars {
        guard isWordScalar(scalar) else {
            endWord()
            continue
        }
        if !isInWord { push(0x20) }
        isInWord = true
        if scalar.isASCII {
            let lower = (0x41...0x5A).contains(scalar.value) ? scalar.value + 0x20 : scalar.value
            word = digest(word, lower)
            push(lower)
        } else {
            for lower in scalar.properties.lowercaseMapping.unicodeScalars {
                word = digest(word, lower.value)
                push(lower.value)
            }
        }
    }
    endWord()
    if filled > 0 { push(0x20) }
    // A text too short for a window still is a feature.
    if (1...3).contains(filled) { body(digest(digest(digest(gramSeed, window.1), window.2), window.3)) }
}

private let wordSeed: UInt64 = 0xCBF2_9CE4_8422_2325
private let gramSeed: UInt64 = 0x9E37_79B9_7F4A_7C15

private func digest(_ value: UInt64, _ scalar: UInt32) -> UInt64 {
    // One round of FNV-1a on the scalar as a whole, then a shift so that high bits reach low ones.
    let mixed = (value ^ UInt64(scalar)) &* 0x100_0000_01B3
    return mixed ^ mixed >> 29
}

private func isWordScalar(_ scalar: Unicode.Scalar) -> Bool {
    if scalar.isASCII {
        return (0x30...0x39).contains(scalar.value) || (0x61...0x7A).contains(scalar.value | 0x20) || scalar == "_"
    }
    return scalar.properties.isAlphabetic || scalar.properties.numericType != nil
}
