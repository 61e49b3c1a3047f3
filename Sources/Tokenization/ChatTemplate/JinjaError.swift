/// Why a template could not be parsed or rendered, in the words that Jinja and Python use for it.
///
/// A class, because every frame of the recursive parser keeps room for errors.
final class JinjaError: Error, Sendable {
    enum Kind: Sendable {
        case syntax
        /// The template itself refused, through `raise_exception`.
        case raised
        /// An operation on an undefined value.
        case undefined
        /// Something Python's types do not allow.
        case type
        /// Something the sandbox does not allow.
        case security
        /// More steps, output or nesting than a template may have.
        case budget
    }

    let kind: Kind
    let message: String
    /// The line of the template, counted from 1, where it is known.
    let line: Int?
    /// The byte of the template, where it is known: syntax errors.
    let offset: Int?

    init(_ kind: Kind, _ message: String, line: Int? = nil, offset: Int? = nil) {
        self.kind = kind
        self.message = message
        self.line = line
        self.offset = offset
    }

    static func type(_ message: String) -> JinjaError { JinjaError(.type, message) }
    static func budget(_ message: String) -> JinjaError { JinjaError(.budget, message) }

    /// The same error with a line, if it does not have one yet.
    func at(line: Int) -> JinjaError {
        self.line == nil ? JinjaError(kind, message, line: line, offset: offset) : self
    }
}
