/// Turns a syntax tree into a program.
struct JinjaCompiler {
    private(set) var program = JinjaProgram()
    private var nameNumbers: [String: Int] = [:]
    private var symbols = JinjaSymbols(parent: nil)
    /// Inside `if` and conditional expressions an unknown filter fails when it runs, elsewhere the template is refused.
    private var isConditional = false
    /// What stands open in the innermost loop's body: scopes and captures that `break` has to close.
    private var openInLoop: [JinjaInstruction] = []
    private var breaks: [[Int]] = []
    private var continues: [[Int]] = []

    static func compile(_ source: String) throws(JinjaError) -> JinjaProgram {
        var compiler = JinjaCompiler()
        let statements = try JinjaParser.parse(source)
        compiler.symbols.visit(statements)
        compiler.emit(.pushScope(compiler.scope(compiler.symbols)))
        try compiler.body(statements)
        compiler.emit(.halt)
        return compiler.program
    }

    // MARK: Parts

    private mutating func emit(_ instruction: JinjaInstruction) { program.instructions.append(instruction) }

    private var here: Int { program.instructions.count }

    private mutating func reserve() -> Int {
        emit(.halt)
        return here - 1
    }

    private mutating func name(_ text: String) -> Int {
        if let number = nameNumbers[text] { return number }
        nameNumbers[text] = program.names.count
        program.names.append(text)
        return program.names.count - 1
    }

    private mutating func constant(_ value: JinjaValue) -> Int {
        program.constants.append(value)
        return program.constants.count - 1
    }

    private mutating func scope(_ symbols: JinjaSymbols) -> Int {
        program.scopes.append(symbols.undefined.sorted().map { name($0) })
        return program.scopes.count - 1
    }

    /// Compiles `content` in a scope of its own whose names are `inner`'s.
    private mutating func scoped(
        _ inner: JinjaSymbols, _ content: (inout JinjaCompiler) throws(JinjaError) -> Void
    ) throws(JinjaError) {
        let outer = symbols
        symbols = inner
        emit(.pushScope(scope(inner)))
        openInLoop.append(.popScope)
        try content(&self)
        openInLoop.removeLast()
        emit(.popScope)
        symbols = outer
    }

    private func inner(_ statements: [JinjaStatement]) -> JinjaSymbols {
        let inner = JinjaSymbols(parent: symbols)
        inner.visit(statements)
        return inner
    }

    // MARK: Statements

    private mutating func body(_ statements: [JinjaStatement]) throws(JinjaError) {
        for statement in statements {
            if case .text(let text) = statement.kind {
                emit(.text(constant(.text(text))))
                continue
            }
            emit(.statement(line: statement.line))
            do {
                try self.statement(statement)
            } catch {
                throw error.at(line: statement.line)
            }
        }
    }

    /// Statements nest, so that what is not needed for the nesting stands in functions of its own: it would take room
    /// in every frame.
    private mutating func statement(_ statement: JinjaStatement) throws(JinjaError) {
        switch statement.kind {
        case .conditional(let branches, let otherwise): try conditional(branches, otherwise)
        case .loop(let loop): try self.loop(loop)
        case .setBlock(let target, let filters, let body):
            checkNamespaces(target)
            try captured(body, filters)
            store(target)
        case .macro(let macro):
            try self.macro(macro)
            store(.name(macro.name ?? ""))
        case .call(let callee, let call, let body): try callBlock(callee, call, body)
        case .filterBlock(let filters, let body):
            try captured(body, filters)
            emit(.emit)
        case .with(let bindings, let body): try with(bindings, body)
        case .generation(let body): try generation(body)
        case .block(_, let body): try scoped(inner(body)) { compiler throws(JinjaError) in try compiler.body(body) }
        default: try flat(statement)
        }
    }

    /// Statements that hold no others.
    private mutating func flat(_ statement: JinjaStatement) throws(JinjaError) {
        switch statement.kind {
        case .output(let values):
            for value in values {
                try expression(value)
                emit(.emit)
            }
        case .set(let target, let value):
            checkNamespaces(target)
            try expression(value)
            store(target)
        case .breakLoop:
            for instruction in openInLoop.reversed() { emit(instruction) }
            breaks[breaks.count - 1].append(reserve())
        case .continueLoop:
            for instruction in openInLoop.reversed() { emit(instruction) }
            continues[continues.count - 1].append(reserve())
        case .unsupported(let message): emit(.fail(constant(.text(message))))
        default: break
        }
    }

    private mutating func checkNamespaces(_ target: JinjaTarget) {
        for name in target.namespaces { emit(.checkNamespace(self.name(name))) }
    }

    private mutating func callBlock(
        _ callee: JinjaExpression, _ call: JinjaCall, _ body: JinjaMacroDefinition
    ) throws(JinjaError) {
        try expression(callee)
        let shape = try arguments(call)
        try macro(body)
        emit(.callMacroWithCaller(shape))
        emit(.emit)
    }

    private mutating func conditional(
        _ branches: [(test: JinjaExpression, body: [JinjaStatement])], _ otherwise: [JinjaStatement]
    ) throws(JinjaError) {
        let outer = isConditional
        isConditional = true
        var exits: [Int] = []
        for branch in branches {
            try expression(branch.test)
            let skip = reserve()
            try body(branch.body)
            exits.append(reserve())
            program.instructions[skip] = .jumpIfFalse(here)
        }
        try body(otherwise)
        for exit in exits { program.instructions[exit] = .jump(here) }
        isConditional = outer
    }

    private mutating func captured(_ statements: [JinjaStatement], _ filters: [JinjaSuffix]) throws(JinjaError) {
        let inner = inner(statements)
        inner.visit(.suffixed(.constant(.null), filters))
        try scoped(inner) { compiler throws(JinjaError) in
            compiler.emit(.beginCapture)
            compiler.openInLoop += [.pop, .endCapture]
            try compiler.body(statements)
            compiler.openInLoop.removeLast(2)
            compiler.emit(.endCapture)
            for filter in filters.reversed() { try compiler.checkName(of: filter) }
            try compiler.suffixes(filters)
        }
    }

    private mutating func with(
        _ bindings: [(target: JinjaTarget, value: JinjaExpression)], _ statements: [JinjaStatement]
    ) throws(JinjaError) {
        // The values are computed outside the new scope.
        for binding in bindings { try expression(binding.value) }
        let inner = JinjaSymbols(parent: symbols)
        for name in bindings.flatMap(\.target.names) { inner.declareParameter(name) }
        inner.visit(statements)
        try scoped(inner) { compiler throws(JinjaError) in
            for binding in bindings.reversed() { compiler.store(binding.target) }
            try compiler.body(statements)
        }
    }

    private mutating func generation(_ statements: [JinjaStatement]) throws(JinjaError) {
        program.hasGenerationTags = true
        try scoped(inner(statements)) { compiler throws(JinjaError) in
            compiler.emit(.beginGeneration)
            try compiler.body(statements)
            compiler.emit(.endGeneration)
        }
    }

    private mutating func store(_ target: JinjaTarget) {
        switch target {
        case .name(let name): emit(.store(self.name(name)))
        case .attribute(let variable, let attribute):
            emit(.storeAttribute(variable: name(variable), attribute: name(attribute)))
        case .tuple(let targets):
            emit(.unpack(targets.count))
            for target in targets { store(target) }
        }
    }

    // MARK: Loops

    private mutating func loop(_ loop: JinjaLoop) throws(JinjaError) {
        try expression(loop.items)
        let number = program.loops.count
        program.loops.append(JinjaLoopShape())
        guard loop.isRecursive else {
            try passes(loop, number)
            return
        }
        emit(.enterRecursiveLoop(number))
        emit(.emit)
        let skip = reserve()
        program.loops[number].recursiveEntry = here
        try passes(loop, number)
        emit(.returnText)
        program.instructions[skip] = .jump(here)
    }

    private mutating func passes(_ loop: JinjaLoop, _ number: Int) throws(JinjaError) {
        try condition(of: loop, number)
        let (outerSymbols, outerOpen) = (symbols, openInLoop)
        let start = beginPass(loop, number)
        try body(loop.body)
        symbols = outerSymbols
        openInLoop = outerOpen
        endPass(number, start)
        try otherwise(loop)
        emit(.endLoop)
    }

    /// Starts a pass in its own scope; returns where the next one starts.
    private mutating func beginPass(_ loop: JinjaLoop, _ number: Int) -> Int {
        emit(.beginLoop(number))
        let start = here
        emit(.nextPass(number))
        openInLoop = [.popScope]
        breaks.append([])
        continues.append([])
        let inner = JinjaSymbols(parent: symbols)
        inner.declareParameter("loop")
        for name in loop.target.names { inner.declareParameter(name) }
        inner.visit(loop.body)
        symbols = inner
        program.loops[number].scope = scope(inner)
        store(loop.target)
        return start
    }

    private mutating func endPass(_ number: Int, _ start: Int) {
        emit(.passCompleted)
        emit(.popScope)
        for position in continues.removeLast() { program.instructions[position] = .jump(here) }
        emit(.jump(start))
        for position in breaks.removeLast() { program.instructions[position] = .jump(here) }
        program.loops[number].end = here
    }

    /// The `else` of a loop, which runs if no pass came to its end.
    private mutating func otherwise(_ loop: JinjaLoop) throws(JinjaError) {
        guard !loop.otherwise.isEmpty else { return }
        let skip = reserve()
        openInLoop.append(.endLoop)
        try scoped(inner(loop.otherwise)) { compiler throws(JinjaError) in
            try compiler.body(loop.otherwise)
        }
        openInLoop.removeLast()
        program.instructions[skip] = .jumpIfCompleted(here)
    }

    /// The code that decides whether an item is looped over; it stands beside the loop and runs for every item.
    private mutating func condition(of loop: JinjaLoop, _ number: Int) throws(JinjaError) {
        guard let condition = loop.condition else { return }
        let skip = reserve()
        program.loops[number].condition = here
        let inner = JinjaSymbols(parent: symbols)
        for name in loop.target.names { inner.declareParameter(name) }
        inner.visit(condition)
        let outer = symbols
        symbols = inner
        program.loops[number].conditionScope = scope(inner)
        store(loop.target)
        try expression(condition)
        emit(.endCondition)
        symbols = outer
        program.instructions[skip] = .jump(here)
    }

    // MARK: Macros

    private mutating func macro(_ macro: JinjaMacroDefinition) throws(JinjaError) {
        let outer = (symbols, openInLoop, isConditional)
        let skip = reserve()
        let number = try beginMacro(macro)
        try body(macro.body)
        emit(.returnText)
        (symbols, openInLoop, isConditional) = outer
        program.instructions[skip] = .jump(here)
        emit(.makeMacro(number))
    }

    /// Declares a macro and fills in its defaults; returns its number.
    private mutating func beginMacro(_ macro: JinjaMacroDefinition) throws(JinjaError) -> Int {
        var shape = JinjaMacroShape(
            name: macro.name, parameters: macro.parameters.map { name($0) }, parameterNames: macro.parameters,
            firstDefault: macro.parameters.count - macro.defaults.count)
        let inner = JinjaSymbols(parent: symbols)
        for parameter in macro.parameters { inner.declareParameter(parameter) }
        let asked = macro.body.namesUsed.intersection(["caller", "kwargs", "varargs"])
        for special in asked { inner.declareParameter(special) }
        if asked.contains("caller"), macro.parameters.dropLast(macro.defaults.count).contains("caller") {
            throw JinjaError(
                .syntax,
                "When defining macros or call blocks the special \"caller\" argument must be omitted or be given a default."
            )
        }
        let special = asked.subtracting(macro.parameters)
        shape.takesCaller = special.contains("caller")
        shape.takesKeywords = special.contains("kwargs")
        shape.takesPositionals = special.contains("varargs")
        for value in macro.defaults { inner.visit(value) }
        inner.visit(macro.body)
        symbols = inner
        openInLoop = []
        shape.entry = here
        shape.scope = scope(inner)
        program.macros.append(shape)
        let number = program.macros.count - 1
        for (parameter, value) in zip(macro.parameters.suffix(macro.defaults.count), macro.defaults) {
            let bound = reserve()
            try expression(value)
            emit(.store(name(parameter)))
            program.instructions[bound] = .jumpIfBound(name(parameter), to: here)
        }
        return number
    }

    // MARK: Expressions

    mutating func expression(_ expression: JinjaExpression) throws(JinjaError) {
        switch expression {
        case .constant(let value): emit(.constant(constant(value)))
        case .name(let text): emit(.load(name(text)))
        case .list(let items):
            try expressions(items)
            emit(.list(items.count))
        case .tuple(let items):
            try expressions(items)
            emit(.tuple(items.count))
        case .dict(let members):
            for member in members {
                try self.expression(member.key)
                try self.expression(member.value)
            }
            emit(.dict(members.count))
        case .suffixed(let base, let suffixes):
            for suffix in suffixes.reversed() { try checkName(of: suffix) }
            try self.expression(base)
            try self.suffixes(suffixes)
        case .not(let operand): try unary(operand, .not)
        case .negated(let operand): try unary(operand, .negate)
        case .positive(let operand): try unary(operand, .positive)
        case .arithmetic(let first, let pairs):
            try self.expression(first)
            for pair in pairs { try unary(pair.operand, .arithmetic(pair.operation)) }
        case .concatenation(let items):
            try expressions(items)
            emit(.concatenate(items.count))
        case .comparison(let first, let pairs): try comparison(first, pairs)
        case .all(let items): try shortCircuit(items) { .jumpIfFalseKeeping($0) }
        case .any(let items): try shortCircuit(items) { .jumpIfTrueKeeping($0) }
        case .conditional(let test, let then, let otherwise, let line):
            try conditional(test, then, otherwise, line)
        }
    }

    private mutating func expressions(_ items: [JinjaExpression]) throws(JinjaError) {
        for item in items { try expression(item) }
    }

    private mutating func unary(_ operand: JinjaExpression, _ instruction: JinjaInstruction) throws(JinjaError) {
        try expression(operand)
        emit(instruction)
    }

    private mutating func comparison(
        _ first: JinjaExpression, _ pairs: [(comparison: JinjaComparison, operand: JinjaExpression)]
    ) throws(JinjaError) {
        try expression(first)
        var exits: [Int] = []
        for (index, pair) in pairs.enumerated() {
            try expression(pair.operand)
            if index == pairs.count - 1 {
                emit(.compare(pair.comparison))
            } else {
                emit(.compareKeeping(pair.comparison))
                exits.append(reserve())
            }
        }
        guard !exits.isEmpty else { return }
        let skip = reserve()
        for exit in exits { program.instructions[exit] = .jumpIfFalseKeeping(here) }
        emit(.dropSecond)
        program.instructions[skip] = .jump(here)
    }

    private mutating func shortCircuit(
        _ items: [JinjaExpression], _ jump: (Int) -> JinjaInstruction
    ) throws(JinjaError) {
        var exits: [Int] = []
        for (index, item) in items.enumerated() {
            try expression(item)
            if index < items.count - 1 { exits.append(reserve()) }
        }
        for exit in exits { program.instructions[exit] = jump(here) }
    }

    private mutating func conditional(
        _ test: JinjaExpression, _ then: JinjaExpression, _ otherwise: JinjaExpression?, _ line: Int
    ) throws(JinjaError) {
        let outer = isConditional
        isConditional = true
        try expression(test)
        let toElse = reserve()
        try expression(then)
        let toEnd = reserve()
        program.instructions[toElse] = .jumpIfFalse(here)
        if let otherwise { try expression(otherwise) } else { emit(.undefinedConditional(line: line)) }
        program.instructions[toEnd] = .jump(here)
        isConditional = outer
    }

    /// Refuses filters and tests that do not exist, unless they may never run.
    private func checkName(of suffix: JinjaSuffix) throws(JinjaError) {
        switch suffix {
        case .filter(let name, let call) where JinjaFilters.all[name] == nil && !isConditional:
            throw JinjaError(.syntax, "No filter named \(PythonText.quoted(name)).", line: call.line)
        case .test(let name, let call, _) where JinjaTests.all[name] == nil && !isConditional:
            throw JinjaError(.syntax, "No test named \(PythonText.quoted(name)).", line: call.line)
        default: break
        }
    }

    private mutating func suffixes(_ suffixes: [JinjaSuffix]) throws(JinjaError) {
        for suffix in suffixes {
            switch suffix {
            case .attribute(let text): emit(.attribute(name(text)))
            case .item(let key): try unary(key, .item)
            case .slice(let start, let stop, let step):
                for bound in [start, stop, step] { try expression(bound ?? .constant(.null)) }
                emit(.slice)
            case .call(let call): emit(.call(try arguments(call)))
            case .filter(let text, let call):
                emit(.filter(name(text), call: try arguments(call)))
            case .test(let text, let call, let negated):
                emit(.test(name(text), call: try arguments(call)))
                if negated { emit(.not) }
            }
        }
    }

    private mutating func arguments(_ call: JinjaCall) throws(JinjaError) -> Int {
        try expressions(call.positional)
        for keyword in call.keywords { try expression(keyword.value) }
        if let spread = call.spread { try expression(spread) }
        if let spread = call.keywordSpread { try expression(spread) }
        program.calls.append(
            JinjaCallShape(
                positional: call.positional.count, keywords: call.keywords.map(\.name),
                hasSpread: call.spread != nil, hasKeywordSpread: call.keywordSpread != nil))
        return program.calls.count - 1
    }
}
