/// Turns a syntax tree into a program.
struct JinjaCompiler {
    var program = JinjaProgram()
    private var nameNumbers: [String: Int] = [:]
    private var symbols = JinjaSymbols(parent: nil)
    /// Inside `if` and conditional expressions an unknown filter fails when it runs, elsewhere the template is refused.
    var isConditional = false
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

    mutating func emit(_ instruction: JinjaInstruction) { program.instructions.append(instruction) }

    var here: Int { program.instructions.count }

    mutating func reserve() -> Int {
        emit(.halt)
        return here - 1
    }

    mutating func name(_ text: String) -> Int {
        if let number = nameNumbers[text] { return number }
        nameNumbers[text] = program.names.count
        program.names.append(text)
        return program.names.count - 1
    }

    mutating func constant(_ value: JinjaValue) -> Int {
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
}
