extension JinjaCompiler {
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
    func checkName(of suffix: JinjaSuffix) throws(JinjaError) {
        switch suffix {
        case .filter(let name, let call) where JinjaFilters.all[name] == nil && !isConditional:
            throw JinjaError(.syntax, "No filter named \(PythonText.quoted(name)).", line: call.line)
        case .test(let name, let call, _) where JinjaTests.all[name] == nil && !isConditional:
            throw JinjaError(.syntax, "No test named \(PythonText.quoted(name)).", line: call.line)
        default: break
        }
    }

    mutating func suffixes(_ suffixes: [JinjaSuffix]) throws(JinjaError) {
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

    mutating func arguments(_ call: JinjaCall) throws(JinjaError) -> Int {
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
