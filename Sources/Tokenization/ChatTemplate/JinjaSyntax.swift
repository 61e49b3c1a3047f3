/// An expression. Chains of operators and of suffixes are flat, so the tree is no deeper than the template's nesting.
indirect enum JinjaExpression: Sendable {
    case constant(JinjaValue)
    case name(String)
    case list([JinjaExpression])
    case tuple([JinjaExpression])
    case dict([(key: JinjaExpression, value: JinjaExpression)])
    case suffixed(JinjaExpression, [JinjaSuffix])
    case not(JinjaExpression)
    case negated(JinjaExpression)
    case positive(JinjaExpression)
    /// Operators of one precedence, from left to right.
    case arithmetic(JinjaExpression, [(operation: JinjaArithmetic, operand: JinjaExpression)])
    case concatenation([JinjaExpression])
    /// `a < b <= c`: every pair must hold.
    case comparison(JinjaExpression, [(comparison: JinjaComparison, operand: JinjaExpression)])
    case all([JinjaExpression])
    case any([JinjaExpression])
    case conditional(test: JinjaExpression, then: JinjaExpression, otherwise: JinjaExpression?, line: Int)
}

/// What follows an expression: `.name`, `[key]`, `(arguments)`, `| filter`, `is test`.
indirect enum JinjaSuffix: Sendable {
    case attribute(String)
    case item(JinjaExpression)
    case slice(JinjaExpression?, JinjaExpression?, JinjaExpression?)
    case call(JinjaCall)
    case filter(String, JinjaCall)
    case test(String, JinjaCall, negated: Bool)
}

/// The arguments of a call.
struct JinjaCall: Sendable {
    var positional: [JinjaExpression] = []
    var keywords: [(name: String, value: JinjaExpression)] = []
    /// `*arguments`
    var spread: JinjaExpression?
    /// `**keywords`
    var keywordSpread: JinjaExpression?
    var line: Int
}

enum JinjaArithmetic: String, Sendable {
    case add = "+"
    case subtract = "-"
    case multiply = "*"
    case divide = "/"
    case floorDivide = "//"
    case remainder = "%"
    case power = "**"
}

enum JinjaComparison: String, Sendable {
    case equal = "=="
    case notEqual = "!="
    case less = "<"
    case lessOrEqual = "<="
    case greater = ">"
    case greaterOrEqual = ">="
    case contained = "in"
    case notContained = "not in"
}

/// What is assigned to.
indirect enum JinjaTarget: Sendable {
    case name(String)
    /// An attribute of a namespace.
    case attribute(of: String, String)
    case tuple([JinjaTarget])
}

/// A statement with the line it starts on.
struct JinjaStatement: Sendable {
    var line: Int
    var kind: Kind

    indirect enum Kind: Sendable {
        case text(String)
        case output([JinjaExpression])
        case conditional([(test: JinjaExpression, body: [JinjaStatement])], otherwise: [JinjaStatement])
        case loop(JinjaLoop)
        case set(JinjaTarget, JinjaExpression)
        case setBlock(JinjaTarget, filters: [JinjaSuffix], body: [JinjaStatement])
        case macro(JinjaMacroDefinition)
        /// `{% call(parameters) macro(arguments) %}body{% endcall %}`
        case call(JinjaExpression, JinjaCall, body: JinjaMacroDefinition)
        case filterBlock([JinjaSuffix], body: [JinjaStatement])
        case with([(target: JinjaTarget, value: JinjaExpression)], body: [JinjaStatement])
        /// What the assistant wrote.
        case generation([JinjaStatement])
        case block(scoped: Bool, [JinjaStatement])
        case breakLoop
        case continueLoop
        /// A statement that needs other templates.
        case unsupported(String)
    }
}

/// `{% for target in items if condition recursive %}body{% else %}otherwise{% endfor %}`
struct JinjaLoop: Sendable {
    var target: JinjaTarget
    var items: JinjaExpression
    var condition: JinjaExpression?
    var isRecursive: Bool
    var body: [JinjaStatement]
    var otherwise: [JinjaStatement]
}

/// A macro, or the body of a call block, which has no name.
struct JinjaMacroDefinition: Sendable {
    var name: String?
    var parameters: [String]
    /// Defaults of the last parameters.
    var defaults: [JinjaExpression]
    var body: [JinjaStatement]
}

// MARK: - Walking

extension JinjaExpression {
    /// The expressions right below this one, in the order in which they are computed.
    var children: [JinjaExpression] {
        switch self {
        case .constant, .name: []
        case .list(let items), .tuple(let items), .concatenation(let items), .all(let items), .any(let items): items
        case .dict(let members): members.flatMap { [$0.key, $0.value] }
        case .suffixed(let base, let suffixes): [base] + suffixes.flatMap(\.children)
        case .not(let operand), .negated(let operand), .positive(let operand): [operand]
        case .arithmetic(let first, let pairs): [first] + pairs.map(\.operand)
        case .comparison(let first, let pairs): [first] + pairs.map(\.operand)
        case .conditional(let test, let then, let otherwise, _): [test, then] + (otherwise.map { [$0] } ?? [])
        }
    }

    /// Adds every name that the expression reads.
    func addNames(to names: inout Set<String>) {
        if case .name(let name) = self { names.insert(name) }
        for child in children { child.addNames(to: &names) }
    }
}

extension JinjaSuffix {
    var children: [JinjaExpression] {
        switch self {
        case .attribute: []
        case .item(let key): [key]
        case .slice(let start, let stop, let step): [start, stop, step].compactMap { $0 }
        case .call(let call), .filter(_, let call), .test(_, let call, _): call.children
        }
    }
}

extension JinjaCall {
    var children: [JinjaExpression] {
        positional + keywords.map(\.value) + [spread, keywordSpread].compactMap { $0 }
    }
}

extension JinjaStatement {
    /// The expressions of the statement itself and the statements inside it.
    var parts: (expressions: [JinjaExpression], statements: [JinjaStatement]) {
        switch kind {
        case .text, .breakLoop, .continueLoop, .unsupported: ([], [])
        case .output(let values): (values, [])
        case .conditional(let branches, let otherwise): (branches.map(\.test), branches.flatMap(\.body) + otherwise)
        case .loop(let loop): ([loop.items] + (loop.condition.map { [$0] } ?? []), loop.body + loop.otherwise)
        case .set(_, let value): ([value], [])
        case .setBlock(_, let filters, let body), .filterBlock(let filters, let body):
            (filters.flatMap(\.children), body)
        case .macro(let macro): (macro.defaults, macro.body)
        case .call(let callee, let call, let body): ([callee] + call.children + body.defaults, body.body)
        case .with(let bindings, let body): (bindings.map(\.value), body)
        case .generation(let body), .block(_, let body): ([], body)
        }
    }
}

extension [JinjaStatement] {
    /// Every name that the statements and those inside them read.
    var namesUsed: Set<String> {
        var names: Set<String> = []
        for statement in self {
            let parts = statement.parts
            for expression in parts.expressions { expression.addNames(to: &names) }
            names.formUnion(parts.statements.namesUsed)
        }
        return names
    }
}

extension JinjaTarget {
    /// The names that are assigned to.
    var names: [String] {
        switch self {
        case .name(let name): [name]
        case .attribute: []
        case .tuple(let targets): targets.flatMap(\.names)
        }
    }

    /// The names of the namespaces whose attributes are assigned to.
    var namespaces: [String] {
        switch self {
        case .name: []
        case .attribute(let name, _): [name]
        case .tuple(let targets): targets.flatMap(\.namespaces)
        }
    }
}
