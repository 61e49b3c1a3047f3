import Diagnostics
import StrictJSON

extension PostProcessor {
    private static let largestTemplate = 256

    init(_ section: JSONSection?) throws(Diagnostic) {
        guard let section else { return }
        var isDefined = false
        try apply(section, &isDefined)
    }

    /// Takes over what `section` says; of a sequence at most one part may add tokens.
    private mutating func apply(_ section: JSONSection, _ isDefined: inout Bool) throws(Diagnostic) {
        let type = try section.string("type")
        if type == "ByteLevel" { return }
        if type == "Sequence" {
            for part in try section.sections("processors") { try apply(part, &isDefined) }
            return
        }
        guard !isDefined else { throw section.unsupported("second post-processor", type) }
        isDefined = true
        switch type {
        case "TemplateProcessing": try applyTemplate(section)
        case "BertProcessing", "RobertaProcessing":
            let (start, end) = (try Self.namedToken(section, "cls"), try Self.namedToken(section, "sep"))
            let isRoberta = type == "RobertaProcessing"
            single = [.tokens([start], type: 0), .first(type: 0), .tokens([end], type: 0)]
            let second: Int32 = isRoberta ? 0 : 1
            pair = single + (isRoberta ? [.tokens([end], type: 0)] : [])
            pair += [.second(type: second), .tokens([end], type: second)]
        default: throw section.unsupported("post-processor", type)
        }
    }

    /// A token given as `["[CLS]", 101]`.
    private static func namedToken(_ section: JSONSection, _ key: String) throws(Diagnostic) -> Int32 {
        let pair = try section.array(key)
        guard pair.count == 2, pair[0].string != nil else {
            throw JSONSection.mistyped(section.path(key), expected: "a token and its id")
        }
        return try JSONSection.tokenID(pair[1], at: section.path(key))
    }

    private mutating func applyTemplate(_ section: JSONSection) throws(Diagnostic) {
        var tokens: [BytewiseString: [Int32]] = [:]
        if let special = try section.optionalSection("special_tokens") {
            for (name, value) in special.object.members {
                let token = try JSONSection(value, path: special.path(name))
                var ids: [Int32] = []
                for id in try token.array("ids").prefix(Self.largestTemplate) {
                    ids.append(try JSONSection.tokenID(id, at: token.path("ids")))
                }
                tokens[BytewiseString(name)] = ids
            }
        }
        single = try Self.template(section, "single", tokens)
        if section.value("pair") != nil { pair = try Self.template(section, "pair", tokens) }
    }

    private static func template(
        _ section: JSONSection, _ key: String, _ tokens: [BytewiseString: [Int32]]
    ) throws(Diagnostic) -> [Part] {
        let sections = try section.sections(key)
        guard sections.count <= largestTemplate else {
            throw Diagnostic(
                TokenizerCode.limit, at: section.path(key), found: "a template of \(sections.count) parts",
                expected: "at most \(largestTemplate)")
        }
        var parts: [Part] = []
        for part in sections {
            if let special = try part.optionalSection("SpecialToken") {
                let name = try special.string("id")
                guard let ids = tokens[BytewiseString(name)] else {
                    throw Diagnostic(
                        TokenizerCode.structure, at: special.path, found: "a token without ids",
                        expected: "an entry in special_tokens")
                }
                parts.append(.tokens(ids, type: try type(special)))
                continue
            }
            let sequence = try part.section("Sequence")
            switch try sequence.string("id") {
            case "A": parts.append(.first(type: try type(sequence)))
            case "B" where key == "pair": parts.append(.second(type: try type(sequence)))
            default: throw JSONSection.mistyped(sequence.path("id"), expected: "\"A\" or, in a pair, \"B\"")
            }
        }
        return parts
    }

    private static func type(_ section: JSONSection) throws(Diagnostic) -> Int32 {
        Int32(try section.integer("type_id", default: 0, in: 0...65_535))
    }
}
