extension JinjaFilters {
    /// Filters of lists and whatever else can be gone through.
    static let sequences: [String: Filter] = [
        "batch": batch,
        "count": length,
        "dictsort": sortedMembers,
        "first": first,
        "groupby": groups,
        "items": members,
        "join": join,
        "last": last,
        "length": length,
        "list": list,
        "map": map,
        "max": { i, v, a throws(JinjaError) in try extreme(i, v, a, "do_max", .greater) },
        "min": { i, v, a throws(JinjaError) in try extreme(i, v, a, "do_min", .less) },
        "reject": { i, v, a throws(JinjaError) in try chosen(i, v, a, byAttribute: false, keeping: false) },
        "rejectattr": { i, v, a throws(JinjaError) in try chosen(i, v, a, byAttribute: true, keeping: false) },
        "reverse": reverse,
        "select": { i, v, a throws(JinjaError) in try chosen(i, v, a, byAttribute: false, keeping: true) },
        "selectattr": { i, v, a throws(JinjaError) in try chosen(i, v, a, byAttribute: true, keeping: true) },
        "slice": slice,
        "sort": sort,
        "sum": sum,
        "unique": unique,
    ]

    // MARK: Attributes of items

    /// The parts of `"a.b.0"`: names and indices.
    private static func path(_ attribute: JinjaValue?) -> [JinjaValue] {
        guard let attribute, !attribute.isNone else { return [] }
        guard let text = attribute.text?.string else { return [attribute] }
        return text.split(separator: ".", omittingEmptySubsequences: false).map { part in
            let isNumber = !part.isEmpty && part.utf8.allSatisfy { (0x30...0x39).contains($0) }
            return isNumber ? Int(part).map { .int($0) } ?? .text(String(part)) : .text(String(part))
        }
    }

    private static func lookUp(
        _ interpreter: JinjaInterpreter, _ path: [JinjaValue], in item: JinjaValue, default fallback: JinjaValue? = nil
    ) throws(JinjaError) -> JinjaValue {
        var value = item
        for part in path {
            value = try interpreter.item(part, of: value)
            if let fallback, !fallback.isNone, value.isUndefined { value = fallback }
        }
        return value
    }

    private static func ignoringCase(_ value: JinjaValue) -> JinjaValue {
        value.text.map { .string($0.derived(PythonText.lowercased($0.string))) } ?? value
    }

    private static func key(
        _ interpreter: JinjaInterpreter, _ path: [JinjaValue], _ item: JinjaValue, caseSensitive: Bool,
        default fallback: JinjaValue? = nil
    ) throws(JinjaError) -> JinjaValue {
        try interpreter.budget.charge(items: 1)
        let value = try lookUp(interpreter, path, in: item, default: fallback)
        return caseSensitive ? value : ignoringCase(value)
    }

    // MARK: Parts

    private static func length(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        _ = try arguments.bind("len", [])
        return .int(try interpreter.length(of: value))
    }

    private static func list(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        _ = try arguments.bind("do_list", [])
        return .list(JinjaSequence(try interpreter.items(of: value)))
    }

    private static func first(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        _ = try arguments.bind("do_first", [])
        if case .object(let handle) = value, case .generator(var generator) = interpreter.heap[handle],
            let item = generator.items.popFirst()
        {
            interpreter.heap[handle] = .generator(generator)
            return item
        }
        if let text = value.text, !text.isEmpty { return text.character(at: 0).map { .string($0) } ?? .null }
        return try interpreter.items(of: value).first
            ?? .undefined(JinjaUndefined(.hint("No first item, sequence was empty.")))
    }

    private static func last(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        _ = try arguments.bind("do_last", [])
        return try reversible(interpreter, value).last
            ?? .undefined(JinjaUndefined(.hint("No last item, sequence was empty.")))
    }

    /// The items of what Python can go through backwards.
    private static func reversible(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue
    ) throws(JinjaError) -> [JinjaValue] {
        switch value {
        case .object, .undefined:
            throw .type("'\(interpreter.typeName(value))' object is not reversible")
        case .null, .bool, .int, .float, .method, .function:
            throw .type("'\(interpreter.typeName(value))' object is not reversible")
        default: return try interpreter.items(of: value)
        }
    }

    private static func reverse(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        _ = try arguments.bind("do_reverse", [])
        if value.text != nil { return try interpreter.slice(value, .null, .null, .int(-1)) }
        do {
            let items = Array(try interpreter.items(of: value).reversed())
            switch value {
            case .list: return interpreter.generator(items, typeName: "list_reverseiterator")
            case .object, .undefined: return .list(JinjaSequence(items))
            default: return interpreter.generator(items, typeName: "reversed")
            }
        } catch {
            throw error.kind == .type ? .type("argument must be iterable") : error
        }
    }

    private static func members(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        _ = try arguments.bind("do_items", [])
        if value.isUndefined { return interpreter.generator([]) }
        guard case .dict(let dictionary) = value else { throw .type("Can only get item pairs from a mapping.") }
        return interpreter.generator(dictionary.pairs)
    }

    private static func batch(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        let bound = try arguments.bind("do_batch", ["linecount", "fill_with"], required: 1)
        guard let size = bound[0]?.index, size > 0 else { throw .type("a batch needs at least one item") }
        let items = try interpreter.items(of: value)
        var batches: [JinjaValue] = []
        for start in stride(from: 0, to: items.count, by: min(size, max(1, items.count))) {
            var batch = Array(items[start..<min(start + size, items.count)])
            if let fill = bound[1], !fill.isNone, batch.count < size {
                try interpreter.budget.checkItems(size)
                batch += Array(repeating: fill, count: size - batch.count)
            }
            batches.append(.list(JinjaSequence(batch)))
        }
        return interpreter.generator(batches)
    }

    private static func slice(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        let bound = try arguments.bind("do_slice", ["slices", "fill_with"], required: 1)
        guard let count = bound[0]?.index, count > 0 else { throw .type("integer division or modulo by zero") }
        try interpreter.budget.checkItems(count)
        let items = try interpreter.items(of: value)
        var slices: [JinjaValue] = []
        var start = 0
        for number in 0..<count {
            let end = start + items.count / count + (number < items.count % count ? 1 : 0)
            var part = Array(items[start..<end])
            if let fill = bound[1], !fill.isNone, number >= items.count % count { part.append(fill) }
            slices.append(.list(JinjaSequence(part)))
            start = end
        }
        return interpreter.generator(slices)
    }

    // MARK: Choosing and mapping

    private static func map(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        guard interpreter.truth(value) else { return interpreter.generator([]) }
        let change: (JinjaValue) throws(JinjaError) -> JinjaValue
        if arguments.positional.isEmpty, let attribute = arguments.keyword("attribute") {
            if let extra = arguments.keywords.first(where: { $0.name != "attribute" && $0.name != "default" }) {
                throw .type("Unexpected keyword argument \(PythonText.quoted(extra.name))")
            }
            let path = path(attribute)
            let fallback = arguments.keyword("default")
            change = { item throws(JinjaError) in try lookUp(interpreter, path, in: item, default: fallback) }
        } else {
            guard let name = arguments.positional.first else {
                return interpreter.generator([], failure: .type("map requires a filter argument"))
            }
            guard let filter = name.text.flatMap({ JinjaFilters.all[$0.string] }) else {
                let failure = JinjaError.type("No filter named \(try interpreter.representation(name)).")
                return interpreter.generator([], failure: failure)
            }
            let rest = JinjaArguments(
                positional: Array(arguments.positional.dropFirst()), keywords: arguments.keywords)
            change = { item throws(JinjaError) in try interpreter.finished(try filter(interpreter, item, rest)) }
        }
        return try lazily(interpreter, value) { item throws(JinjaError) in try change(item) }
    }

    /// A generator of what `change` makes of the items; nil leaves one out. An error waits until it is reached.
    private static func lazily(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ change: (JinjaValue) throws(JinjaError) -> JinjaValue?
    ) throws(JinjaError) -> JinjaValue {
        var results: [JinjaValue] = []
        do {
            for item in try interpreter.items(of: value) {
                try interpreter.budget.charge(items: 1)
                if let result = try change(item) { results.append(result) }
            }
        } catch {
            if error.kind == .budget { throw error }
            return interpreter.generator(results, failure: error)
        }
        return interpreter.generator(results)
    }

    private static func chosen(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments, byAttribute: Bool,
        keeping: Bool
    ) throws(JinjaError) -> JinjaValue {
        guard interpreter.truth(value) else { return interpreter.generator([]) }
        var positional = arguments.positional[...]
        var attribute: [JinjaValue] = []
        if byAttribute {
            guard let name = positional.popFirst() else {
                return interpreter.generator([], failure: .type("Missing parameter for attribute name"))
            }
            attribute = path(name)
        }
        let name = positional.popFirst()
        let rest = JinjaArguments(positional: Array(positional), keywords: arguments.keywords)
        let test = name.flatMap { $0.text }.flatMap { JinjaTests.all[$0.string] }
        if let name, test == nil {
            let failure = JinjaError.type("No test named \(try interpreter.representation(name)).")
            return interpreter.generator([], failure: failure)
        }
        return try lazily(interpreter, value) { item throws(JinjaError) in
            let subject = try lookUp(interpreter, attribute, in: item)
            let holds = test == nil ? interpreter.truth(subject) : try test?(interpreter, subject, rest) ?? false
            return holds == keeping ? item : nil
        }
    }

    private static func unique(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        let bound = try arguments.bind("do_unique", ["case_sensitive", "attribute"])
        let path = path(bound[1])
        let caseSensitive = bound[0].map(interpreter.truth) ?? false
        var seen: Set<JinjaKey> = []
        return try lazily(interpreter, value) { item throws(JinjaError) in
            let key = try JinjaKey(try key(interpreter, path, item, caseSensitive: caseSensitive))
            return seen.insert(key).inserted ? item : nil
        }
    }

    // MARK: Sorting

    /// Sorts by keys that are computed once for every item.
    private static func sorted(
        _ interpreter: JinjaInterpreter, _ items: [JinjaValue], reverse: Bool,
        by key: (JinjaValue) throws(JinjaError) -> JinjaValue
    ) throws(JinjaError) -> [JinjaValue] {
        var keyed: [(key: JinjaValue, item: JinjaValue)] = []
        for item in items { keyed.append((try key(item), item)) }
        // Backwards twice keeps equal items in their order.
        if reverse { keyed.reverse() }
        var result = try mergeSorted(keyed) { a, b throws(JinjaError) in
            try interpreter.budget.charge(items: 1)
            return try interpreter.isLess(a.key, b.key)
        }
        if reverse { result.reverse() }
        return result.map(\.item)
    }

    private static func sort(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        let bound = try arguments.bind("do_sort", ["reverse", "case_sensitive", "attribute"])
        let caseSensitive = bound[1].map(interpreter.truth) ?? false
        let paths: [[JinjaValue]]
        if let names = bound[2]?.text?.string {
            paths = names.split(separator: ",", omittingEmptySubsequences: false).map { path(.text(String($0))) }
        } else {
            paths = [path(bound[2])]
        }
        let items = try sorted(
            interpreter, try interpreter.items(of: value), reverse: bound[0].map(interpreter.truth) ?? false
        ) { item throws(JinjaError) in
            var keys: [JinjaValue] = []
            for path in paths { keys.append(try key(interpreter, path, item, caseSensitive: caseSensitive)) }
            return .list(JinjaSequence(keys))
        }
        return .list(JinjaSequence(items))
    }

    private static func sortedMembers(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        let bound = try arguments.bind("do_dictsort", ["case_sensitive", "by", "reverse"])
        let by = bound[1]?.text?.string ?? "key"
        guard by == "key" || by == "value" else {
            throw .type("You can only sort by either \"key\" or \"value\"")
        }
        if case .undefined = value { throw interpreter.undefinedFailure(value) }
        guard case .dict(let dictionary) = value else {
            throw .type("'\(interpreter.typeName(value))' object has no attribute 'items'")
        }
        let caseSensitive = bound[0].map(interpreter.truth) ?? false
        let items = try sorted(
            interpreter, dictionary.pairs, reverse: bound[2].map(interpreter.truth) ?? false
        ) { pair throws(JinjaError) in
            try key(interpreter, [.int(by == "key" ? 0 : 1)], pair, caseSensitive: caseSensitive)
        }
        return .list(JinjaSequence(items))
    }

    private static func groups(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        let bound = try arguments.bind("do_groupby", ["attribute", "default", "case_sensitive"], required: 1)
        let path = path(bound[0])
        let caseSensitive = bound[2].map(interpreter.truth) ?? false
        func keyOf(_ item: JinjaValue) throws(JinjaError) -> JinjaValue {
            try key(interpreter, path, item, caseSensitive: caseSensitive, default: bound[1])
        }
        var groups: [(key: JinjaValue, items: [JinjaValue])] = []
        let items = try sorted(interpreter, try interpreter.items(of: value), reverse: false, by: keyOf)
        for item in items {
            let key = try keyOf(item)
            if let last = groups.last, try interpreter.equal(last.key, key) {
                groups[groups.count - 1].items.append(item)
            } else {
                groups.append((key, [item]))
            }
        }
        var result: [JinjaValue] = []
        for group in groups {
            let own = try lookUp(interpreter, path, in: group.items[0], default: bound[1])
            result.append(
                .tuple(JinjaSequence([own, .list(JinjaSequence(group.items))], fields: ["grouper", "list"])))
        }
        return .list(JinjaSequence(result))
    }

    private static func extreme(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments, _ name: String,
        _ comparison: JinjaComparison
    ) throws(JinjaError) -> JinjaValue {
        let bound = try arguments.bind(name, ["case_sensitive", "attribute"])
        let caseSensitive = bound[0].map(interpreter.truth) ?? false
        let path = path(bound[1])
        let items = try interpreter.items(of: value)
        guard var best = items.first else {
            return .undefined(JinjaUndefined(.hint("No aggregated item, sequence was empty.")))
        }
        var bestKey = try key(interpreter, path, best, caseSensitive: caseSensitive)
        for item in items.dropFirst() {
            let itemKey = try key(interpreter, path, item, caseSensitive: caseSensitive)
            if try interpreter.compare(comparison, itemKey, bestKey) { (best, bestKey) = (item, itemKey) }
        }
        return best
    }

    // MARK: Joining

    private static func join(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        let bound = try arguments.bind("do_join", ["d", "attribute"])
        let separator = try interpreter.outputText(bound[0] ?? .text(""))
        let path = path(bound[1])
        var result = JinjaText("")
        for (index, item) in try interpreter.items(of: value).enumerated() {
            let text = try interpreter.outputText(try lookUp(interpreter, path, in: item))
            try interpreter.budget.charge(text.count + separator.count + 8)
            if index > 0 { result.append(separator) }
            result.append(text)
        }
        return .string(result)
    }

    private static func sum(
        _ interpreter: JinjaInterpreter, _ value: JinjaValue, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        let bound = try arguments.bind("do_sum", ["attribute", "start"])
        let path = path(bound[0])
        var total = bound[1] ?? .int(0)
        if total.text != nil { throw .type("sum() can't sum strings [use ''.join(seq) instead]") }
        for item in try interpreter.items(of: value) {
            total = try interpreter.finished(
                try interpreter.arithmetic(.add, total, try lookUp(interpreter, path, in: item)))
        }
        return total
    }
}

extension JinjaDictionary {
    /// The members as tuples of key and value.
    var pairs: [JinjaValue] { zip(keys, values).map { .tuple(JinjaSequence([$0, $1])) } }
}
