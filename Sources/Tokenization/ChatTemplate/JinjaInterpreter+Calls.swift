/// The arguments of a call, computed.
struct JinjaArguments: Sendable {
    var positional: [JinjaValue] = []
    var keywords: [(name: String, value: JinjaValue)] = []

    func keyword(_ name: String) -> JinjaValue? { keywords.first { $0.name == name }?.value }

    /// The arguments in the order of `parameters`; those left out are nil.
    ///
    /// - Throws: Python's type errors for too many, unknown, repeated and missing arguments.
    func bind(_ function: String, _ parameters: [String], required: Int = 0) throws(JinjaError) -> [JinjaValue?] {
        guard positional.count <= parameters.count else {
            let takes = parameters.isEmpty ? "no arguments" : "at most \(parameters.count) arguments"
            throw .type("\(function)() takes \(takes) (\(positional.count) given)")
        }
        var bound: [JinjaValue?] = positional.map { $0 }
        bound += Array(repeating: nil, count: parameters.count - positional.count)
        for keyword in keywords {
            guard let index = parameters.firstIndex(of: keyword.name) else {
                throw .type("\(function)() got an unexpected keyword argument '\(keyword.name)'")
            }
            guard bound[index] == nil else {
                throw .type("\(function)() got multiple values for argument '\(keyword.name)'")
            }
            bound[index] = keyword.value
        }
        let missing = parameters.prefix(required).enumerated().filter { bound[$0.offset] == nil }.map(\.element)
        guard missing.isEmpty else {
            let names = missing.map { "'\($0)'" }.joined(separator: " and ")
            throw .type(
                "\(function)() missing \(missing.count) required positional argument\(missing.count > 1 ? "s" : ""): \(names)"
            )
        }
        return bound
    }
}

extension JinjaInterpreter {
    /// Takes the arguments of a call from the stack.
    func popArguments(_ number: Int) throws(JinjaError) -> JinjaArguments {
        let shape = program.calls[number]
        let keywordSpread = shape.hasKeywordSpread ? pop() : nil
        let spread = shape.hasSpread ? pop() : nil
        let values = popLast(shape.keywords.count)
        var arguments = JinjaArguments(positional: popLast(shape.positional))
        arguments.keywords = Array(zip(shape.keywords, values))
        if let spread {
            arguments.positional += try items(of: spread)
            try budget.checkItems(arguments.positional.count)
        }
        if let keywordSpread {
            guard case .dict(let dictionary) = keywordSpread else {
                throw .type("argument after ** must be a mapping, not \(typeName(keywordSpread))")
            }
            for (key, value) in zip(dictionary.keys, dictionary.values) {
                guard let name = key.text?.string else { throw .type("keywords must be strings") }
                arguments.keywords.append((name, value))
            }
        }
        return arguments
    }

    func applyFilter(_ name: Int, _ shape: Int) throws(JinjaError) {
        let arguments = try popArguments(shape)
        let value = pop()
        guard let filter = JinjaFilters.all[program.names[name]] else {
            throw .type("No filter named \(PythonText.quoted(program.names[name])) found.")
        }
        try budget.countStep()
        stack.append(try finished(try filter(self, value, arguments)))
    }

    func applyTest(_ name: Int, _ shape: Int) throws(JinjaError) {
        let arguments = try popArguments(shape)
        let value = pop()
        guard let test = JinjaTests.all[program.names[name]] else {
            throw .type("No test named \(PythonText.quoted(program.names[name])) found.")
        }
        stack.append(.bool(try test(self, value, arguments)))
    }

    /// Calls what lies under the arguments: a macro or recursive loop goes on at its code, all else gives its value.
    func call(_ shape: Int, caller: JinjaValue? = nil, _ address: inout Int) throws(JinjaError) {
        try budget.countStep()
        var arguments = try popArguments(shape)
        if let caller { arguments.keywords.append(("caller", caller)) }
        let callee = pop()
        switch callee {
        case .undefined(let undefined): throw failure(undefined)
        case .function(let function): stack.append(try finished(try call(function, arguments)))
        case .method(let method): stack.append(try finished(try call(method, arguments)))
        case .object(let handle):
            switch heap[handle] {
            case .macro(let macro): try enterMacro(macro, arguments, &address)
            case .loop: try callLoop(handle, arguments, &address)
            case .joiner(let separator, let used):
                _ = try arguments.bind("__call__", [])
                heap[handle] = .joiner(separator: separator, used: true)
                stack.append(used ? separator : .text(""))
            default: throw .type("'\(typeName(callee))' object is not callable")
            }
        default: throw .type("'\(typeName(callee))' object is not callable")
        }
    }

    // MARK: Macros

    private func enterMacro(
        _ macro: JinjaMacro, _ arguments: JinjaArguments, _ address: inout Int
    ) throws(JinjaError) {
        let shape = program.macros[macro.shape]
        var keywords = arguments.keywords
        var values: [JinjaValue?] = arguments.positional.prefix(shape.parameters.count).map { $0 }
        for parameter in shape.parameterNames.dropFirst(values.count) {
            let index = keywords.firstIndex { $0.name == parameter }
            values.append(index.map { keywords.remove(at: $0).value })
        }
        let callerIndex = shape.takesCaller ? keywords.firstIndex { $0.name == "caller" } : nil
        let caller = callerIndex.map { keywords.remove(at: $0).value }
        let name = shape.name.map { PythonText.quoted($0) } ?? "None"
        if !shape.takesKeywords, let extra = keywords.first {
            throw .type(
                extra.name == "caller"
                    ? "macro \(name) was invoked with two values for the special caller argument. This is most likely a bug."
                    : "macro \(name) takes no keyword argument \(PythonText.quoted(extra.name))")
        }
        if !shape.takesPositionals, arguments.positional.count > shape.parameters.count {
            throw .type("macro \(name) takes not more than \(shape.parameters.count) argument(s)")
        }
        try enter(shape.entry, scope: shape.scope, parent: macro.scope, &address)
        for (index, value) in values.enumerated() {
            if let value {
                set(shape.parameters[index], value)
            } else if index < shape.firstDefault {
                let hint = "parameter \(PythonText.quoted(shape.parameterNames[index])) was not provided"
                set(shape.parameters[index], .undefined(JinjaUndefined(.hint(hint))))
            }
        }
        try setSpecialParameters(shape, caller, keywords, arguments.positional)
    }

    private func setSpecialParameters(
        _ shape: JinjaMacroShape, _ caller: JinjaValue?, _ keywords: [(name: String, value: JinjaValue)],
        _ positional: [JinjaValue]
    ) throws(JinjaError) {
        if shape.takesCaller {
            set(named: "caller", caller ?? .undefined(JinjaUndefined(.hint("No caller defined"))))
        }
        if shape.takesKeywords {
            let members = keywords.map { (key: JinjaValue.text($0.name), value: $0.value) }
            set(named: "kwargs", try finished(.dict(try JinjaDictionary(members))))
        }
        if shape.takesPositionals {
            let rest = Array(positional.dropFirst(shape.parameters.count))
            set(named: "varargs", try finished(.tuple(JinjaSequence(rest))))
        }
    }

    // MARK: Functions

    private func call(_ function: JinjaFunction, _ arguments: JinjaArguments) throws(JinjaError) -> JinjaValue {
        switch function {
        case .range: return try range(arguments)
        case .dict: return .dict(try JinjaDictionary(try members(arguments, "dict")))
        case .namespace:
            var namespace = JinjaNamespace()
            for (key, value) in try members(arguments, "dict") {
                guard let name = key.text?.string else { throw .type("keywords must be strings") }
                namespace[name] = value
            }
            return allocate(.namespace(namespace))
        case .cycler:
            guard !arguments.positional.isEmpty else { throw .type("at least one item has to be provided") }
            return allocate(.cycler(items: arguments.positional, position: 0))
        case .joiner:
            let separator = try arguments.bind("Joiner.__init__", ["sep"])[0] ?? .text(", ")
            return allocate(.joiner(separator: separator, used: false))
        case .raiseException:
            let message = try arguments.bind("raise_exception", ["message"], required: 1)[0] ?? .null
            throw JinjaError(.raised, try outputText(message).string)
        case .strftimeNow:
            let format = try arguments.bind("strftime_now", ["format"], required: 1)[0] ?? .null
            guard let format = format.text else {
                throw .type("strftime() argument 1 must be str, not \(typeName(format))")
            }
            try budget.charge(format.count * 32)
            return .text(clock.formatted(format.string))
        case .lipsum: throw .type("lipsum is random, which chat templates cannot be")
        }
    }

    func allocate(_ object: JinjaObject) -> JinjaValue {
        heap.append(object)
        return .object(heap.count - 1)
    }

    /// A generator over `items`.
    func generator(_ items: [JinjaValue], failure: JinjaError? = nil, typeName: String = "generator") -> JinjaValue {
        allocate(.generator(JinjaGenerator(items: items[...], failure: failure, typeName: typeName)))
    }

    private func range(_ arguments: JinjaArguments) throws(JinjaError) -> JinjaValue {
        guard arguments.keywords.isEmpty else { throw .type("range() takes no keyword arguments") }
        var numbers: [Int] = []
        for argument in arguments.positional {
            guard let number = argument.index else {
                throw argument.isUndefined
                    ? undefinedFailure(argument)
                    : .type("'\(typeName(argument))' object cannot be interpreted as an integer")
            }
            numbers.append(number)
        }
        let range: JinjaRange
        switch numbers.count {
        case 0: throw .type("range expected at least 1 argument, got 0")
        case 1: range = JinjaRange(start: 0, stop: numbers[0], step: 1)
        case 2: range = JinjaRange(start: numbers[0], stop: numbers[1], step: 1)
        case 3:
            guard numbers[2] != 0 else { throw .type("range() arg 3 must not be zero") }
            range = JinjaRange(start: numbers[0], stop: numbers[1], step: numbers[2])
        default: throw .type("range expected at most 3 arguments, got \(numbers.count)")
        }
        guard let count = range.count, count <= JinjaBudget.maximumItems else {
            throw .budget("Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).")
        }
        return .range(range)
    }

    /// What `dict(...)` and `namespace(...)` are made of.
    private func members(
        _ arguments: JinjaArguments, _ function: String
    ) throws(JinjaError) -> [(key: JinjaValue, value: JinjaValue)] {
        guard arguments.positional.count <= 1 else {
            throw .type("\(function) expected at most 1 argument, got \(arguments.positional.count)")
        }
        var members: [(key: JinjaValue, value: JinjaValue)] = []
        if let source = arguments.positional.first {
            if case .undefined(let undefined) = source { throw failure(undefined) }
            if case .dict(let dictionary) = source {
                members = zip(dictionary.keys, dictionary.values).map { ($0, $1) }
            } else {
                for (index, pair) in try items(of: source).enumerated() {
                    guard let parts = try? items(of: pair) else {
                        throw .type("cannot convert dictionary update sequence element #\(index) to a sequence")
                    }
                    guard parts.count == 2 else {
                        throw .type(
                            "dictionary update sequence element #\(index) has length \(parts.count); 2 is required")
                    }
                    members.append((parts[0], parts[1]))
                }
            }
        }
        return members + arguments.keywords.map { (.text($0.name), $0.value) }
    }
}
