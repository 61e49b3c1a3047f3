import Glibc

extension JinjaInterpreter {
    // MARK: Truth and equality

    func truth(_ value: JinjaValue) -> Bool {
        switch value {
        case .undefined, .null: false
        case .bool(let truth): truth
        case .int(let number): number != 0
        case .float(let number): number != 0
        case .string(let text), .markup(let text): !text.isEmpty
        case .list(let sequence), .tuple(let sequence): !sequence.items.isEmpty
        case .dict(let dictionary): dictionary.count > 0
        case .range(let range): range.count != 0
        case .view(let view): !view.items.items.isEmpty
        case .method, .function, .object: true
        }
    }

    func equal(_ a: JinjaValue, _ b: JinjaValue) throws(JinjaError) -> Bool {
        switch (a, b) {
        case (.undefined, .undefined), (.null, .null): return true
        case (.string(let left), .string(let right)), (.markup(let left), .string(let right)),
            (.string(let left), .markup(let right)), (.markup(let left), .markup(let right)):
            try budget.charge(min(left.count, right.count) / 16)
            return sameBytes(left.string, right.string)
        case (.list(let left), .list(let right)), (.tuple(let left), .tuple(let right)):
            return left === right ? true : try equal(left.items, right.items)
        case (.dict(let left), .dict(let right)): return try equal(left, right)
        case (.range(let left), .range(let right)): return left.numbers == right.numbers
        case (.view(let left), .view(let right)):
            return left.kind == right.kind ? try equal(left.items.items, right.items.items) : false
        case (.object(let left), .object(let right)): return left == right
        case (.method(let left), .method(let right)): return left === right
        case (.function(let left), .function(let right)): return left == right
        default:
            if let left = a.index, let right = b.index { return left == right }
            guard let left = number(a), let right = number(b) else { return false }
            return left == right
        }
    }

    private func equal(_ a: [JinjaValue], _ b: [JinjaValue]) throws(JinjaError) -> Bool {
        guard a.count == b.count else { return false }
        try budget.charge(items: a.count)
        for (left, right) in zip(a, b) where try !equal(left, right) { return false }
        return true
    }

    private func equal(_ a: JinjaDictionary, _ b: JinjaDictionary) throws(JinjaError) -> Bool {
        if a === b { return true }
        guard a.count == b.count else { return false }
        try budget.charge(items: a.count)
        for (key, value) in zip(a.keys, a.values) {
            guard let other = try b.value(for: key), try equal(value, other) else { return false }
        }
        return true
    }

    /// The value as a number, booleans counted.
    func number(_ value: JinjaValue) -> Double? {
        switch value {
        case .float(let number): number
        default: value.index.map(Double.init)
        }
    }

    // MARK: Comparison

    func compare(_ comparison: JinjaComparison, _ a: JinjaValue, _ b: JinjaValue) throws(JinjaError) -> Bool {
        switch comparison {
        case .equal: try equal(a, b)
        case .notEqual: try !equal(a, b)
        case .contained: try contains(b, a)
        case .notContained: try !contains(b, a)
        case .less: try order(a, b, "<") { $0 < $1 }
        case .lessOrEqual: try order(a, b, "<=") { $0 <= $1 }
        case .greater: try order(a, b, ">") { $0 > $1 }
        case .greaterOrEqual: try order(a, b, ">=") { $0 >= $1 }
        }
    }

    /// Whether `a` sorts before `b`.
    func isLess(_ a: JinjaValue, _ b: JinjaValue) throws(JinjaError) -> Bool { try compare(.less, a, b) }

    /// Compares by `holds`, which is asked about numbers: -1, 0, 1 against 0 for strings and lists.
    private func order(
        _ a: JinjaValue, _ b: JinjaValue, _ symbol: String, _ holds: (Double, Double) -> Bool
    ) throws(JinjaError) -> Bool {
        if case .undefined(let undefined) = a { throw failure(undefined) }
        if case .undefined(let undefined) = b { throw failure(undefined) }
        if let left = a.text, let right = b.text {
            try budget.charge(min(left.count, right.count) / 16)
            // UTF-8 sorts as code points do.
            let isLess = left.string.utf8.lexicographicallyPrecedes(right.string.utf8)
            return holds(isLess ? -1 : sameBytes(left.string, right.string) ? 0 : 1, 0)
        }
        switch (a, b) {
        case (.list(let left), .list(let right)), (.tuple(let left), .tuple(let right)):
            try budget.charge(items: min(left.items.count, right.items.count))
            for (x, y) in zip(left.items, right.items) where try !equal(x, y) { return try order(x, y, symbol, holds) }
            return holds(Double(left.items.count), Double(right.items.count))
        default:
            if let left = a.index, let right = b.index { return holds(left < right ? -1 : left == right ? 0 : 1, 0) }
            guard let left = number(a), let right = number(b) else {
                throw .type(
                    "'\(symbol)' not supported between instances of '\(typeName(a))' and '\(typeName(b))'")
            }
            return holds(left, right)
        }
    }

    /// `item in container`
    func contains(_ container: JinjaValue, _ item: JinjaValue) throws(JinjaError) -> Bool {
        switch container {
        case .string(let text), .markup(let text):
            guard let part = item.text else {
                throw .type("'in <string>' requires string as left operand, not \(typeName(item))")
            }
            try budget.charge(text.count / 16)
            return text.contains(part.string)
        case .dict(let dictionary): return try dictionary.value(for: item) != nil
        case .undefined: return false
        case .object(let handle):
            guard case .generator = heap[handle] else { break }
            return try isMember(item, of: try items(of: container))
        case .list, .tuple, .range, .view: return try isMember(item, of: try items(of: container))
        default: break
        }
        throw .type("argument of type '\(typeName(container))' is not iterable")
    }

    private func isMember(_ item: JinjaValue, of items: [JinjaValue]) throws(JinjaError) -> Bool {
        try budget.charge(items: items.count)
        for candidate in items where try equal(candidate, item) { return true }
        return false
    }

    // MARK: Arithmetic

    func negated(_ value: JinjaValue) throws(JinjaError) -> JinjaValue {
        if case .undefined(let undefined) = value { throw failure(undefined) }
        if case .float(let number) = value { return .float(-number) }
        guard let number = value.index else { throw .type("bad operand type for unary -: '\(typeName(value))'") }
        return .int(try checked(Int(0).subtractingReportingOverflow(number)))
    }

    func positive(_ value: JinjaValue) throws(JinjaError) -> JinjaValue {
        if case .undefined(let undefined) = value { throw failure(undefined) }
        if case .float = value { return value }
        guard let number = value.index else { throw .type("bad operand type for unary +: '\(typeName(value))'") }
        return .int(number)
    }

    /// `a ~ b ~ c`: the texts of all values.
    func concatenated(_ values: [JinjaValue]) throws(JinjaError) -> JinjaValue {
        var result = JinjaText("")
        for value in values {
            let text = try outputText(value)
            try budget.charge(text.count)
            result.append(text)
        }
        return .string(result)
    }

    func arithmetic(_ operation: JinjaArithmetic, _ a: JinjaValue, _ b: JinjaValue) throws(JinjaError) -> JinjaValue {
        // A string's `%` comes before what an undefined operand says.
        if operation == .remainder, let format = a.text { return try formatted(format, with: b, isMarkup: a.isMarkup) }
        if case .undefined(let undefined) = a { throw failure(undefined) }
        if operation == .add, let sum = try joined(a, b) { return sum }
        if operation == .multiply, let product = try repeated(a, b) { return product }
        if case .undefined(let undefined) = b { throw failure(undefined) }
        if let left = a.index, let right = b.index { return try integers(operation, left, right) }
        guard let left = number(a), let right = number(b) else { throw unsupported(operation, a, b) }
        return .float(try floats(operation, left, right))
    }

    private func unsupported(_ operation: JinjaArithmetic, _ a: JinjaValue, _ b: JinjaValue) -> JinjaError {
        let symbol = operation == .power ? "** or pow()" : operation.rawValue
        return .type("unsupported operand type(s) for \(symbol): '\(typeName(a))' and '\(typeName(b))'")
    }

    /// The sum of strings, lists or tuples; nil for other values.
    private func joined(_ a: JinjaValue, _ b: JinjaValue) throws(JinjaError) -> JinjaValue? {
        switch (a, b) {
        case (.string(var left), .string(let right)):
            try budget.charge(left.count + right.count)
            left.append(right)
            return .string(left)
        case (.markup, .string), (.string, .markup), (.markup, .markup):
            var left = escapedForMarkup(a)
            left.append(escapedForMarkup(b))
            return .markup(left)
        case (.list(let left), .list(let right)):
            try budget.checkItems(left.items.count + right.items.count)
            return .list(JinjaSequence(left.items + right.items))
        case (.tuple(let left), .tuple(let right)):
            try budget.checkItems(left.items.count + right.items.count)
            return .tuple(JinjaSequence(left.items + right.items))
        default: break
        }
        if case .undefined(let undefined) = b { throw failure(undefined) }
        switch a {
        case .string: throw .type("can only concatenate str (not \"\(typeName(b))\") to str")
        case .list: throw .type("can only concatenate list (not \"\(typeName(b))\") to list")
        case .tuple: throw .type("can only concatenate tuple (not \"\(typeName(b))\") to tuple")
        case .markup: throw unsupported(.add, a, b)
        default: return nil
        }
    }

    /// A string or list so many times; nil for other values.
    private func repeated(_ a: JinjaValue, _ b: JinjaValue) throws(JinjaError) -> JinjaValue? {
        let (value, factor) = a.index == nil ? (a, b) : (b, a)
        switch value {
        case .string, .markup, .list, .tuple: break
        default: return nil
        }
        if case .undefined(let undefined) = factor { throw failure(undefined) }
        guard let count = factor.index.map({ max(0, $0) }) else {
            throw .type("can't multiply sequence by non-int of type '\(typeName(factor))'")
        }
        switch value {
        case .string(let text): return .string(try repeated(text, count))
        case .markup(let text): return .markup(try repeated(text, count))
        case .list(let sequence): return .list(JinjaSequence(try repeated(sequence.items, count)))
        case .tuple(let sequence): return .tuple(JinjaSequence(try repeated(sequence.items, count)))
        default: return nil
        }
    }

    func repeated(_ text: JinjaText, _ count: Int) throws(JinjaError) -> JinjaText {
        let (bytes, overflow) = text.count.multipliedReportingOverflow(by: count)
        try budget.charge(overflow ? .max : bytes)
        if text.runs.isEmpty { return JinjaText(String(repeating: text.string, count: text.isEmpty ? 0 : count)) }
        var result = JinjaText("")
        for _ in 0..<count { result.append(text) }
        return result
    }

    private func repeated(_ items: [JinjaValue], _ count: Int) throws(JinjaError) -> [JinjaValue] {
        let (total, overflow) = items.count.multipliedReportingOverflow(by: count)
        try budget.checkItems(overflow ? .max : total)
        return items.isEmpty ? [] : Array(repeatElement(items, count: count).joined())
    }

    // MARK: Numbers

    private func checked(_ result: (partialValue: Int, overflow: Bool)) throws(JinjaError) -> Int {
        if result.overflow { throw .budget("an integer that does not fit 64 bits") }
        return result.partialValue
    }

    private func integers(_ operation: JinjaArithmetic, _ a: Int, _ b: Int) throws(JinjaError) -> JinjaValue {
        switch operation {
        case .add: return .int(try checked(a.addingReportingOverflow(b)))
        case .subtract: return .int(try checked(a.subtractingReportingOverflow(b)))
        case .multiply: return .int(try checked(a.multipliedReportingOverflow(by: b)))
        case .divide:
            guard b != 0 else { throw .type("division by zero") }
            return .float(Double(a) / Double(b))
        case .floorDivide:
            guard b != 0 else { throw .type("integer division or modulo by zero") }
            let quotient = try checked(a.dividedReportingOverflow(by: b))
            return .int(a % b != 0 && (a < 0) != (b < 0) ? quotient - 1 : quotient)
        case .remainder:
            guard b != 0 else { throw .type("integer modulo by zero") }
            let remainder = b == -1 ? 0 : a % b
            return .int(remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder)
        case .power:
            guard b >= 0 else { return .float(try floats(.power, Double(a), Double(b))) }
            return .int(try power(a, b))
        }
    }

    private func power(_ base: Int, _ exponent: Int) throws(JinjaError) -> Int {
        if base == 0 || base == 1 { return exponent == 0 ? 1 : base }
        if base == -1 { return exponent.isMultiple(of: 2) ? 1 : -1 }
        guard exponent < 64 else { throw .budget("an integer that does not fit 64 bits") }
        var result = 1
        for _ in 0..<exponent { result = try checked(result.multipliedReportingOverflow(by: base)) }
        return result
    }

    private func floats(_ operation: JinjaArithmetic, _ a: Double, _ b: Double) throws(JinjaError) -> Double {
        switch operation {
        case .add: return a + b
        case .subtract: return a - b
        case .multiply: return a * b
        case .divide:
            guard b != 0 else { throw .type("float division by zero") }
            return a / b
        case .floorDivide:
            guard b != 0 else { throw .type("float floor division by zero") }
            return ((a - modulo(a, b)) / b).rounded()
        case .remainder:
            guard b != 0 else { throw .type("float modulo") }
            return modulo(a, b)
        case .power:
            if a == 0, b < 0 { throw .type("0.0 cannot be raised to a negative power") }
            return pow(a, b)
        }
    }

    /// The remainder with the divisor's sign.
    private func modulo(_ a: Double, _ b: Double) -> Double {
        let remainder = fmod(a, b)
        if remainder == 0 { return b < 0 ? -0.0 : 0.0 }
        return (remainder < 0) != (b < 0) ? remainder + b : remainder
    }
}

extension JinjaValue {
    var isMarkup: Bool { if case .markup = self { true } else { false } }
}
