import Foundation

/// Unicode's normalisation forms, as the reference implementation's tables have them.
enum UnicodeNormalization: String, Sendable {
    case nfc = "NFC"
    case nfd = "NFD"
    case nfkc = "NFKC"
    case nfkd = "NFKD"

    /// The Unicode version of the reference's tables: it leaves characters that came later alone.
    private static let referenceVersion = (major: 13, minor: 0)

    /// The normalised text; nil if it is normalised already, which most text is found to be without a look at tables.
    func apply(to text: UnsafeBufferPointer<UInt8>) -> [UInt8]? {
        var output: [UInt8] = []
        var isChanged = false
        var copied = 0
        var position = 0
        var previous = 0
        while position < text.count {
            let (value, end) = UTF8Text.scalar(text, at: position)
            if isInert(value) {
                previous = position
                position = end
                continue
            }
            // A mark may join the inert character before it; the run ends at the next inert one.
            let start = max(previous, copied)
            var runEnd = end
            while runEnd < text.count {
                let (value, next) = UTF8Text.scalar(text, at: runEnd)
                if isInert(value) { break }
                runEnd = next
            }
            let run = UnsafeBufferPointer(rebasing: text[start..<runEnd])
            let normalized = normalize(run)
            if !normalized.elementsEqual(run) {
                if !isChanged { output.reserveCapacity(text.count + 64) }
                isChanged = true
                output.append(contentsOf: text[copied..<start])
                output.append(contentsOf: normalized)
                copied = runEnd
            }
            position = runEnd
            previous = runEnd
        }
        guard isChanged else { return nil }
        output.append(contentsOf: text[copied...])
        return output
    }

    /// Whether the character is its own normal form and never joins the one before it. False for some that are so.
    @inline(__always)
    private func isInert(_ value: UInt32) -> Bool {
        if value < 0xA0 { return true }
        if (0x4E00..<0xA000).contains(value) { return true }
        guard self == .nfc else { return false }
        switch value {
        case 0xA0..<0x300, 0x400..<0x483, 0x48A..<0x530, 0x1E00..<0x1F00, 0x2010..<0x2070, 0x20A0..<0x20D0,
            0x3041..<0x3099, 0x309B..<0x3400, 0x3400..<0x4DC0, 0xAC00..<0xD7A4, 0x1F300..<0x1FB00:
            return true
        default: return false
        }
    }

    /// The normal form of a run.
    private func normalize(_ run: UnsafeBufferPointer<UInt8>) -> [UInt8] {
        switch self {
        case .nfd: decompose(run) { $0.decomposedStringWithCanonicalMapping }
        case .nfkd: decompose(run) { $0.decomposedStringWithCompatibilityMapping }
        case .nfc: compose(run)
        // Foundation's own NFKC leaves the marks of some decompositions out of order.
        case .nfkc:
            decompose(run) { $0.decomposedStringWithCompatibilityMapping }.withUnsafeBufferPointer(compose)
        }
    }

    /// Whether the reference knows the character; others count as starters that join nothing.
    private static func isKnown(_ scalar: Unicode.Scalar) -> Bool {
        scalar.properties.age.map { $0 <= referenceVersion } ?? false
    }

    private func compose(_ run: UnsafeBufferPointer<UInt8>) -> [UInt8] {
        var output: [UInt8] = []
        var known = String.UnicodeScalarView()
        func flush() {
            if known.isEmpty { return }
            output.append(contentsOf: String(known).precomposedStringWithCanonicalMapping.utf8)
            known = String.UnicodeScalarView()
        }
        for scalar in String(decoding: run, as: UTF8.self).unicodeScalars {
            if Self.isKnown(scalar) {
                known.append(scalar)
            } else {
                flush()
                output.append(scalar)
            }
        }
        flush()
        return output
    }

    /// Decomposes scalar by scalar and puts marks in order: Foundation's own functions are quadratic for long texts.
    private func decompose(_ run: UnsafeBufferPointer<UInt8>, _ form: (String) -> String) -> [UInt8] {
        typealias Mark = (scalar: Unicode.Scalar, order: UInt8)
        var known: [Unicode.Scalar: [Mark]] = [:]
        func decomposed(_ scalar: Unicode.Scalar) -> [Mark] {
            if let marks = known[scalar] { return marks }
            let scalars = Self.isKnown(scalar) ? Array(form(String(scalar)).unicodeScalars) : [scalar]
            let marks = scalars.map { ($0, Self.isKnown($0) ? $0.properties.canonicalCombiningClass.rawValue : 0) }
            known[scalar] = marks
            return marks
        }
        var output: [UInt8] = []
        output.reserveCapacity(run.count * 2)
        var waiting: [Mark] = []
        func flush() {
            if waiting.count > 1 { waiting.sort { $0.order < $1.order } }
            for mark in waiting { output.append(mark.scalar) }
            waiting.removeAll(keepingCapacity: true)
        }
        for scalar in String(decoding: run, as: UTF8.self).unicodeScalars {
            for mark in decomposed(scalar) {
                if mark.order == 0 {
                    flush()
                    output.append(mark.scalar)
                } else {
                    waiting.append(mark)
                }
            }
        }
        flush()
        return output
    }
}
