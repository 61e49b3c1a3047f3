/// The tests: `value is name(arguments)`.
enum JinjaTests {
    typealias Test = @Sendable (JinjaInterpreter, JinjaValue, JinjaArguments) throws(JinjaError) -> Bool

    static let all: [String: Test] = Dictionary(uniqueKeysWithValues: kinds.map { ($0.key, alone($0.key, $0.value)) })
        .merging(relations) { $1 }

    /// A test that takes no arguments.
    private static func alone(_ name: String, _ test: @escaping Test) -> Test {
        { interpreter, value, arguments throws(JinjaError) in
            guard arguments.positional.isEmpty, arguments.keywords.isEmpty else {
                let count = arguments.positional.count + 1
                throw .type("test_\(name)() takes 1 positional argument but \(count) were given")
            }
            return try test(interpreter, value, arguments)
        }
    }

    /// Tests of a value by itself.
    private static let kinds: [String: Test] = [
        "defined": { _, value, _ in !value.isUndefined },
        "undefined": { _, value, _ in value.isUndefined },
        "none": { _, value, _ in value.isNone },
        "boolean": { _, value, _ in if case .bool = value { true } else { false } },
        "true": { _, value, _ in if case .bool(true) = value { true } else { false } },
        "false": { _, value, _ in if case .bool(false) = value { true } else { false } },
        "integer": { _, value, _ in if case .int = value { true } else { false } },
        "float": { _, value, _ in if case .float = value { true } else { false } },
        "number": { interpreter, value, _ in interpreter.number(value) != nil },
        "string": { _, value, _ in value.text != nil },
        "mapping": { _, value, _ in if case .dict = value { true } else { false } },
        "sequence": { interpreter, value, _ in isSequence(value) },
        "iterable": isIterable,
        "callable": isCallable,
        "escaped": { _, value, _ in value.isMarkup },
        "odd": { interpreter, value, _ throws(JinjaError) in try remainder(interpreter, value, .int(2), is: 1) },
        "even": { interpreter, value, _ throws(JinjaError) in try remainder(interpreter, value, .int(2), is: 0) },
        "lower": { interpreter, value, _ throws(JinjaError) in
            PythonText.isAll(upper: false, try interpreter.outputText(value).string)
        },
        "upper": { interpreter, value, _ throws(JinjaError) in
            PythonText.isAll(upper: true, try interpreter.outputText(value).string)
        },
        "filter": { _, value, _ in value.text.map { JinjaFilters.all[$0.string] != nil } ?? false },
        "test": { _, value, _ in
            value.text.map { kinds[$0.string] != nil || relations[$0.string] != nil } ?? false
        },
    ]

    /// Tests against another value.
    private static let relations: [String: Test] = [
        "sameas": isSame,
        "divisibleby": { interpreter, value, arguments throws(JinjaError) in
            try remainder(interpreter, value, try operand(arguments, "test_divisibleby", "num"), is: 0)
        },
        "in": { interpreter, value, arguments throws(JinjaError) in
            try interpreter.contains(try operand(arguments, "test_in", "seq"), value)
        },
        "==": comparison(.equal), "eq": comparison(.equal), "equalto": comparison(.equal),
        "!=": comparison(.notEqual), "ne": comparison(.notEqual),
        ">": comparison(.greater), "gt": comparison(.greater), "greaterthan": comparison(.greater),
        ">=": comparison(.greaterOrEqual), "ge": comparison(.greaterOrEqual),
        "<": comparison(.less), "lt": comparison(.less), "lessthan": comparison(.less),
        "<=": comparison(.lessOrEqual), "le": comparison(.lessOrEqual),
    ]

    private static func operand(
        _ arguments: JinjaArguments, _ function: String, _ name: String
    ) throws(JinjaError) -> JinjaValue {
        try arguments.bind(function, [name], required: 1)[0] ?? .null
    }

    private static func comparison(_ comparison: JinjaComparison) -> Test {
        { interpreter, value, arguments throws(JinjaError) in
            guard arguments.positional.count == 1, arguments.keywords.isEmpty else {
                let names: [JinjaComparison: String] = [
                    .equal: "eq", .notEqual: "ne", .less: "lt", .lessOrEqual: "le", .greater: "gt",
                    .greaterOrEqual: "ge",
                ]
                let name = names[comparison] ?? comparison.rawValue
                throw .type("\(name) expected 2 arguments, got \(arguments.positional.count + 1)")
            }
            return try interpreter.compare(comparison, value, arguments.positional[0])
        }
    }

    private static func remainder(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ divisor: JinjaValue, is expected: Int
    ) throws(JinjaError) -> Bool {
        try interpreter.equal(try interpreter.arithmetic(.remainder, value, divisor), .int(expected))
    }

    private static func isSequence(_ value: JinjaValue) -> Bool {
        switch value {
        // Dictionaries and undefined values have a length and elements, which is all that Jinja asks for.
        case .list, .tuple, .dict, .range, .string, .markup, .undefined: true
        default: false
        }
    }

    private static func isIterable(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) -> Bool {
        switch value {
        case .list, .tuple, .dict, .range, .string, .markup, .view, .undefined: return true
        case .object(let handle):
            switch interpreter.heap[handle] {
            case .generator, .loop: return true
            default: return false
            }
        default: return false
        }
    }

    private static func isCallable(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) -> Bool {
        switch value {
        case .method, .function, .undefined: return true
        case .object(let handle):
            switch interpreter.heap[handle] {
            case .macro, .loop, .joiner: return true
            default: return false
            }
        default: return false
        }
    }

    private static func isSame(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> Bool {
        switch (value, try operand(arguments, "test_sameas", "other")) {
        case (.null, .null): return true
        case (.bool(let a), .bool(let b)): return a == b
        case (.int(let a), .int(let b)): return a == b
        case (.string(let a), .string(let b)): return sameBytes(a.string, b.string)
        case (.list(let a), .list(let b)), (.tuple(let a), .tuple(let b)): return a === b
        case (.dict(let a), .dict(let b)): return a === b
        case (.object(let a), .object(let b)): return a == b
        default: return false
        }
    }
}
