import Diagnostics
import Foundation
import StrictJSON

extension Normalizer {
    /// How much longer than its input the `Replace` steps of a normaliser may make a text.
    private static let largestGrowth = 256

    init(_ section: JSONSection?) throws(Diagnostic) {
        steps = []
        guard let section else { return }
        var growth = 1
        try append(section, &growth)
    }

    private mutating func append(_ section: JSONSection, _ growth: inout Int) throws(Diagnostic) {
        let type = try section.string("type")
        switch type {
        case "Sequence": for part in try section.sections("normalizers") { try append(part, &growth) }
        case "NFC", "NFD", "NFKC", "NFKD": steps.append(.unicode(UnicodeNormalization(rawValue: type)!))
        case "Lowercase": steps.append(.lowercase)
        case "StripAccents": steps.append(.removeMarks(nonspacingOnly: false))
        case "Strip":
            steps.append(
                .strip(
                    left: try section.flag("strip_left", default: true),
                    right: try section.flag("strip_right", default: true)))
        case "Prepend": try appendPrepend(section)
        case "Replace": try appendReplace(section, &growth)
        case "Precompiled": try appendCharacterMap(section)
        case "BertNormalizer": try appendBERT(section)
        case "Nmt": steps.append(.cleanForTranslation)
        case "ByteLevel": steps.append(.encodeBytes)
        default: throw section.unsupported("normalizer", type)
        }
    }

    private mutating func appendPrepend(_ section: JSONSection) throws(Diagnostic) {
        let prefix = Array(try section.string("prepend").utf8)
        guard prefix.count <= TokenizerLimit.searchedTokenBytes else {
            throw JSONSection.mistyped(section.path("prepend"), expected: "a short text")
        }
        if !prefix.isEmpty { steps.append(.prepend(prefix)) }
    }

    private mutating func appendReplace(_ section: JSONSection, _ growth: inout Int) throws(Diagnostic) {
        let pattern = try section.pattern("pattern")
        let content = Array(try section.string("content").utf8)
        // A pattern that can match nothing inserts its content at every byte.
        let factor: Int
        if let count = pattern.literalCount, count > 0 {
            factor = max(1, (content.count + count - 1) / count)
        } else {
            factor = content.count + 1
        }
        let (product, overflow) = growth.multipliedReportingOverflow(by: max(1, factor))
        guard !overflow, product <= Self.largestGrowth else {
            throw Diagnostic(
                TokenizerCode.limit, at: section.path, found: "replacements that multiply the length of a text",
                expected: "at most \(Self.largestGrowth) times its length")
        }
        growth = product
        steps.append(.replace(pattern, with: content))
    }

    private mutating func appendCharacterMap(_ section: JSONSection) throws(Diagnostic) {
        guard let text = try section.optionalString("precompiled_charsmap"), !text.isEmpty else { return }
        let path = section.path("precompiled_charsmap")
        guard let data = Data(base64Encoded: text) else {
            throw JSONSection.mistyped(path, expected: "base64")
        }
        do {
            steps.append(.characterMap(try CharacterMap(Array(data))))
        } catch {
            throw error.inPlace(path)
        }
    }

    private mutating func appendBERT(_ section: JSONSection) throws(Diagnostic) {
        if try section.flag("clean_text", default: true) { steps.append(.cleanForBERT) }
        if try section.flag("handle_chinese_chars", default: true) { steps.append(.isolateIdeographs) }
        let lowercases = try section.flag("lowercase", default: true)
        if try section.flag("strip_accents", default: lowercases) {
            steps += [.unicode(.nfd), .removeMarks(nonspacingOnly: true)]
        }
        if lowercases { steps.append(.lowercase) }
    }
}
