/// The methods that values have, by type; what would change a list or dictionary is refused.
enum JinjaMethods {
    static let dictionaries: Set<String> = ["copy", "fromkeys", "get", "items", "keys", "values"]
    static let mutatingDictionary: Set<String> = ["clear", "pop", "popitem", "setdefault", "update"]
    static let lists: Set<String> = ["copy", "count", "index"]
    static let mutatingList: Set<String> = [
        "append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort",
    ]
    static let tuples: Set<String> = ["count", "index"]
    static let strings: Set<String> = [
        "capitalize", "casefold", "center", "count", "encode", "endswith", "expandtabs", "find", "format",
        "format_map", "index", "isalnum", "isalpha", "isascii", "isdecimal", "isdigit", "isidentifier", "islower",
        "isnumeric", "isprintable", "isspace", "istitle", "isupper", "join", "ljust", "lower", "lstrip", "maketrans",
        "partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rjust", "rpartition", "rsplit",
        "rstrip", "split", "splitlines", "startswith", "strip", "swapcase", "title", "translate", "upper", "zfill",
    ]
}

extension JinjaInterpreter {
    func call(_ method: JinjaMethod, _ arguments: JinjaArguments) throws(JinjaError) -> JinjaValue {
        switch method.receiver {
        case .string(let text): return try callString(method.name, text, arguments) { .string($0) }
        case .markup(let text): return try callString(method.name, text, arguments) { .markup($0) }
        case .dict(let dictionary): return try callDictionary(method.name, dictionary, arguments)
        case .list(let sequence), .tuple(let sequence):
            return try callSequence(method, sequence, arguments)
        case .object(let handle):
            if case .cycler(let items, let position) = heap[handle] {
                _ = try arguments.bind(method.name, [])
                let next = method.name == "next" ? (position + 1) % items.count : 0
                heap[handle] = .cycler(items: items, position: next)
                return method.name == "next" ? items[position] : .null
            }
            return try callLoopMethod(method.name, handle, arguments)
        case .int(let number) where method.name == "bit_length":
            return .int(Int.bitWidth - number.magnitude.leadingZeroBitCount)
        case .float(let number): return .bool(number.isFinite && number == number.rounded())
        case .bool(let truth) where method.name == "bit_length": return .int(truth ? 1 : 0)
        default: return .bool(true)
        }
    }

    private func callDictionary(
        _ name: String, _ dictionary: JinjaDictionary, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        switch name {
        case "get":
            guard arguments.keywords.isEmpty else { throw .type("dict.get() takes no keyword arguments") }
            guard let key = arguments.positional.first else { throw .type("get expected at least 1 argument, got 0") }
            guard arguments.positional.count <= 2 else {
                throw .type("get expected at most 2 arguments, got \(arguments.positional.count)")
            }
            return try dictionary.value(for: key) ?? (arguments.positional.count > 1 ? arguments.positional[1] : .null)
        case "fromkeys":
            let bound = try arguments.bind("fromkeys", ["iterable", "value"], required: 1)
            let members = try items(of: bound[0] ?? .null).map { (key: $0, value: bound[1] ?? .null) }
            return .dict(try JinjaDictionary(members))
        default: break
        }
        guard arguments.positional.isEmpty, arguments.keywords.isEmpty else {
            throw .type("dict.\(name)() takes no arguments (\(arguments.positional.count) given)")
        }
        try budget.charge(dictionary.count * 16)
        switch name {
        case "keys": return .view(JinjaView(kind: .keys, items: JinjaSequence(dictionary.keys)))
        case "values": return .view(JinjaView(kind: .values, items: JinjaSequence(dictionary.values)))
        case "items": return .view(JinjaView(kind: .items, items: JinjaSequence(dictionary.pairs)))
        default: return .dict(dictionary)
        }
    }

    private func callSequence(
        _ method: JinjaMethod, _ sequence: JinjaSequence, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        if method.name == "copy" { return method.receiver }
        let type = typeName(method.receiver)
        guard let wanted = arguments.positional.first, arguments.keywords.isEmpty else {
            throw .type("\(type).\(method.name)() takes exactly one argument (\(arguments.positional.count) given)")
        }
        var count = 0
        for (index, item) in sequence.items.enumerated() where try equal(item, wanted) {
            if method.name == "index" { return .int(index) }
            count += 1
        }
        guard method.name == "count" else {
            throw .type(
                type == "list" ? "\(try representation(wanted)) is not in list" : "tuple.index(x): x not in tuple")
        }
        return .int(count)
    }
}
