extension JinjaParser {
    // MARK: Tuples and conditionals

    /// An expression, or a tuple of several with commas between them.
    mutating func tuple(
        allowsConditional: Bool = true, endingAt end: String? = nil, inParentheses: Bool = false
    ) throws(JinjaError) -> JinjaExpression {
        var items: [JinjaExpression] = []
        var isTuple = false
        while true {
            if !items.isEmpty { try expect(.comma) }
            if isTupleEnd(end) { break }
            items.append(try expression(allowsConditional: allowsConditional))
            guard current.isSymbol(.comma) else { break }
            isTuple = true
        }
        if !isTuple {
            if let item = items.first { return item }
            guard inParentheses else {
                throw failure("Expected an expression, got \(PythonText.quoted(current.description))")
            }
        }
        return .tuple(items)
    }

    mutating func expression(allowsConditional: Bool = true) throws(JinjaError) -> JinjaExpression {
        try descend()
        defer { ascend() }
        let line = current.line
        var result = try binary(.or)
        guard allowsConditional else { return result }
        while try skip(name: "if") {
            let test = try binary(.or)
            let otherwise = try skip(name: "else") ? try expression() : nil
            result = .conditional(test: test, then: result, otherwise: otherwise, line: line)
        }
        return result
    }

    // MARK: Operators

    /// The binary operators from the loosest to the tightest.
    fileprivate enum Precedence: Int {
        case or, and, not, comparison, sum, concatenation, product, power, unary

        var tighter: Precedence { Precedence(rawValue: rawValue + 1) ?? .unary }
    }

    /// The precedence of the operator that stands here.
    private var operatorPrecedence: Precedence? {
        switch current.kind {
        case .name(let name):
            switch name {
            case "or": .or
            case "and": .and
            case "in": .comparison
            case "not": next(isName: "in") ? .comparison : nil
            default: nil
            }
        case .symbol(let symbol):
            switch symbol {
            case .equal, .notEqual, .less, .lessOrEqual, .greater, .greaterOrEqual: .comparison
            case .plus, .minus: .sum
            case .tilde: .concatenation
            case .star, .slash, .doubleSlash, .percent: .product
            case .doubleStar: .power
            default: nil
            }
        default: nil
        }
    }

    /// An expression of operators that bind at least as tightly as `level`.
    fileprivate mutating func binary(_ level: Precedence) throws(JinjaError) -> JinjaExpression {
        var left: JinjaExpression
        if level.rawValue <= Precedence.not.rawValue, current.isName("not") {
            try descend()
            defer { ascend() }
            try advance()
            left = .not(try binary(.not))
        } else {
            left = try unary(withFilters: true)
        }
        while let precedence = operatorPrecedence, precedence.rawValue >= level.rawValue {
            left = try chain(precedence, from: left)
        }
        return left
    }

    /// All operators of one precedence that follow `first`.
    private mutating func chain(
        _ precedence: Precedence, from first: JinjaExpression
    ) throws(JinjaError) -> JinjaExpression {
        switch precedence {
        case .or, .and, .concatenation:
            var items = [first]
            while operatorPrecedence == precedence {
                try advance()
                items.append(try binary(precedence.tighter))
            }
            return precedence == .or ? .any(items) : precedence == .and ? .all(items) : .concatenation(items)
        case .comparison:
            var pairs: [(comparison: JinjaComparison, operand: JinjaExpression)] = []
            while operatorPrecedence == precedence {
                let comparison = try comparison()
                pairs.append((comparison, try binary(.sum)))
            }
            return .comparison(first, pairs)
        default:
            var pairs: [(operation: JinjaArithmetic, operand: JinjaExpression)] = []
            while operatorPrecedence == precedence {
                guard case .symbol(let symbol) = current.kind,
                    let operation = JinjaArithmetic(rawValue: symbol.rawValue)
                else { break }
                try advance()
                pairs.append((operation, try binary(precedence.tighter)))
            }
            return .arithmetic(first, pairs)
        }
    }

    private mutating func comparison() throws(JinjaError) -> JinjaComparison {
        let token = current
        try advance()
        switch token.kind {
        case .symbol(let symbol): return JinjaComparison(rawValue: symbol.rawValue) ?? .equal
        default:
            guard token.isName("not") else { return .contained }
            try advance()
            return .notContained
        }
    }

    private mutating func unary(withFilters: Bool) throws(JinjaError) -> JinjaExpression {
        var base: JinjaExpression
        if current.isSymbol(.minus) || current.isSymbol(.plus) {
            try descend()
            defer { ascend() }
            let negates = current.isSymbol(.minus)
            try advance()
            let operand = try unary(withFilters: false)
            base = negates ? .negated(operand) : .positive(operand)
        } else {
            base = try primary()
        }
        let suffixes = try suffixes(withFilters: withFilters)
        return suffixes.isEmpty ? base : .suffixed(base, suffixes)
    }

    // MARK: Primaries

    private mutating func primary() throws(JinjaError) -> JinjaExpression {
        let token = current
        switch token.kind {
        case .name(let name):
            try advance()
            switch name {
            case "true", "True": return .constant(.bool(true))
            case "false", "False": return .constant(.bool(false))
            case "none", "None": return .constant(.null)
            default: return .name(name)
            }
        case .string(var text):
            try advance()
            while case .string(let more) = current.kind {
                text += more
                try advance()
            }
            return .constant(.text(text))
        case .integer(let value):
            try advance()
            return .constant(.int(value))
        case .float(let value):
            try advance()
            return .constant(.float(value))
        case .symbol(.leftParenthesis):
            try advance()
            let inner = try tuple(inParentheses: true)
            try expect(.rightParenthesis)
            return inner
        case .symbol(.leftBracket): return try list()
        case .symbol(.leftBrace): return try dictionary()
        default: throw failure("unexpected \(PythonText.quoted(token.description))")
        }
    }

    private mutating func list() throws(JinjaError) -> JinjaExpression {
        try expect(.leftBracket)
        var items: [JinjaExpression] = []
        while !current.isSymbol(.rightBracket) {
            if !items.isEmpty { try expect(.comma) }
            if current.isSymbol(.rightBracket) { break }
            items.append(try expression())
        }
        try expect(.rightBracket)
        return .list(items)
    }

    private mutating func dictionary() throws(JinjaError) -> JinjaExpression {
        try expect(.leftBrace)
        var items: [(key: JinjaExpression, value: JinjaExpression)] = []
        while !current.isSymbol(.rightBrace) {
            if !items.isEmpty { try expect(.comma) }
            if current.isSymbol(.rightBrace) { break }
            let key = try expression()
            try expect(.colon)
            items.append((key, try expression()))
        }
        try expect(.rightBrace)
        return .dict(items)
    }

    // MARK: Suffixes

    private mutating func suffixes(withFilters: Bool) throws(JinjaError) -> [JinjaSuffix] {
        var suffixes: [JinjaSuffix] = []
        // Attributes and elements bind to what stands before the first filter or test only.
        var afterFilter = false
        while true {
            switch current.kind {
            case .symbol(.dot) where !afterFilter: suffixes.append(try attribute())
            case .symbol(.leftBracket) where !afterFilter: suffixes.append(try element())
            case .symbol(.leftParenthesis): suffixes.append(.call(try arguments()))
            case .symbol(.pipe) where withFilters:
                afterFilter = true
                try advance()
                suffixes.append(try filter())
            case .name("is") where withFilters:
                afterFilter = true
                suffixes.append(try test())
            default: return suffixes
            }
        }
    }

    private mutating func attribute() throws(JinjaError) -> JinjaSuffix {
        try expect(.dot)
        let token = current
        try advance()
        switch token.kind {
        case .name(let name): return .attribute(name)
        case .integer(let value): return .item(.constant(.int(value)))
        default: throw failure("expected name or number", at: token)
        }
    }

    private mutating func element() throws(JinjaError) -> JinjaSuffix {
        try expect(.leftBracket)
        var keys: [JinjaExpression] = []
        var slice: JinjaSuffix?
        while !current.isSymbol(.rightBracket) {
            if !keys.isEmpty || slice != nil { try expect(.comma) }
            let start = current.isSymbol(.colon) ? nil : try expression()
            if try skip(.colon) {
                slice = .slice(start, try bound(), try skip(.colon) ? try bound() : nil)
            } else if let start {
                keys.append(start)
            }
        }
        try expect(.rightBracket)
        if let slice {
            guard keys.isEmpty else { throw failure("slices of several dimensions are not available") }
            return slice
        }
        return .item(keys.count == 1 ? keys[0] : .tuple(keys))
    }

    /// A part of a slice, which may be left out.
    private mutating func bound() throws(JinjaError) -> JinjaExpression? {
        switch current.kind {
        case .symbol(.colon), .symbol(.rightBracket), .symbol(.comma): nil
        default: try expression()
        }
    }

    private mutating func arguments() throws(JinjaError) -> JinjaCall {
        let opening = current
        var call = JinjaCall(line: opening.line)
        try expect(.leftParenthesis)
        var isFirst = true
        while !current.isSymbol(.rightParenthesis) {
            if !isFirst {
                try expect(.comma)
                if current.isSymbol(.rightParenthesis) { break }
            }
            isFirst = false
            guard try argument(&call) else {
                throw failure("invalid syntax for function call expression", at: opening)
            }
        }
        try expect(.rightParenthesis)
        return call
    }

    /// One argument; false if it stands where its kind may not.
    private mutating func argument(_ call: inout JinjaCall) throws(JinjaError) -> Bool {
        if current.isSymbol(.star) {
            guard call.spread == nil, call.keywordSpread == nil else { return false }
            try advance()
            call.spread = try expression()
        } else if current.isSymbol(.doubleStar) {
            guard call.keywordSpread == nil else { return false }
            try advance()
            call.keywordSpread = try expression()
        } else if case .name(let name) = current.kind, next(is: .assign) {
            guard call.keywordSpread == nil else { return false }
            try advance()
            try advance()
            call.keywords.append((name, try expression()))
        } else {
            guard call.spread == nil, call.keywordSpread == nil, call.keywords.isEmpty else { return false }
            call.positional.append(try expression())
        }
        return true
    }

    /// `| filter | filter`, as many as follow.
    mutating func filters() throws(JinjaError) -> [JinjaSuffix] {
        var suffixes: [JinjaSuffix] = []
        while try skip(.pipe) { suffixes.append(try filter()) }
        return suffixes
    }

    /// A filter's name and arguments; the bar has been read.
    mutating func filter() throws(JinjaError) -> JinjaSuffix {
        let line = current.line
        let name = try dottedName()
        return .filter(name, current.isSymbol(.leftParenthesis) ? try arguments() : JinjaCall(line: line))
    }

    private mutating func dottedName() throws(JinjaError) -> String {
        var name = try expectName()
        while try skip(.dot) { name += "." + (try expectName()) }
        return name
    }

    private mutating func test() throws(JinjaError) -> JinjaSuffix {
        let line = current.line
        try advance()
        let negated = try skip(name: "not")
        let name = try dottedName()
        var call = JinjaCall(line: line)
        switch current.kind {
        case .symbol(.leftParenthesis): call = try arguments()
        case .name("else"), .name("or"), .name("and"): break
        case .name("is"): throw failure("You cannot chain multiple tests with is")
        case .name, .string, .integer, .float, .symbol(.leftBracket), .symbol(.leftBrace):
            let base = try primary()
            let suffixes = try suffixes(withFilters: false)
            call.positional = [suffixes.isEmpty ? base : .suffixed(base, suffixes)]
        default: break
        }
        return .test(name, call, negated: negated)
    }
}
