extension JinjaInterpreter {
    // MARK: Types

    /// Python's name of the value's type.
    func typeName(_ value: JinjaValue) -> String {
        guard case .object(let handle) = value else { return value.staticTypeName }
        switch heap[handle] {
        case .namespace: return "Namespace"
        case .macro: return "Macro"
        case .loop: return "LoopContext"
        case .generator(let generator): return generator.typeName
        case .cycler: return "Cycler"
        case .joiner: return "Joiner"
        }
    }

    /// How Jinja names an object of which something is missing.
    private func ownerName(_ value: JinjaValue) -> String {
        switch value {
        case .null: return "None"
        case .markup: return "markupsafe.Markup object"
        case .object(let handle):
            let module: String
            switch heap[handle] {
            case .namespace, .cycler, .joiner: module = "jinja2.utils."
            case .macro, .loop: module = "jinja2.runtime."
            case .generator: module = ""
            }
            return module + typeName(value) + " object"
        default: return typeName(value) + " object"
        }
    }

    func failure(_ undefined: JinjaUndefined) -> JinjaError {
        switch undefined.reason {
        case .variable(let name): JinjaError(.undefined, "\(PythonText.quoted(name)) is undefined")
        case .attribute(let owner, let name):
            JinjaError(.undefined, "\(PythonText.quoted(owner)) has no attribute \(PythonText.quoted(name))")
        case .element(let owner, let key):
            JinjaError(.undefined, "\(owner) has no element \((try? representation(key)) ?? "")")
        case .hint(let hint): JinjaError(.undefined, hint)
        case .unsafe(let owner, let name):
            JinjaError(.security, "access to attribute \(PythonText.quoted(name)) of '\(owner)' object is unsafe.")
        }
    }

    func undefinedFailure(_ value: JinjaValue) -> JinjaError {
        guard case .undefined(let undefined) = value else { return .type("undefined") }
        return failure(undefined)
    }

    // MARK: Attributes and elements

    /// `value.name`: an attribute or method, else an element.
    func attribute(_ name: String, of value: JinjaValue) throws(JinjaError) -> JinjaValue {
        if case .undefined(let undefined) = value { throw failure(undefined) }
        if let found = try ownAttribute(name, of: value) { return found }
        if case .dict(let dictionary) = value, let member = dictionary[name] { return member }
        return .undefined(JinjaUndefined(.attribute(owner: ownerName(value), name: name)))
    }

    /// `value[key]`: an element, else an attribute or method.
    func item(_ key: JinjaValue, of value: JinjaValue) throws(JinjaError) -> JinjaValue {
        if case .undefined(let undefined) = value { throw failure(undefined) }
        if let found = try element(key, of: value) { return found }
        guard let name = key.text?.string else {
            return .undefined(JinjaUndefined(.element(owner: ownerName(value), key: key)))
        }
        if let found = try ownAttribute(name, of: value) { return found }
        return .undefined(JinjaUndefined(.attribute(owner: ownerName(value), name: name)))
    }

    private func element(_ key: JinjaValue, of value: JinjaValue) throws(JinjaError) -> JinjaValue? {
        if case .dict(let dictionary) = value {
            do {
                return try dictionary.value(for: key)
            } catch {
                return nil
            }
        }
        guard let index = key.index else { return nil }
        switch value {
        case .list(let sequence), .tuple(let sequence):
            let position = index < 0 ? index + sequence.items.count : index
            return sequence.items.indices.contains(position) ? sequence.items[position] : nil
        case .string(let text): return text.character(at: index).map { .string($0) }
        case .markup(let text): return text.character(at: index).map { .markup($0) }
        case .range(let range):
            guard let count = range.count else { return nil }
            let position = index < 0 ? index + count : index
            return (0..<count).contains(position) ? .int(range.start + position * range.step) : nil
        default: return nil
        }
    }

    /// An attribute or a bound method; nil if the type has none of that name.
    private func ownAttribute(_ name: String, of value: JinjaValue) throws(JinjaError) -> JinjaValue? {
        if case .object(let handle) = value { return try objectAttribute(name, handle, of: value) }
        if name.hasPrefix("__"), Self.specialAttributes.contains(name) { return unsafe(name, of: value) }
        switch value {
        case .string, .markup:
            guard JinjaMethods.strings.contains(name) else { return nil }
        case .dict:
            if JinjaMethods.mutatingDictionary.contains(name) { return unsafe(name, of: value) }
            guard JinjaMethods.dictionaries.contains(name) else { return nil }
        case .list:
            if JinjaMethods.mutatingList.contains(name) { return unsafe(name, of: value) }
            guard JinjaMethods.lists.contains(name) else { return nil }
        case .tuple(let sequence):
            if let index = sequence.fields.firstIndex(of: name) { return sequence.items[index] }
            guard JinjaMethods.tuples.contains(name) else { return nil }
        case .int, .bool, .float: return numberAttribute(name, of: value)
        case .range(let range):
            switch name {
            case "start": return .int(range.start)
            case "stop": return .int(range.stop)
            case "step": return .int(range.step)
            default: return nil
            }
        default: return nil
        }
        return .method(JinjaMethod(value, name))
    }

    private func numberAttribute(_ name: String, of value: JinjaValue) -> JinjaValue? {
        switch (name, value) {
        case ("real", .float), ("real", .int): value
        case ("imag", .float): .float(0)
        case ("imag", .int), ("imag", .bool): .int(0)
        case ("numerator", .int): value
        case ("denominator", .int), ("denominator", .bool): .int(1)
        case ("real", .bool(let truth)), ("numerator", .bool(let truth)): .int(truth ? 1 : 0)
        case ("is_integer", .float), ("bit_length", .int), ("bit_length", .bool), ("is_integer", .int),
            ("is_integer", .bool):
            .method(JinjaMethod(value, name))
        default: nil
        }
    }

    private func objectAttribute(
        _ name: String, _ handle: Int, of value: JinjaValue
    ) throws(JinjaError) -> JinjaValue? {
        switch heap[handle] {
        case .namespace(let namespace):
            guard let member = namespace[name] else { return name == "__class__" ? unsafe(name, of: value) : nil }
            return name.hasPrefix("_") ? unsafe(name, of: value) : member
        case .loop:
            if let found = try loopAttribute(name, handle) { return found }
        case .macro(let macro):
            let shape = program.macros[macro.shape]
            switch name {
            case "name": return shape.name.map { .text($0) } ?? .null
            case "arguments": return .tuple(JinjaSequence(shape.parameterNames.map { .text($0) }))
            case "catch_kwargs": return .bool(shape.takesKeywords)
            case "catch_varargs": return .bool(shape.takesPositionals)
            case "caller": return .bool(shape.takesCaller)
            default: break
            }
        case .cycler(let items, let position):
            switch name {
            case "current": return items[position]
            case "next", "reset": return .method(JinjaMethod(value, name))
            default: break
            }
        case .joiner(let separator, let used):
            if name == "sep" { return separator }
            if name == "used" { return .bool(used) }
        case .generator: break
        }
        return name.hasPrefix("__") && Self.specialAttributes.contains(name) ? unsafe(name, of: value) : nil
    }

    private func unsafe(_ name: String, of value: JinjaValue) -> JinjaValue {
        .undefined(JinjaUndefined(.unsafe(owner: typeName(value), name: name)))
    }

    /// Attributes that every Python object has and the sandbox hides.
    private static let specialAttributes: Set<String> = [
        "__class__", "__delattr__", "__dir__", "__doc__", "__eq__", "__format__", "__ge__", "__getattribute__",
        "__getstate__", "__gt__", "__hash__", "__init__", "__init_subclass__", "__le__", "__lt__", "__ne__", "__new__",
        "__reduce__", "__reduce_ex__", "__repr__", "__setattr__", "__sizeof__", "__str__", "__subclasshook__",
        "__add__", "__contains__", "__getitem__", "__iter__", "__len__", "__mul__", "__rmul__", "__setitem__",
    ]

    func setAttribute(_ name: String, of value: JinjaValue, to new: JinjaValue) throws(JinjaError) {
        guard case .object(let handle) = value, case .namespace(var namespace) = heap[handle] else {
            throw .type("cannot assign attribute on non-namespace object")
        }
        // Out of the heap first, so that the members are changed in place.
        heap[handle] = .joiner(separator: .null, used: false)
        namespace[name] = new
        heap[handle] = .namespace(namespace)
    }

    // MARK: Iteration

    /// The items of what can be gone through; a generator is used up by it.
    func items(of value: JinjaValue, unpacking: Bool = false) throws(JinjaError) -> [JinjaValue] {
        switch value {
        case .undefined: return []
        case .list(let sequence), .tuple(let sequence): return sequence.items
        case .dict(let dictionary): return dictionary.keys
        case .view(let view): return view.items.items
        case .range(let range): return range.numbers.map { .int($0) }
        case .string(let text):
            try budget.charge(text.count * (32 + text.runs.count))
            return text.characters.map { .string($0) }
        case .markup(let text):
            try budget.charge(text.count * (32 + text.runs.count))
            return text.characters.map { .markup($0) }
        case .object(let handle):
            if case .generator(var generator) = heap[handle] {
                let items = Array(generator.items)
                let failure = generator.failure
                generator.items = []
                generator.failure = nil
                heap[handle] = .generator(generator)
                if let failure { throw failure }
                return items
            }
        default: break
        }
        throw .type(
            unpacking
                ? "cannot unpack non-iterable \(typeName(value)) object" : "'\(typeName(value))' object is not iterable"
        )
    }

    /// The number of items or characters.
    func length(of value: JinjaValue) throws(JinjaError) -> Int {
        switch value {
        case .undefined: return 0
        case .list(let sequence), .tuple(let sequence): return sequence.items.count
        case .dict(let dictionary): return dictionary.count
        case .view(let view): return view.items.items.count
        case .range(let range): return range.count ?? 0
        case .string(let text), .markup(let text):
            try budget.charge(text.count / 8)
            return text.string.unicodeScalars.count
        case .object(let handle):
            if case .loop = heap[handle], case .int(let count)? = try loopAttribute("length", handle) { return count }
        default: break
        }
        throw .type("object of type '\(typeName(value))' has no len()")
    }

    // MARK: Slices

    /// `value[start:stop:step]`, on characters for strings.
    func slice(
        _ value: JinjaValue, _ start: JinjaValue, _ stop: JinjaValue, _ step: JinjaValue
    ) throws(JinjaError) -> JinjaValue {
        let bounds = try (bound(start), bound(stop), bound(step) ?? 1)
        func positions(_ count: Int) throws(JinjaError) -> [Int] {
            guard bounds.2 != 0 else { throw .type("slice step cannot be zero") }
            return slicePositions(count, bounds.0, bounds.1, bounds.2)
        }
        switch value {
        case .undefined(let undefined): throw failure(undefined)
        case .list(let sequence):
            return .list(JinjaSequence(try positions(sequence.items.count).map { sequence.items[$0] }))
        case .tuple(let sequence):
            return .tuple(JinjaSequence(try positions(sequence.items.count).map { sequence.items[$0] }))
        case .string(let text): return .string(try slice(text, bounds, positions))
        case .markup(let text): return .markup(try slice(text, bounds, positions))
        case .range(let range):
            let kept = try positions(range.count ?? 0)
            guard let first = kept.first, let last = kept.last else {
                return .range(JinjaRange(start: range.start, stop: range.start, step: 1))
            }
            // The end may lie past the integers; such a range is empty rather than a trap.
            let step = range.step &* (kept.count > 1 ? kept[1] - first : max(-1, min(bounds.2, 1)))
            return .range(
                JinjaRange(
                    start: range.start &+ first &* range.step, stop: range.start &+ last &* range.step &+ step,
                    step: step))
        case .dict: throw .type("unhashable type: 'slice'")
        default: throw .type("'\(typeName(value))' object is not subscriptable")
        }
    }

    private func slice(
        _ text: JinjaText, _ bounds: (Int?, Int?, Int), _ positions: (Int) throws(JinjaError) -> [Int]
    ) throws(JinjaError) -> JinjaText {
        try budget.charge(text.count)
        if bounds.2 == 1 {
            let offsets = text.scalarOffsets
            let count = offsets.count - 1
            let lower = clamped(bounds.0 ?? 0, count)
            let upper = clamped(bounds.1 ?? count, count)
            return text.slice(offsets[min(lower, upper)]..<offsets[upper])
        }
        let characters = text.characters
        var result = JinjaText("")
        for position in try positions(characters.count) { result.append(characters[position]) }
        return result
    }

    private func bound(_ value: JinjaValue) throws(JinjaError) -> Int? {
        if value.isNone { return nil }
        guard let index = value.index else {
            throw .type("slice indices must be integers or None or have an __index__ method")
        }
        return index
    }

    private func clamped(_ index: Int, _ count: Int) -> Int {
        max(0, min(index < 0 ? index + count : index, count))
    }

    private func slicePositions(_ count: Int, _ start: Int?, _ stop: Int?, _ step: Int) -> [Int] {
        guard count > 0 else { return [] }
        if step > 0 {
            let lower = clamped(start ?? 0, count)
            let upper = clamped(stop ?? count, count)
            return lower < upper ? Array(stride(from: lower, to: upper, by: min(step, count))) : []
        }
        // Going down, the bounds are clamped to count - 1 and to the place before the first item.
        func down(_ index: Int) -> Int { max(-1, min(index < 0 ? index + count : index, count - 1)) }
        let upper = start.map(down) ?? count - 1
        let lower = stop.map(down) ?? -1
        return upper > lower ? Array(stride(from: upper, to: lower, by: max(step, -count))) : []
    }
}
