/// A token of a template with its place.
struct JinjaToken: Sendable {
    enum Kind: Sendable {
        case data(String)
        case blockBegin
        case blockEnd
        case variableBegin
        case variableEnd
        case name(String)
        case string(String)
        case integer(Int)
        case float(Double)
        case symbol(JinjaSymbol)
        case end
        /// The text from here on is no template; the parser fails when it gets here.
        case failure(JinjaError)
    }

    var kind: Kind
    /// The line it starts on, counted from 1.
    var line: Int
    /// The byte it starts at.
    var offset: Int

    /// How Jinja names the token in its messages.
    var description: String {
        switch kind {
        case .data: "template data / text"
        case .blockBegin: "begin of statement block"
        case .blockEnd: "end of statement block"
        case .variableBegin: "begin of print statement"
        case .variableEnd: "end of print statement"
        case .name(let name): name
        case .string: "string"
        case .integer: "integer"
        case .float: "float"
        case .symbol(let symbol): symbol.rawValue
        case .end: "end of template"
        case .failure: "an error"
        }
    }

    func isName(_ name: String) -> Bool {
        if case .name(let own) = kind { own == name } else { false }
    }

    func isSymbol(_ symbol: JinjaSymbol) -> Bool {
        if case .symbol(let own) = kind { own == symbol } else { false }
    }
}

/// Operators and punctuation.
enum JinjaSymbol: String, Sendable {
    case plus = "+"
    case minus = "-"
    case slash = "/"
    case doubleSlash = "//"
    case star = "*"
    case percent = "%"
    case doubleStar = "**"
    case tilde = "~"
    case leftBracket = "["
    case rightBracket = "]"
    case leftParenthesis = "("
    case rightParenthesis = ")"
    case leftBrace = "{"
    case rightBrace = "}"
    case equal = "=="
    case notEqual = "!="
    case greater = ">"
    case greaterOrEqual = ">="
    case less = "<"
    case lessOrEqual = "<="
    case assign = "="
    case dot = "."
    case colon = ":"
    case pipe = "|"
    case comma = ","
    case semicolon = ";"

    /// The symbol that starts with these two bytes.
    init?(_ first: UInt8, _ second: UInt8) {
        switch first {
        case UInt8(ascii: "+"): self = .plus
        case UInt8(ascii: "-"): self = .minus
        case UInt8(ascii: "/"): self = second == first ? .doubleSlash : .slash
        case UInt8(ascii: "*"): self = second == first ? .doubleStar : .star
        case UInt8(ascii: "%"): self = .percent
        case UInt8(ascii: "~"): self = .tilde
        case UInt8(ascii: "["): self = .leftBracket
        case UInt8(ascii: "]"): self = .rightBracket
        case UInt8(ascii: "("): self = .leftParenthesis
        case UInt8(ascii: ")"): self = .rightParenthesis
        case UInt8(ascii: "{"): self = .leftBrace
        case UInt8(ascii: "}"): self = .rightBrace
        case UInt8(ascii: "="): self = second == UInt8(ascii: "=") ? .equal : .assign
        case UInt8(ascii: "!"):
            guard second == UInt8(ascii: "=") else { return nil }
            self = .notEqual
        case UInt8(ascii: ">"): self = second == UInt8(ascii: "=") ? .greaterOrEqual : .greater
        case UInt8(ascii: "<"): self = second == UInt8(ascii: "=") ? .lessOrEqual : .less
        case UInt8(ascii: "."): self = .dot
        case UInt8(ascii: ":"): self = .colon
        case UInt8(ascii: "|"): self = .pipe
        case UInt8(ascii: ","): self = .comma
        case UInt8(ascii: ";"): self = .semicolon
        default: return nil
        }
    }

    /// The number of bytes.
    var length: Int {
        switch self {
        case .doubleSlash, .doubleStar, .equal, .notEqual, .greaterOrEqual, .lessOrEqual: 2
        default: 1
        }
    }
}
