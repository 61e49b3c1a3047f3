/// The steps that change a text before it is cut into words.
struct Normalizer: Sendable {
    enum Step: Sendable {
        case unicode(UnicodeNormalization)
        /// Characters whose class is in the set are left out.
        case removeMarks(nonspacingOnly: Bool)
        case lowercase
        /// Without NUL, U+FFFD and control characters; each white space becomes a space.
        case cleanForBERT
        /// Spaces around each ideograph.
        case isolateIdeographs
        case strip(left: Bool, right: Bool)
        case prepend([UInt8])
        case replace(Pattern, with: [UInt8])
        case characterMap(CharacterMap)
        /// The clean-up of Google's neural machine translation.
        case cleanForTranslation
        case encodeBytes
    }

    var steps: [Step]
    var isEmpty: Bool { steps.isEmpty }

    func apply(to text: inout [UInt8], _ matcher: PatternMatcher) {
        for step in steps where !text.isEmpty {
            if let changed = text.withUnsafeBufferPointer({ apply(step, to: $0, matcher) }) { text = changed }
        }
    }

    /// The changed text, or nil if the step changes nothing.
    private func apply(_ step: Step, to text: UnsafeBufferPointer<UInt8>, _ matcher: PatternMatcher) -> [UInt8]? {
        switch step {
        case .unicode(let form): form.apply(to: text)
        case .removeMarks(let nonspacingOnly):
            mapped(text) { Self.isMark($0, nonspacingOnly: nonspacingOnly) ? .removed : .kept }
        case .lowercase: mapped(text, Self.lowercase)
        case .cleanForBERT: mapped(text, Self.cleanForBERT)
        case .isolateIdeographs: mapped(text) { Self.isIdeograph($0) ? .spaced : .kept }
        case .strip(let left, let right): Self.strip(text, left, right)
        case .prepend(let prefix): prefix + text
        case .replace(let pattern, let content): replace(text, pattern, content, matcher)
        case .characterMap(let map): map.normalize(text)
        case .cleanForTranslation: mapped(text, Self.cleanForTranslation)
        case .encodeBytes: ByteLevelAlphabet.encoded(text)
        }
    }

    private enum Change {
        case kept
        case removed
        case space
        /// With a space on either side.
        case spaced
        case text(String)
    }

    private func mapped(_ text: UnsafeBufferPointer<UInt8>, _ change: (UInt32) -> Change) -> [UInt8] {
        var output: [UInt8] = []
        output.reserveCapacity(text.count + text.count / 8)
        var position = 0
        while position < text.count {
            let (value, end) = UTF8Text.scalar(text, at: position)
            switch change(value) {
            case .kept: output.append(contentsOf: text[position..<end])
            case .removed: break
            case .space: output.append(0x20)
            case .spaced:
                output.append(0x20)
                output.append(contentsOf: text[position..<end])
                output.append(0x20)
            case .text(let text): output.append(contentsOf: text.utf8)
            }
            position = end
        }
        return output
    }

    private func replace(
        _ text: UnsafeBufferPointer<UInt8>, _ pattern: Pattern, _ content: [UInt8], _ matcher: PatternMatcher
    ) -> [UInt8]? {
        var output: [UInt8] = []
        var copied = 0
        var isChanged = false
        matcher.forEachMatch(pattern, in: text) { match in
            isChanged = true
            output.append(contentsOf: text[copied..<match.lowerBound])
            output.append(contentsOf: content)
            copied = match.upperBound
        }
        guard isChanged else { return nil }
        output.append(contentsOf: text[copied...])
        return output
    }

    private static func strip(_ text: UnsafeBufferPointer<UInt8>, _ left: Bool, _ right: Bool) -> [UInt8] {
        var (start, end) = (0, text.count)
        while left, start < end {
            let (value, next) = UTF8Text.scalar(text, at: start)
            guard ScalarClass.isWhitespace(value) else { break }
            start = next
        }
        while right, end > start {
            let previous = UTF8Text.start(text, before: end)
            guard ScalarClass.isWhitespace(UTF8Text.scalar(text, at: previous).value) else { break }
            end = previous
        }
        return Array(text[start..<end])
    }

    private static func isMark(_ value: UInt32, nonspacingOnly: Bool) -> Bool {
        if value < 0x300 { return false }
        switch ScalarClass.category(value) {
        case .nonspacingMark: return true
        case .spacingMark, .enclosingMark: return !nonspacingOnly
        default: return false
        }
    }

    /// Each scalar by itself: a final sigma gets no special form.
    private static func lowercase(_ value: UInt32) -> Change {
        if value < 0x80 {
            return (0x41...0x5A).contains(value) ? .text(String(Unicode.Scalar(UInt8(value + 0x20)))) : .kept
        }
        guard let properties = Unicode.Scalar(value)?.properties, properties.changesWhenLowercased else {
            return .kept
        }
        return .text(properties.lowercaseMapping)
    }

    private static func cleanForBERT(_ value: UInt32) -> Change {
        switch value {
        case 0x09, 0x0A, 0x0D: return .space
        case 0x20..<0x7F: return value == 0x20 ? .space : .kept
        case 0, 0xFFFD: return .removed
        default: break
        }
        // Unassigned characters stay: the reference does not count them among the others.
        switch ScalarClass.category(value) {
        case .control, .format, .privateUse, .surrogate: return .removed
        default: return ScalarClass.isWhitespace(value) ? .space : .kept
        }
    }

    private static func isIdeograph(_ value: UInt32) -> Bool {
        // The gap from 2B820 to 2B91F is the reference's.
        switch value {
        case 0x4E00...0x9FFF, 0x3400...0x4DBF, 0x20000...0x2A6DF, 0x2A700...0x2B73F, 0x2B740...0x2B81F,
            0x2B920...0x2CEAF, 0xF900...0xFAFF, 0x2F800...0x2FA1F:
            return true
        default: return false
        }
    }

    private static func cleanForTranslation(_ value: UInt32) -> Change {
        switch value {
        case 0x01...0x08, 0x0B, 0x0E...0x1F, 0x7F, 0x8F, 0x9F: .removed
        case 0x09, 0x0A, 0x0C, 0x0D, 0x1680, 0x200B...0x200F, 0x2028, 0x2029, 0x2581, 0xFEFF, 0xFFFD: .space
        default: .kept
        }
    }
}

extension CharacterMap {
    /// The text with every grapheme cluster, or else each of its characters, replaced by what the map has for the
    /// shortest string that it begins with; nil if nothing is replaced. Clusters of six bytes and more are only
    /// looked up character by character.
    fileprivate func normalize(_ text: UnsafeBufferPointer<UInt8>) -> [UInt8]? {
        var output: [UInt8] = []
        output.reserveCapacity(text.count)
        var isChanged = false
        for cluster in String(decoding: text, as: UTF8.self) {
            if cluster.utf8.count < 6, let replacement = replacement(of: cluster.utf8) {
                output.append(contentsOf: replacement)
                isChanged = true
                continue
            }
            for scalar in cluster.unicodeScalars {
                if let replacement = replacement(of: UTF8.encode(scalar)!) {
                    output.append(contentsOf: replacement)
                    isChanged = true
                } else {
                    output.append(scalar)
                }
            }
        }
        return isChanged ? output : nil
    }
}
