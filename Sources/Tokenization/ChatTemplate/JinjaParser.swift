/// Builds the syntax tree of a template, with Jinja's grammar and its messages.
///
/// Nesting is limited, so neither this parser nor whatever walks its tree can run out of stack.
struct JinjaParser {
    static let maximumDepth = 64

    private(set) var tokens: [JinjaToken]
    private(set) var position = 0
    private var depth = 0
    /// The tags that are open, and those that would close what is being read; for messages.
    private var openTags: [String] = []
    private var expectedEnds: [[String]] = []
    /// The loops around the current statement, inside the innermost macro.
    private var loopDepth = 0

    static func parse(_ source: String) throws(JinjaError) -> [JinjaStatement] {
        var parser = JinjaParser(tokens: JinjaLexer.tokens(of: source))
        return try parser.statements(until: [])
    }

    private init(tokens: [JinjaToken]) { self.tokens = tokens }

    // MARK: Tokens

    var current: JinjaToken { tokens[position] }

    func next(is symbol: JinjaSymbol) -> Bool {
        position + 1 < tokens.count && tokens[position + 1].isSymbol(symbol)
    }

    func next(isName name: String) -> Bool { position + 1 < tokens.count && tokens[position + 1].isName(name) }

    mutating func advance() throws(JinjaError) {
        if position + 1 < tokens.count { position += 1 }
        if case .failure(let error) = current.kind { throw error }
    }

    mutating func skip(_ symbol: JinjaSymbol) throws(JinjaError) -> Bool {
        guard current.isSymbol(symbol) else { return false }
        try advance()
        return true
    }

    mutating func skip(name: String) throws(JinjaError) -> Bool {
        guard current.isName(name) else { return false }
        try advance()
        return true
    }

    mutating func expect(_ symbol: JinjaSymbol) throws(JinjaError) {
        guard try skip(symbol) else { throw unexpected(expected: symbol.rawValue) }
    }

    mutating func expect(name: String) throws(JinjaError) {
        guard try skip(name: name) else { throw unexpected(expected: name) }
    }

    mutating func expectName() throws(JinjaError) -> String {
        guard case .name(let name) = current.kind else { throw unexpected(expected: "name") }
        try advance()
        return name
    }

    private mutating func expectBlockEnd() throws(JinjaError) {
        guard case .blockEnd = current.kind else { throw unexpected(expected: "end of statement block") }
        try advance()
    }

    private func unexpected(expected: String) -> JinjaError {
        if case .end = current.kind { return failure("unexpected end of template, expected '\(expected)'.") }
        return failure("expected token '\(expected)', got \(PythonText.quoted(current.description))")
    }

    func failure(_ message: String) -> JinjaError { failure(message, at: current) }

    func failure(_ message: String, at token: JinjaToken) -> JinjaError {
        JinjaError(.syntax, message, line: token.line, offset: token.offset)
    }

    mutating func descend() throws(JinjaError) {
        depth += 1
        if depth > Self.maximumDepth {
            throw JinjaError(
                .budget, "nesting deeper than \(Self.maximumDepth)", line: current.line, offset: current.offset)
        }
    }

    mutating func ascend() { depth -= 1 }

    // MARK: Statements

    /// Statements up to a tag named in `ends`, which stays the current token; up to the end if there are none.
    private mutating func statements(until ends: [String]) throws(JinjaError) -> [JinjaStatement] {
        if !ends.isEmpty { expectedEnds.append(ends) }
        defer { if !ends.isEmpty { expectedEnds.removeLast() } }
        try descend()
        defer { ascend() }
        var result: [JinjaStatement] = []
        if case .failure(let error) = current.kind { throw error }
        while true {
            let line = current.line
            switch current.kind {
            case .data(let text):
                result.append(JinjaStatement(line: line, kind: .text(text)))
                try advance()
            case .variableBegin:
                try advance()
                let value = try tuple()
                guard case .variableEnd = current.kind else { throw unexpected(expected: "end of print statement") }
                try advance()
                result.append(JinjaStatement(line: line, kind: .output([value])))
            case .blockBegin:
                try advance()
                if case .name(let name) = current.kind, ends.contains(name) { return result }
                result.append(JinjaStatement(line: line, kind: try statement()))
                try expectBlockEnd()
            default:
                guard ends.isEmpty else { throw unknownTag(nil) }
                return result
            }
        }
    }

    /// The body of a block tag, from the end of the tag to one of `ends`, which becomes the current token.
    private mutating func body(until ends: String...) throws(JinjaError) -> [JinjaStatement] {
        _ = try skip(.colon)
        try expectBlockEnd()
        return try statements(until: ends)
    }

    /// A body whose end tag is consumed.
    private mutating func closedBody(_ end: String) throws(JinjaError) -> [JinjaStatement] {
        let statements = try body(until: end)
        try advance()
        return statements
    }

    private static let tags: Set<String> = [
        "for", "if", "set", "macro", "call", "filter", "with", "generation", "block", "print", "break", "continue",
        "extends", "include", "import", "from", "autoescape",
    ]

    private mutating func statement() throws(JinjaError) -> JinjaStatement.Kind {
        let token = current
        guard case .name(let name) = token.kind else { throw failure("tag name expected") }
        guard Self.tags.contains(name) else { throw unknownTag(name, at: token) }
        openTags.append(name)
        try advance()
        let kind = try statement(named: name, token)
        openTags.removeLast()
        return kind
    }

    private mutating func statement(named name: String, _ token: JinjaToken) throws(JinjaError) -> JinjaStatement.Kind {
        switch name {
        case "for": return try loop()
        case "if": return try conditional()
        case "set": return try set()
        case "macro": return try macro()
        case "call": return try callBlock()
        case "filter": return try filterBlock()
        case "with": return try with()
        case "generation":
            return .generation(
                try outsideLoops { parser throws(JinjaError) in
                    try parser.closedBody("endgeneration")
                })
        case "block": return try block()
        case "print": return try printed()
        case "break", "continue":
            guard loopDepth > 0 else {
                throw failure(name == "break" ? "'break' outside loop" : "'continue' not properly in loop", at: token)
            }
            return name == "break" ? .breakLoop : .continueLoop
        case "autoescape": throw failure("autoescape is not available in chat templates", at: token)
        default: return try otherTemplate()
        }
    }

    /// Runs `body` with the loops around it out of reach of `break` and `continue`.
    private mutating func outsideLoops<Result>(
        _ body: (inout JinjaParser) throws(JinjaError) -> Result
    ) throws(JinjaError) -> Result {
        let outer = loopDepth
        loopDepth = 0
        let result = try body(&self)
        loopDepth = outer
        return result
    }

    private mutating func loop() throws(JinjaError) -> JinjaStatement.Kind {
        let target = try target(endingAt: "in")
        try expect(name: "in")
        let items = try tuple(allowsConditional: false, endingAt: "recursive")
        let condition = try skip(name: "if") ? try expression() : nil
        let isRecursive = try skip(name: "recursive")
        loopDepth += 1
        let body = try body(until: "endfor", "else")
        loopDepth -= 1
        let hasElse = current.isName("else")
        try advance()
        let otherwise = hasElse ? try closedBody("endfor") : []
        if target.names.contains("loop") {
            throw failure("Can't assign to special loop variable in for-loop target")
        }
        return .loop(
            JinjaLoop(
                target: target, items: items, condition: condition, isRecursive: isRecursive, body: body,
                otherwise: otherwise))
    }

    private mutating func conditional() throws(JinjaError) -> JinjaStatement.Kind {
        var branches: [(test: JinjaExpression, body: [JinjaStatement])] = []
        while true {
            let test = try tuple(allowsConditional: false)
            let body = try body(until: "elif", "else", "endif")
            branches.append((test, body))
            let end = current
            try advance()
            if end.isName("elif") { continue }
            let otherwise = end.isName("else") ? try closedBody("endif") : []
            return .conditional(branches, otherwise: otherwise)
        }
    }

    private mutating func set() throws(JinjaError) -> JinjaStatement.Kind {
        let target = try target(allowsAttribute: true)
        if try skip(.assign) { return .set(target, try tuple()) }
        let filters = try filters()
        return .setBlock(target, filters: filters, body: try closedBody("endset"))
    }

    private mutating func macro() throws(JinjaError) -> JinjaStatement.Kind {
        let name = try targetName()
        let (parameters, defaults) = try signature()
        let body = try outsideLoops { parser throws(JinjaError) in try parser.closedBody("endmacro") }
        return .macro(JinjaMacroDefinition(name: name, parameters: parameters, defaults: defaults, body: body))
    }

    private mutating func callBlock() throws(JinjaError) -> JinjaStatement.Kind {
        let token = current
        let (parameters, defaults) = current.isSymbol(.leftParenthesis) ? try signature() : ([], [])
        guard case .suffixed(let base, var suffixes) = try expression(), case .call(let call)? = suffixes.popLast()
        else {
            throw failure("expected call", at: token)
        }
        let body = try outsideLoops { parser throws(JinjaError) in try parser.closedBody("endcall") }
        let callee = suffixes.isEmpty ? base : .suffixed(base, suffixes)
        return .call(
            callee, call,
            body: JinjaMacroDefinition(name: nil, parameters: parameters, defaults: defaults, body: body))
    }

    private mutating func filterBlock() throws(JinjaError) -> JinjaStatement.Kind {
        var suffixes = [try filter()]
        suffixes += try filters()
        return .filterBlock(suffixes, body: try closedBody("endfilter"))
    }

    private mutating func with() throws(JinjaError) -> JinjaStatement.Kind {
        var bindings: [(target: JinjaTarget, value: JinjaExpression)] = []
        while true {
            if case .blockEnd = current.kind { break }
            if !bindings.isEmpty { try expect(.comma) }
            let target = try target()
            try expect(.assign)
            bindings.append((target, try expression()))
        }
        return .with(bindings, body: try closedBody("endwith"))
    }

    private mutating func block() throws(JinjaError) -> JinjaStatement.Kind {
        let name = try expectName()
        let scoped = try skip(name: "scoped")
        _ = try skip(name: "required")
        let body = try outsideLoops { parser throws(JinjaError) in try parser.closedBody("endblock") }
        _ = try skip(name: name)
        return .block(scoped: scoped, body)
    }

    private mutating func printed() throws(JinjaError) -> JinjaStatement.Kind {
        var values: [JinjaExpression] = []
        while true {
            if case .blockEnd = current.kind { return .output(values) }
            if !values.isEmpty { try expect(.comma) }
            values.append(try expression())
        }
    }

    /// Statements that name other templates: there are none, so they fail when they run.
    private mutating func otherTemplate() throws(JinjaError) -> JinjaStatement.Kind {
        while true {
            switch current.kind {
            case .blockEnd, .end: return .unsupported("no loader for this environment specified")
            default: try advance()
            }
        }
    }

    private mutating func signature() throws(JinjaError) -> ([String], [JinjaExpression]) {
        var parameters: [String] = []
        var defaults: [JinjaExpression] = []
        try expect(.leftParenthesis)
        while !current.isSymbol(.rightParenthesis) {
            if !parameters.isEmpty { try expect(.comma) }
            let name = try targetName()
            if try skip(.assign) {
                defaults.append(try expression())
            } else if !defaults.isEmpty {
                throw failure("non-default argument follows default argument")
            }
            guard !parameters.contains(name) else {
                throw failure("duplicate argument \(PythonText.quoted(name)) in function definition")
            }
            parameters.append(name)
        }
        try expect(.rightParenthesis)
        return (parameters, defaults)
    }

    // MARK: Targets

    private static let constants: Set<String> = ["true", "false", "none", "True", "False", "None"]

    private mutating func targetName() throws(JinjaError) -> String {
        let token = current
        let name = try expectName()
        if Self.constants.contains(name) { throw failure("can't assign to 'name'", at: token) }
        return name
    }

    private mutating func target(
        allowsAttribute: Bool = false, endingAt end: String? = nil
    ) throws(JinjaError) -> JinjaTarget {
        var targets: [JinjaTarget] = []
        var isTuple = false
        while true {
            if !targets.isEmpty { try expect(.comma) }
            if isTupleEnd(end) { break }
            targets.append(try singleTarget(allowsAttribute: allowsAttribute))
            guard current.isSymbol(.comma) else { break }
            isTuple = true
        }
        if !isTuple, let target = targets.first { return target }
        guard isTuple else {
            throw failure("Expected an expression, got \(PythonText.quoted(current.description))")
        }
        return .tuple(targets)
    }

    private mutating func singleTarget(allowsAttribute: Bool) throws(JinjaError) -> JinjaTarget {
        let token = current
        switch token.kind {
        case .name(let name):
            try advance()
            if Self.constants.contains(name) { throw failure("can't assign to 'const'", at: token) }
            if allowsAttribute, try skip(.dot) { return .attribute(of: name, try expectName()) }
            return .name(name)
        case .symbol(.leftParenthesis):
            try descend()
            defer { ascend() }
            try advance()
            var targets: [JinjaTarget] = []
            var isTuple = false
            while !current.isSymbol(.rightParenthesis) {
                if !targets.isEmpty { try expect(.comma) }
                if current.isSymbol(.rightParenthesis) { break }
                targets.append(try singleTarget(allowsAttribute: allowsAttribute))
                isTuple = isTuple || current.isSymbol(.comma)
            }
            try expect(.rightParenthesis)
            return targets.count == 1 && !isTuple ? targets[0] : .tuple(targets)
        case .symbol(.leftBracket): throw failure("can't assign to 'list'")
        case .symbol(.leftBrace): throw failure("can't assign to 'dict'")
        case .string, .integer, .float: throw failure("can't assign to 'const'")
        default: throw failure("unexpected \(PythonText.quoted(token.description))")
        }
    }

    func isTupleEnd(_ end: String?) -> Bool {
        switch current.kind {
        case .variableEnd, .blockEnd, .symbol(.rightParenthesis): true
        case .name(let name): name == end
        default: false
        }
    }

    // MARK: Messages

    private func unknownTag(_ name: String?, at token: JinjaToken? = nil) -> JinjaError {
        var message = name.map { "Encountered unknown tag \(PythonText.quoted($0))." } ?? "Unexpected end of template."
        if let ends = expectedEnds.last {
            let wanted = ends.map { PythonText.quoted($0) }.joined(separator: " or ")
            if let name, expectedEnds.contains(where: { $0.contains(name) }) {
                message +=
                    " You probably made a nesting mistake. Jinja is expecting this tag,"
                    + " but currently looking for \(wanted)."
            } else {
                message += " Jinja was looking for the following tags: \(wanted)."
            }
        }
        if let open = openTags.last {
            message += " The innermost block that needs to be closed is \(PythonText.quoted(open))."
        }
        return failure(message, at: token ?? current)
    }
}
