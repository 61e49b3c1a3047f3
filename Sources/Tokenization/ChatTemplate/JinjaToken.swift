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
}
