import Diagnostics
import StrictJSON

extension PreTokenizer {
    /// GPT-2's pattern, which the `ByteLevel` step applies by itself.
    static let gpt2Pattern =
        #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#

    init(_ section: JSONSection?) throws(Diagnostic) {
        steps = []
        if let section { try append(section) }
    }

    private mutating func append(_ section: JSONSection) throws(Diagnostic) {
        let type = try section.string("type")
        switch type {
        case "Sequence": for part in try section.sections("pretokenizers") { try append(part) }
        case "Split":
            let isInverted = try section.flag("invert", default: false)
            steps.append(.split(try section.pattern("pattern"), try Self.behavior(section), isInverted: isInverted))
        case "ByteLevel":
            if try section.flag("add_prefix_space", default: true) { steps.append(.prependSpace) }
            if try section.flag("use_regex", default: true) {
                steps.append(.split(try Pattern(oniguruma: Self.gpt2Pattern), .isolated, isInverted: false))
            }
            steps.append(.encodeBytes)
        case "Digits":
            let isolates = try section.flag("individual_digits", default: false)
            steps.append(.splitByCharacters(.numeric, isolates ? .isolated : .contiguous))
        case "Punctuation":
            steps.append(.splitByCharacters(.punctuation, try Self.behavior(section, default: .isolated)))
        case "Metaspace": steps.append(try Self.metaspace(section))
        case "Whitespace":
            steps.append(.split(try Pattern(oniguruma: #"\w+|[^\w\s]+"#), .removed, isInverted: true))
        case "WhitespaceSplit": steps.append(.splitByCharacters(.whitespace, .removed))
        case "BertPreTokenizer":
            steps += [.splitByCharacters(.whitespace, .removed), .splitByCharacters(.punctuation, .isolated)]
        case "CharDelimiterSplit":
            steps.append(.splitByCharacters(.scalar(try section.scalar("delimiter").value), .removed))
        case "FixedLength":
            steps.append(.fixedLength(try section.integer("length", default: 5, in: 1...(1 << 30))))
        default: throw section.unsupported("pre-tokenizer", type)
        }
    }

    private static func behavior(
        _ section: JSONSection, default fallback: SplitBehavior? = nil
    ) throws(Diagnostic) -> SplitBehavior {
        if let fallback, section.value("behavior") == nil { return fallback }
        guard let behavior = SplitBehavior(rawValue: try section.string("behavior")) else {
            throw JSONSection.mistyped(section.path("behavior"), expected: "a behaviour such as \"Isolated\"")
        }
        return behavior
    }

    private static func metaspace(_ section: JSONSection) throws(Diagnostic) -> Step {
        let scheme = try metaspaceScheme(section)
        let replacement = try section.scalar("replacement")
        return .metaspace(replacement: replacement, scheme, splits: try section.flag("split", default: true))
    }

    /// The scheme, or what the older flag says; the decoder of the same name has the same keys.
    static func metaspaceScheme(_ section: JSONSection) throws(Diagnostic) -> PrependScheme {
        guard let name = try section.optionalString("prepend_scheme") else {
            return try section.flag("add_prefix_space", default: true) ? .always : .never
        }
        guard let scheme = PrependScheme(rawValue: name) else {
            throw JSONSection.mistyped(section.path("prepend_scheme"), expected: "always, first or never")
        }
        return scheme
    }
}
