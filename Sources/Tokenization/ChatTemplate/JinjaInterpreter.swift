/// Runs a program: a stack machine with scopes, a heap of what has identity, and budgets that end every template.
final class JinjaInterpreter {
    let program: JinjaProgram
    let clock: ChatClock
    var budget = JinjaBudget()
    var heap: [JinjaObject] = []
    var stack: [JinjaValue] = []
    /// The text written so far; the first is the result, the others belong to macros and captures.
    var buffers: [JinjaText] = [JinjaText("")]
    var line = 1

    /// What the caller passed, and the global functions, by number of the name.
    private let context: [JinjaValue?]
    private var scopes: [Scope] = []
    private var freeScopes: [Int] = []
    private(set) var scope = -1
    private var frames: [Frame] = []
    var loopStack: [Int] = []
    /// How deep the recursive loop that is about to begin is.
    var pendingLoopDepth = 0
    private let loopName: Int?

    var generations = JinjaGenerations()
    /// The text that each message of the conversation wrote.
    var regions: [(message: Int, range: Range<Int>)] = []
    /// The messages of the conversation, to know them when a loop meets them.
    private let messageIndex: [ObjectIdentifier: Int]

    /// The variables of a scope. Scopes live here and are named by number, as macros keep the ones around them.
    private struct Scope {
        var variables: [(name: Int, value: JinjaValue)] = []
        var parent: Int
        /// A macro may still need it.
        var isKept = false
    }

    /// What a macro or recursive loop returns to.
    private struct Frame {
        var returnAddress: Int
        var scope: Int
        var loops: Int
        var line: Int
        /// Whether a scope was made for it; a recursive loop runs in the one it stands in.
        var ownsScope: Bool
    }

    init(program: JinjaProgram, variables: [String: JinjaValue], clock: ChatClock, messages: [JinjaValue] = []) {
        self.program = program
        self.clock = clock
        loopName = program.names.firstIndex(of: "loop")
        context = program.names.map { name in
            variables[name] ?? JinjaFunction(rawValue: name).map { .function($0) }
        }
        var messageIndex: [ObjectIdentifier: Int] = [:]
        for (index, message) in messages.enumerated() {
            if case .dict(let dictionary) = message { messageIndex[ObjectIdentifier(dictionary)] = index }
        }
        self.messageIndex = messageIndex
    }

    /// Runs the whole template; its text is then the first buffer.
    func run() throws(JinjaError) {
        do {
            try execute(from: 0)
        } catch {
            throw error.at(line: line)
        }
    }

    // MARK: The loop

    /// Runs instructions until the program or a loop's condition ends.
    func execute(from start: Int) throws(JinjaError) {
        var address = start
        while true {
            let instruction = program.instructions[address]
            address += 1
            try budget.countInstruction()
            switch instruction {
            case .halt, .endCondition: return
            case .jump(let target): address = target
            case .jumpIfFalse(let target): if !truth(pop()) { address = target }
            case .jumpIfFalseKeeping(let target): if !truth(top) { address = target } else { stack.removeLast() }
            case .jumpIfTrueKeeping(let target): if truth(top) { address = target } else { stack.removeLast() }
            case .jumpIfBound(let name, let target): if ownVariable(name) != nil { address = target }
            case .jumpIfCompleted(let target): if currentLoop.completed { address = target }
            case .nextPass(let number): try nextPass(number, &address)
            case .call(let shape): try call(shape, &address)
            case .callMacroWithCaller(let shape):
                let caller = pop()
                try call(shape, caller: caller, &address)
            case .enterRecursiveLoop(let number): try enterRecursiveLoop(number, &address)
            case .returnText: returnText(&address)
            case .load, .constant, .attribute, .item, .slice, .list, .tuple, .dict, .undefinedConditional:
                try evaluate(instruction)
            case .not, .negate, .positive, .arithmetic, .concatenate, .compare, .compareKeeping, .dropSecond, .pop:
                try operate(instruction)
            case .filter(let name, let shape): try applyFilter(name, shape)
            case .test(let name, let shape): try applyTest(name, shape)
            default: try perform(instruction)
            }
        }
    }

    private func evaluate(_ instruction: JinjaInstruction) throws(JinjaError) {
        switch instruction {
        case .constant(let number): stack.append(program.constants[number])
        case .load(let name): stack.append(variable(name))
        case .attribute(let name): stack.append(try attribute(program.names[name], of: pop()))
        case .item:
            let key = pop()
            stack.append(try item(key, of: pop()))
        case .slice:
            let (step, stop, start) = (pop(), pop(), pop())
            stack.append(try finished(try slice(pop(), start, stop, step)))
        case .list(let count): stack.append(try finished(.list(JinjaSequence(popLast(count)))))
        case .tuple(let count): stack.append(try finished(.tuple(JinjaSequence(popLast(count)))))
        case .dict(let count):
            let parts = popLast(2 * count)
            let members = (0..<count).map { (key: parts[2 * $0], value: parts[2 * $0 + 1]) }
            stack.append(try finished(.dict(try JinjaDictionary(members))))
        case .undefinedConditional(let line):
            let hint =
                "the inline if-expression on line \(line) evaluated to false and no else section was defined."
            stack.append(.undefined(JinjaUndefined(.hint(hint))))
        default: break
        }
    }

    private func operate(_ instruction: JinjaInstruction) throws(JinjaError) {
        switch instruction {
        case .not: stack.append(.bool(!truth(pop())))
        case .negate, .positive:
            if case .negate = instruction {
                stack.append(try negated(pop()))
            } else {
                stack.append(try positive(pop()))
            }
        case .arithmetic(let operation):
            let right = pop()
            stack.append(try finished(try arithmetic(operation, pop(), right)))
        case .concatenate(let count): stack.append(try concatenated(popLast(count)))
        case .compare(let comparison):
            let right = pop()
            stack.append(.bool(try compare(comparison, pop(), right)))
        case .compareKeeping(let comparison):
            let right = pop()
            let left = pop()
            stack.append(right)
            stack.append(.bool(try compare(comparison, left, right)))
        case .dropSecond:
            let first = pop()
            stack[stack.count - 1] = first
        case .pop: stack.removeLast()
        default: break
        }
    }

    private func perform(_ instruction: JinjaInstruction) throws(JinjaError) {
        switch instruction {
        case .statement(let line):
            self.line = line
            try budget.countStep()
        case .text(let number): if let text = program.constants[number].text { try write(text) }
        case .emit: try write(try outputText(pop()))
        case .store(let name): set(name, pop())
        case .storeAttribute(let variable, let attribute):
            try setAttribute(program.names[attribute], of: self.variable(variable), to: pop())
        case .checkNamespace(let name):
            guard case .object(let handle) = variable(name), case .namespace = heap[handle] else {
                throw .type("cannot assign attribute on non-namespace object")
            }
        case .unpack(let count): try unpack(count)
        case .fail(let number): throw .type(program.constants[number].text?.string ?? "")
        case .pushScope(let number): pushScope(number, parent: scope)
        case .popScope: popScope()
        case .beginLoop(let number): try beginLoop(number)
        case .passCompleted: updateLoop { $0.completed = true }
        case .endLoop: endLoop()
        case .beginCapture: buffers.append(JinjaText(""))
        case .endCapture: stack.append(.string(buffers.removeLast()))
        case .makeMacro(let number): makeMacro(number)
        case .beginGeneration:
            generations.begin(
                start: buffers[buffers.count - 1].count, root: buffers[0].count, atRoot: buffers.count == 1)
        case .endGeneration: generations.end(at: buffers[buffers.count - 1].count)
        default: break
        }
    }

    // MARK: Stack

    func pop() -> JinjaValue { stack.removeLast() }

    private var top: JinjaValue { stack[stack.count - 1] }

    func popLast(_ count: Int) -> [JinjaValue] {
        let values = Array(stack[(stack.count - count)...])
        stack.removeLast(count)
        return values
    }

    private func unpack(_ count: Int) throws(JinjaError) {
        let items = try items(of: pop(), unpacking: true)
        guard items.count == count else {
            throw .type(
                items.count > count
                    ? "too many values to unpack (expected \(count))"
                    : "not enough values to unpack (expected \(count), got \(items.count))")
        }
        stack.append(contentsOf: items.reversed())
    }

    /// A new value, charged to the budget.
    func finished(_ value: JinjaValue) throws(JinjaError) -> JinjaValue {
        switch value {
        case .string(let text), .markup(let text): try budget.charge(text.count)
        case .list(let sequence), .tuple(let sequence):
            try budget.charge(sequence.items.count * 16)
            try budget.checkDepth(sequence.depth)
        case .dict(let dictionary):
            try budget.charge(dictionary.count * 32)
            try budget.checkDepth(dictionary.depth)
        default: break
        }
        return value
    }

    // MARK: Output

    private func write(_ text: JinjaText) throws(JinjaError) {
        try budget.charge(text.count)
        if buffers.count == 1 {
            generations.wrote()
            try budget.countOutput(text.count)
        }
        buffers[buffers.count - 1].append(text)
    }

    // MARK: Scopes

    func pushScope(_ number: Int, parent: Int) {
        let new: Int
        if let free = freeScopes.popLast() {
            new = free
            scopes[new].parent = parent
        } else {
            new = scopes.count
            scopes.append(Scope(parent: parent))
        }
        scope = new
        for name in program.scopes[number] { set(name, .undefined(JinjaUndefined(.variable(program.names[name])))) }
    }

    func popScope() {
        let old = scope
        scope = scopes[old].parent
        guard !scopes[old].isKept else { return }
        scopes[old].variables.removeAll(keepingCapacity: true)
        freeScopes.append(old)
    }

    /// Keeps the current scope and those around it for a macro that was made in it.
    private func keepScopes() {
        var current = scope
        while current >= 0, !scopes[current].isKept {
            scopes[current].isKept = true
            current = scopes[current].parent
        }
    }

    /// Sets a variable of the current scope whose name the program knows.
    func set(named name: String, _ value: JinjaValue) {
        if let number = program.names.firstIndex(of: name) { set(number, value) }
    }

    func setLoopVariable(_ handle: Int) {
        if let loopName { set(loopName, .object(handle)) }
    }

    func set(_ name: Int, _ value: JinjaValue) {
        if let index = scopes[scope].variables.firstIndex(where: { $0.name == name }) {
            scopes[scope].variables[index].value = value
        } else {
            scopes[scope].variables.append((name, value))
        }
    }

    private func ownVariable(_ name: Int) -> JinjaValue? {
        scopes[scope].variables.first { $0.name == name }?.value
    }

    private func variable(_ name: Int) -> JinjaValue {
        var current = scope
        while current >= 0 {
            if let variable = scopes[current].variables.first(where: { $0.name == name }) { return variable.value }
            current = scopes[current].parent
        }
        return context[name] ?? .undefined(JinjaUndefined(.variable(program.names[name])))
    }

    // MARK: Macros

    private func makeMacro(_ number: Int) {
        keepScopes()
        heap.append(.macro(JinjaMacro(shape: number, scope: scope)))
        stack.append(.object(heap.count - 1))
    }

    /// Goes to a macro's code with its text captured; `returnText` comes back.
    func enter(_ entry: Int, scope number: Int?, parent: Int, _ address: inout Int) throws(JinjaError) {
        try budget.checkCalls(frames.count)
        frames.append(
            Frame(returnAddress: address, scope: scope, loops: loopStack.count, line: line, ownsScope: number != nil))
        buffers.append(JinjaText(""))
        if let number { pushScope(number, parent: parent) } else { scope = parent }
        address = entry
    }

    private func returnText(_ address: inout Int) {
        let frame = frames.removeLast()
        if frame.ownsScope { popScope() }
        scope = frame.scope
        loopStack.removeLast(loopStack.count - frame.loops)
        line = frame.line
        address = frame.returnAddress
        stack.append(.string(buffers.removeLast()))
    }

    // MARK: Conversation

    /// The index of the message that `value` is.
    func message(_ value: JinjaValue) -> Int? {
        guard case .dict(let dictionary) = value else { return nil }
        return messageIndex[ObjectIdentifier(dictionary)]
    }

    /// Computes a loop's condition for one item.
    func holds(_ number: Int, for item: JinjaValue, scope loopScope: Int) throws(JinjaError) -> Bool {
        guard let entry = program.loops[number].condition else { return true }
        let (outer, outerLine) = (scope, line)
        pushScope(program.loops[number].conditionScope, parent: loopScope)
        stack.append(item)
        try execute(from: entry)
        popScope()
        scope = outer
        line = outerLine
        return truth(pop())
    }
}
