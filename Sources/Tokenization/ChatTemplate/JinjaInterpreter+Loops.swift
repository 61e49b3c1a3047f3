extension JinjaInterpreter {
    var currentLoop: JinjaLoopState {
        guard let handle = loopStack.last, case .loop(let loop) = heap[handle] else {
            return JinjaLoopState(shape: 0, items: [], isFiltered: false, scope: -1)
        }
        return loop
    }

    /// Changes the innermost loop.
    func updateLoop(_ change: (inout JinjaLoopState) -> Void) {
        guard let handle = loopStack.last, case .loop(var loop) = heap[handle] else { return }
        change(&loop)
        heap[handle] = .loop(loop)
    }

    func beginLoop(_ number: Int) throws(JinjaError) {
        let depth = pendingLoopDepth
        pendingLoopDepth = 0
        let items = try items(of: pop())
        try budget.charge(items.count)
        heap.append(
            .loop(
                JinjaLoopState(
                    shape: number, items: items, isFiltered: program.loops[number].condition != nil, scope: scope,
                    depth0: depth)))
        loopStack.append(heap.count - 1)
    }

    /// Goes on to the next item, with its scope, its `loop` and the item on the stack, or leaves the loop.
    func nextPass(_ number: Int, _ address: inout Int) throws(JinjaError) {
        guard let handle = loopStack.last else { return }
        try budget.countStep()
        closeRegion(handle)
        let next = try peek(handle)
        guard case .loop(var loop) = heap[handle], let item = next else {
            address = program.loops[number].end
            return
        }
        loop.next = nil
        loop.index0 += 1
        loop.previous = loop.current
        loop.current = item
        if buffers.count == 1, let message = message(item) { loop.region = (message, buffers[0].count) }
        heap[handle] = .loop(loop)
        pushScope(program.loops[number].scope, parent: scope)
        setLoopVariable(handle)
        stack.append(item)
    }

    func endLoop() {
        guard let handle = loopStack.popLast() else { return }
        closeRegion(handle)
    }

    /// Notes the text that the message of the pass that ends has written.
    private func closeRegion(_ handle: Int) {
        guard case .loop(var loop) = heap[handle], let region = loop.region else { return }
        loop.region = nil
        heap[handle] = .loop(loop)
        let end = buffers[0].count
        if buffers.count == 1, end > region.start { regions.append((region.message, region.start..<end)) }
    }

    /// The item after the current one, or nil.
    private func peek(_ handle: Int) throws(JinjaError) -> JinjaValue? {
        guard case .loop(var loop) = heap[handle] else { return nil }
        if let known = loop.next { return known }
        var found: JinjaValue?
        while loop.position < loop.items.count, found == nil {
            let item = loop.items[loop.position]
            loop.position += 1
            if loop.isFiltered {
                try budget.countStep()
                guard try holds(loop.shape, for: item, scope: loop.scope) else { continue }
            }
            found = item
        }
        loop.next = .some(found)
        heap[handle] = .loop(loop)
        return found
    }

    /// The number of items; a loop with a condition has to go through all of them to know it.
    private func length(_ handle: Int) throws(JinjaError) -> Int {
        guard case .loop(let loop) = heap[handle] else { return 0 }
        guard loop.isFiltered else { return loop.items.count }
        let next = try peek(handle)
        guard case .loop(var ahead) = heap[handle] else { return 0 }
        var rest: [JinjaValue] = []
        for item in ahead.items[ahead.position...] {
            try budget.countStep()
            if try holds(ahead.shape, for: item, scope: ahead.scope) { rest.append(item) }
        }
        let passed = ahead.index0 + 1 + (next == nil ? 0 : 1)
        ahead.items = Array(repeating: .null, count: passed) + rest
        ahead.position = passed
        ahead.isFiltered = false
        heap[handle] = .loop(ahead)
        return ahead.items.count
    }

    /// An attribute of `loop`, or nil if it has none of that name.
    func loopAttribute(_ name: String, _ handle: Int) throws(JinjaError) -> JinjaValue? {
        guard case .loop(let loop) = heap[handle] else { return nil }
        switch name {
        case "index": return .int(loop.index0 + 1)
        case "index0": return .int(loop.index0)
        case "first": return .bool(loop.index0 == 0)
        case "last": return .bool(try peek(handle) == nil)
        case "length": return .int(try length(handle))
        case "revindex": return .int(try length(handle) - loop.index0)
        case "revindex0": return .int(try length(handle) - loop.index0 - 1)
        case "depth": return .int(loop.depth0 + 1)
        case "depth0": return .int(loop.depth0)
        case "previtem":
            return loop.previous ?? .undefined(JinjaUndefined(.hint("there is no previous item")))
        case "nextitem":
            return try peek(handle) ?? .undefined(JinjaUndefined(.hint("there is no next item")))
        case "cycle", "changed": return .method(JinjaMethod(.object(handle), name))
        default: return nil
        }
    }

    /// `loop.cycle(...)` and `loop.changed(...)`.
    func callLoopMethod(
        _ name: String, _ handle: Int, _ arguments: JinjaArguments
    ) throws(JinjaError) -> JinjaValue {
        guard case .loop(var loop) = heap[handle] else { return .null }
        if name == "cycle" {
            guard !arguments.positional.isEmpty else { throw .type("no items for cycling given") }
            return arguments.positional[max(0, loop.index0) % arguments.positional.count]
        }
        let value = JinjaValue.tuple(JinjaSequence(arguments.positional))
        if let last = loop.lastChanged, try equal(last, value) { return .bool(false) }
        try budget.checkDepth(value.depth)
        loop.lastChanged = value
        heap[handle] = .loop(loop)
        return .bool(true)
    }

    // MARK: Recursive loops

    func enterRecursiveLoop(_ number: Int, _ address: inout Int) throws(JinjaError) {
        guard let entry = program.loops[number].recursiveEntry else { return }
        try enter(entry, scope: nil, parent: scope, &address)
    }

    /// `loop(items)` inside a recursive loop.
    func callLoop(_ handle: Int, _ arguments: JinjaArguments, _ address: inout Int) throws(JinjaError) {
        guard case .loop(let loop) = heap[handle] else { return }
        guard let entry = program.loops[loop.shape].recursiveEntry else {
            throw .type("The loop must have the 'recursive' marker to be called recursively.")
        }
        let items = try arguments.bind("loop", ["iterable"], required: 1)[0] ?? .null
        try enter(entry, scope: nil, parent: loop.scope, &address)
        pendingLoopDepth = loop.depth0 + 1
        stack.append(items)
    }
}
