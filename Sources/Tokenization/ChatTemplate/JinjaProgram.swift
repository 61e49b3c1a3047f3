/// A template as instructions for a stack machine: running it needs no recursion, however macros call each other.
struct JinjaProgram: Sendable {
    var instructions: [JinjaInstruction] = []
    var constants: [JinjaValue] = []
    /// Names of variables, attributes and filters, by number.
    var names: [String] = []
    var calls: [JinjaCallShape] = []
    var macros: [JinjaMacroShape] = []
    var loops: [JinjaLoopShape] = []
    /// For each scope the names that start undefined in it.
    var scopes: [[Int]] = []
    var hasGenerationTags = false
}

/// The instructions; what they take is popped from the stack, what they give is pushed.
enum JinjaInstruction: Sendable {
    // Statements
    case statement(line: Int)
    case text(Int)
    /// Writes the value's text.
    case emit
    case store(Int)
    /// Gives the attribute of the namespace in a variable the value.
    case storeAttribute(variable: Int, attribute: Int)
    /// Fails if the variable is no namespace.
    case checkNamespace(Int)
    /// Takes a value apart into this many.
    case unpack(Int)
    case fail(Int)

    // Expressions
    case constant(Int)
    case load(Int)
    /// An undefined value for a conditional without `else`, on this line.
    case undefinedConditional(line: Int)
    case attribute(Int)
    case item
    case slice
    case list(Int)
    case tuple(Int)
    case dict(Int)
    case not
    case negate
    case positive
    case arithmetic(JinjaArithmetic)
    case concatenate(Int)
    case compare(JinjaComparison)
    /// Compares and keeps the right operand under the result, for the next comparison of a chain.
    case compareKeeping(JinjaComparison)
    /// Drops the value under the top.
    case dropSecond
    case pop
    case call(Int)
    case filter(Int, call: Int)
    case test(Int, call: Int)

    // Flow
    case jump(Int)
    case jumpIfFalse(Int)
    case jumpIfFalseKeeping(Int)
    case jumpIfTrueKeeping(Int)
    case halt

    // Scopes, loops, macros
    case pushScope(Int)
    case popScope
    case beginLoop(Int)
    /// Goes to the next item in a new scope, or to the end of the loop.
    case nextPass(Int)
    case passCompleted
    case jumpIfCompleted(Int)
    case endLoop
    /// Runs a recursive loop over the popped items and pushes its text.
    case enterRecursiveLoop(Int)
    /// The condition of a loop has been computed.
    case endCondition
    case beginCapture
    case endCapture
    case makeMacro(Int)
    case callMacroWithCaller(Int)
    case jumpIfBound(Int, to: Int)
    case returnText
    case beginGeneration
    case endGeneration
}

/// How many values a call takes from the stack, besides what is called.
struct JinjaCallShape: Sendable {
    var positional: Int
    var keywords: [String]
    var hasSpread: Bool
    var hasKeywordSpread: Bool
}

struct JinjaMacroShape: Sendable {
    var name: String?
    var parameters: [Int]
    var parameterNames: [String]
    var firstDefault: Int
    var entry = 0
    var scope = 0
    /// Whether the body asks for `varargs`, `kwargs` and `caller`.
    var takesPositionals = false
    var takesKeywords = false
    var takesCaller = false
}

struct JinjaLoopShape: Sendable {
    var end = 0
    var scope = 0
    /// Where the condition is computed, if there is one.
    var condition: Int?
    var conditionScope = 0
    /// Where the loop starts if `loop(...)` calls it.
    var recursiveEntry: Int?
}
