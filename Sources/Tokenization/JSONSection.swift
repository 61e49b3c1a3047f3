import Diagnostics
import StrictJSON

/// An object inside tokenizer.json and the path that leads to it, for errors that say where they are.
struct JSONSection {
    let object: JSONObject
    let path: String

    init(_ value: JSONValue, path: String) throws(Diagnostic) {
        guard let object = value.object else {
            throw Self.mistyped(path, expected: "an object")
        }
        self.object = object
        self.path = path
    }

    func path(_ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

    /// The member, unless it is missing or null.
    func value(_ key: String) -> JSONValue? {
        guard let value = object[key], !value.isNull else { return nil }
        return value
    }

    func required(_ key: String) throws(Diagnostic) -> JSONValue {
        guard let value = value(key) else {
            throw Diagnostic(TokenizerCode.structure, at: path(key), found: "nothing", expected: "a value")
        }
        return value
    }

    func string(_ key: String) throws(Diagnostic) -> String {
        guard let text = try required(key).string else { throw Self.mistyped(path(key), expected: "a string") }
        return text
    }

    func optionalString(_ key: String) throws(Diagnostic) -> String? {
        value(key) == nil ? nil : try string(key)
    }

    func flag(_ key: String, default fallback: Bool) throws(Diagnostic) -> Bool {
        guard let value = value(key) else { return fallback }
        guard let flag = value.bool else { throw Self.mistyped(path(key), expected: "true or false") }
        return flag
    }

    func integer(_ key: String, default fallback: Int? = nil, in range: ClosedRange<Int>) throws(Diagnostic) -> Int {
        if let fallback, value(key) == nil { return fallback }
        guard let number = try required(key).integer, range.contains(number) else {
            throw Self.mistyped(path(key), expected: "an integer from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    func array(_ key: String) throws(Diagnostic) -> [JSONValue] {
        guard let array = try required(key).array else { throw Self.mistyped(path(key), expected: "a list") }
        return array
    }

    func section(_ key: String) throws(Diagnostic) -> JSONSection {
        try JSONSection(try required(key), path: path(key))
    }

    func optionalSection(_ key: String) throws(Diagnostic) -> JSONSection? {
        value(key) == nil ? nil : try section(key)
    }

    func sections(_ key: String) throws(Diagnostic) -> [JSONSection] {
        var result: [JSONSection] = []
        for (index, value) in try array(key).enumerated() {
            result.append(try JSONSection(value, path: "\(path(key))[\(index)]"))
        }
        return result
    }

    func scalar(_ key: String) throws(Diagnostic) -> Unicode.Scalar {
        let scalars = try string(key).unicodeScalars
        guard let scalar = scalars.first, scalars.count == 1 else {
            throw Self.mistyped(path(key), expected: "one character")
        }
        return scalar
    }

    /// An id that arrays may be indexed with.
    func tokenID(_ key: String) throws(Diagnostic) -> Int32 {
        try Self.tokenID(try required(key), at: path(key))
    }

    static func tokenID(_ value: JSONValue, at path: String) throws(Diagnostic) -> Int32 {
        guard let id = value.integer, id >= 0, id < TokenizerLimit.tokenID else {
            throw Diagnostic(
                TokenizerCode.vocabulary, at: path, found: "an id out of range",
                expected: "an integer from 0 to \(TokenizerLimit.tokenID - 1)")
        }
        return Int32(id)
    }

    func unsupported(_ kind: String, _ name: String) -> Diagnostic {
        Diagnostic(
            TokenizerCode.unsupported, at: path, found: "the \(kind) \"\(name.prefix(40))\"",
            expected: "one that tokenizer.json defines", fix: "Use a tokenizer.json that the reference library writes")
    }

    static func mistyped(_ path: String, expected: String) -> Diagnostic {
        Diagnostic(TokenizerCode.structure, at: path, found: "a value of another kind", expected: expected)
    }
}

extension JSONSection {
    /// The pattern of a `Split` or `Replace`: `{"String": ...}` or `{"Regex": ...}`.
    func pattern(_ key: String) throws(Diagnostic) -> Pattern {
        let section = try section(key)
        do {
            if let literal = try section.optionalString("String") { return try Pattern(literal: literal) }
            return try Pattern(oniguruma: try section.string("Regex"))
        } catch {
            throw error.inPlace(section.path)
        }
    }
}

extension Diagnostic {
    /// The same error with its place, if it has none yet.
    func inPlace(_ place: String) -> Diagnostic {
        var copy = self
        if copy.place == nil { copy.place = place }
        return copy
    }
}
