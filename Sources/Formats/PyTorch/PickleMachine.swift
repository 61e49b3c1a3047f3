import Diagnostics

/// Runs a pickle of protocol 2 to 5 that builds dictionaries, lists and tensors, and nothing else.
///
/// No name from the file is ever looked up or called: what is not on `PickleGlobal`'s list is an error. Every
/// instruction takes bounded time, and the number of values is limited.
/// Source of the instructions: Python's pickletools.
struct PickleMachine {
    private let bytes: UnsafeRawBufferPointer
    private var position = 0
    private var stack: [PickleValue] = []
    private var marks: [Int] = []
    private var memo: [Int: PickleValue] = [:]
    /// What tuples, lists and dictionaries hold; dictionaries as key, value, key, value.
    private(set) var heap: [[PickleValue]] = []
    private(set) var tensors: [PickleTensor] = []

    static let maximumBytes = 64 << 20
    static let maximumValues = 1 << 20
    static let maximumDimensions = 8

    private init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    /// Runs the program and returns the machine with the value that it left.
    ///
    /// - Throws: `pickle` with the offset, `pickleGlobal` with the name that is not allowed.
    static func run(_ bytes: UnsafeRawBufferPointer) throws(Diagnostic) -> (PickleMachine, PickleValue) {
        var machine = PickleMachine(bytes)
        guard bytes.count <= maximumBytes else {
            throw machine.error("a pickle of \(bytes.count) bytes", expected: "at most \(maximumBytes)")
        }
        while true {
            let code = try machine.byte()
            if code == UInt8(ascii: ".") { return (machine, try machine.pop()) }
            try machine.execute(code)
            guard machine.stack.count + machine.heap.count + machine.memo.count <= maximumValues else {
                throw machine.error("more than \(maximumValues) values", expected: "at most that many")
            }
        }
    }

    private mutating func execute(_ code: UInt8) throws(Diagnostic) {
        switch code {
        case 0x80: try checkProtocol()
        case 0x95: _ = try take(8)  // FRAME
        case UInt8(ascii: "("): marks.append(stack.count)
        case UInt8(ascii: "0"): try discard()
        case UInt8(ascii: "1"): _ = try popToMark()
        case UInt8(ascii: "2"): stack.append(try top())
        case UInt8(ascii: "}"): stack.append(.dictionary(allocate([])))
        case UInt8(ascii: "]"): stack.append(.list(allocate([])))
        case UInt8(ascii: ")"): stack.append(.tuple(allocate([])))
        case UInt8(ascii: "t"): stack.append(.tuple(allocate(try popToMark())))
        case UInt8(ascii: "l"): stack.append(.list(allocate(try popToMark())))
        case UInt8(ascii: "d"): try makeDictionary()
        case 0x85, 0x86, 0x87: stack.append(.tuple(allocate(try pop(Int(code) - 0x84))))
        case UInt8(ascii: "a"): try append([try pop()])
        case UInt8(ascii: "e"): try append(try popToMark())
        case UInt8(ascii: "s"): try setItems(try pop(2))
        case UInt8(ascii: "u"): try setItems(try popToMark())
        case UInt8(ascii: "q"), UInt8(ascii: "r"), 0x94: try memoize(code)
        case UInt8(ascii: "h"), UInt8(ascii: "j"): try recall(code)
        case UInt8(ascii: "c"): try global(module: try line(), name: try line())
        case 0x93: try stackGlobal()
        case UInt8(ascii: "R"): try reduce()
        case UInt8(ascii: "Q"): try persistentLoad()
        case UInt8(ascii: "b"): try build()
        default: try pushConstant(code)
        }
    }

    private mutating func pushConstant(_ code: UInt8) throws(Diagnostic) {
        switch code {
        case UInt8(ascii: "N"): stack.append(.none)
        case 0x88: stack.append(.bool(true))
        case 0x89: stack.append(.bool(false))
        case UInt8(ascii: "K"): stack.append(.integer(Int(try byte())))
        case UInt8(ascii: "M"): stack.append(.integer(Int(try number(UInt16.self))))
        case UInt8(ascii: "J"): stack.append(.integer(Int(try number(Int32.self))))
        case 0x8A: stack.append(try long(Int(try byte())))
        case 0x8B: stack.append(try long(Int(try number(UInt32.self))))
        case UInt8(ascii: "G"):
            stack.append(.float(Double(bitPattern: try number(UInt64.self).byteSwapped)))
        case UInt8(ascii: "X"): stack.append(.string(try text(Int(try number(UInt32.self)))))
        case 0x8C: stack.append(.string(try text(Int(try byte()))))
        case 0x8D: stack.append(.string(try text(try count64())))
        case UInt8(ascii: "B"): try skipBytes(Int(try number(UInt32.self)))
        case UInt8(ascii: "C"): try skipBytes(Int(try byte()))
        case 0x8E: try skipBytes(try count64())
        default:
            position -= 1
            throw error("instruction 0x\(String(code, radix: 16))", expected: "one that a state dictionary needs")
        }
    }

    private mutating func checkProtocol() throws(Diagnostic) {
        let number = try byte()
        guard (2...5).contains(number) else { throw error("protocol \(number)", expected: "2 to 5") }
    }

    func error(_ found: String, expected: String, code: FormatsCode = .pickle) -> Diagnostic {
        Diagnostic(
            code, at: "offset 0x\(String(position, radix: 16)) of data.pkl", found: found, expected: expected,
            fix: "Convert the model to safetensors with a tool that you trust")
    }
}

// Reading the program.
extension PickleMachine {
    private mutating func take(_ count: Int) throws(Diagnostic) -> UnsafeRawBufferPointer {
        guard count <= bytes.count - position else {
            throw error("\(bytes.count - position) bytes to the end", expected: "\(count) more")
        }
        defer { position += count }
        return UnsafeRawBufferPointer(rebasing: bytes[position..<(position + count)])
    }

    private mutating func byte() throws(Diagnostic) -> UInt8 { try take(1)[0] }

    private mutating func number<Value: FixedWidthInteger & BitwiseCopyable>(
        _: Value.Type
    ) throws(Diagnostic) -> Value {
        Value(littleEndian: try take(MemoryLayout<Value>.size).loadUnaligned(as: Value.self))
    }

    private mutating func count64() throws(Diagnostic) -> Int {
        let count = try number(UInt64.self)
        guard let count = Int(exactly: count) else { throw error("\(count) bytes", expected: "fewer") }
        return count
    }

    private mutating func text(_ count: Int) throws(Diagnostic) -> String {
        guard let text = String(validating: try take(count), as: UTF8.self) else {
            throw error("a string that is not UTF-8", expected: "UTF-8")
        }
        return text
    }

    private mutating func skipBytes(_ count: Int) throws(Diagnostic) {
        _ = try take(count)
        stack.append(.bytes)
    }

    private mutating func line() throws(Diagnostic) -> String {
        guard let end = bytes[position...].prefix(512).firstIndex(of: 0x0A) else {
            throw error("a name without an end", expected: "a line")
        }
        let name = try text(end - position)
        position += 1
        return name
    }

    /// A little-endian integer of `count` bytes in two's complement.
    private mutating func long(_ count: Int) throws(Diagnostic) -> PickleValue {
        guard count <= 8 else { throw error("an integer of \(count) bytes", expected: "at most 8") }
        let digits = try take(count)
        var value: Int64 = 0
        for digit in digits.reversed() { value = value << 8 | Int64(digit) }
        if count > 0, count < 8, digits[count - 1] & 0x80 != 0 { value -= 1 << (8 * Int64(count)) }
        return .integer(Int(value))
    }
}

// The stack.
extension PickleMachine {
    private mutating func allocate(_ items: [PickleValue]) -> Int {
        heap.append(items)
        return heap.count - 1
    }

    private func top() throws(Diagnostic) -> PickleValue {
        guard stack.count > (marks.last ?? 0), let value = stack.last else {
            throw error("an empty stack", expected: "a value")
        }
        return value
    }

    private mutating func pop() throws(Diagnostic) -> PickleValue {
        let value = try top()
        stack.removeLast()
        return value
    }

    private mutating func pop(_ count: Int) throws(Diagnostic) -> [PickleValue] {
        guard stack.count - (marks.last ?? 0) >= count else {
            throw error("too few values on the stack", expected: "\(count)")
        }
        defer { stack.removeLast(count) }
        return Array(stack.suffix(count))
    }

    private mutating func popToMark() throws(Diagnostic) -> [PickleValue] {
        guard let mark = marks.popLast() else { throw error("no mark on the stack", expected: "one") }
        defer { stack.removeSubrange(mark...) }
        return Array(stack[mark...])
    }

    /// POP, which also takes a mark off.
    private mutating func discard() throws(Diagnostic) {
        if marks.last == stack.count { marks.removeLast() } else { _ = try pop() }
    }

    private mutating func memoize(_ code: UInt8) throws(Diagnostic) {
        let key: Int
        switch code {
        case UInt8(ascii: "q"): key = Int(try byte())
        case UInt8(ascii: "r"): key = Int(try number(UInt32.self))
        default: key = memo.count
        }
        memo[key] = try top()
    }

    private mutating func recall(_ code: UInt8) throws(Diagnostic) {
        let key = code == UInt8(ascii: "h") ? Int(try byte()) : Int(try number(UInt32.self))
        guard let value = memo[key] else { throw error("no value under memo \(key)", expected: "one") }
        stack.append(value)
    }

    private mutating func append(_ items: [PickleValue]) throws(Diagnostic) {
        guard case .list(let place) = try top() else { throw error("no list to append to", expected: "one") }
        heap[place] += items
    }

    private mutating func makeDictionary() throws(Diagnostic) {
        let items = try popToMark()
        stack.append(.dictionary(allocate([])))
        try setItems(items)
    }

    private mutating func setItems(_ items: [PickleValue]) throws(Diagnostic) {
        guard case .dictionary(let place) = try top(), items.count % 2 == 0 else {
            throw error("no dictionary to add to", expected: "one, and pairs")
        }
        heap[place] += items
    }
}

// What calls would build.
extension PickleMachine {
    private mutating func global(module: String, name: String) throws(Diagnostic) {
        guard let global = PickleGlobal(module: module, name: name) else {
            throw error(
                "the name \(module.prefix(80)).\(name.prefix(80)), which a state dictionary does not need",
                expected: "tensors and ordered dictionaries only", code: .pickleGlobal)
        }
        stack.append(.global(global))
    }

    private mutating func stackGlobal() throws(Diagnostic) {
        let names = try pop(2)
        guard case .string(let module) = names[0], case .string(let name) = names[1] else {
            throw error("a name that is no string", expected: "two strings")
        }
        try global(module: module, name: name)
    }

    private mutating func reduce() throws(Diagnostic) {
        let pair = try pop(2)
        guard case .global(let global) = pair[0], case .tuple(let place) = pair[1] else {
            throw error("a call of something that is no known function", expected: "a known function")
        }
        let arguments = heap[place]
        switch global {
        case .orderedDictionary: stack.append(.dictionary(allocate(try pairs(arguments))))
        case .rebuildTensor: stack.append(try makeTensor(arguments, type: nil))
        case .rebuildTensorWithType:
            guard arguments.count >= 7, case .global(.elementType(let type)) = arguments[6] else {
                throw error("a tensor without an element type", expected: "one")
            }
            stack.append(try makeTensor(arguments, type: type))
        case .rebuildParameter:
            guard case .tensor(let number)? = arguments.first else {
                throw error("a parameter without a tensor", expected: "one")
            }
            stack.append(.tensor(number))
        case .inert: stack.append(.inert)
        case .storageType, .untypedStorage, .elementType:
            throw error("a call of a type", expected: "a function")
        }
    }

    /// The argument of `OrderedDict`: nothing, or a list of pairs.
    private func pairs(_ arguments: [PickleValue]) throws(Diagnostic) -> [PickleValue] {
        guard let argument = arguments.first else { return [] }
        guard case .list(let place) = argument, arguments.count == 1 else {
            throw error("an ordered dictionary of something else", expected: "a list of pairs")
        }
        var items: [PickleValue] = []
        for item in heap[place] {
            switch item {
            case .tuple(let pair) where heap[pair].count == 2, .list(let pair) where heap[pair].count == 2:
                items += heap[pair]
            default: throw error("an item that is no pair", expected: "pairs")
            }
        }
        return items
    }

    /// The arguments of `_rebuild_tensor_v2`: storage, offset, size, stride, requires_grad, hooks.
    private mutating func makeTensor(_ arguments: [PickleValue], type: ElementType?) throws(Diagnostic) -> PickleValue {
        guard arguments.count >= 4, case .storage(let storage) = arguments[0],
            case .integer(let offset) = arguments[1], let shape = integers(arguments[2]),
            let strides = integers(arguments[3])
        else { throw error("a tensor without storage, offset, size and stride", expected: "these") }
        guard let type = type ?? storage.type else {
            throw error("a tensor without an element type", expected: "one")
        }
        guard shape.count == strides.count, shape.count <= Self.maximumDimensions, offset >= 0,
            shape.allSatisfy({ $0 >= 0 }), strides.allSatisfy({ $0 >= 0 })
        else {
            throw error(
                "a tensor of size \(shape.prefix(9)) and stride \(strides.prefix(9)) at \(offset)",
                expected: "as many strides as dimensions, at most \(Self.maximumDimensions), none negative")
        }
        tensors.append(PickleTensor(storage: storage, type: type, offset: offset, shape: shape, strides: strides))
        return .tensor(tensors.count - 1)
    }

    private func integers(_ value: PickleValue) -> [Int]? {
        guard case .tuple(let place) = value, heap[place].count <= 64 else { return nil }
        var result: [Int] = []
        for item in heap[place] {
            guard case .integer(let number) = item else { return nil }
            result.append(number)
        }
        return result
    }

    /// BINPERSID, with ("storage", type, key, device, elements).
    private mutating func persistentLoad() throws(Diagnostic) {
        guard case .tuple(let place) = try pop(), heap[place].count == 5,
            case .string("storage") = heap[place][0], case .global(let global) = heap[place][1],
            case .string(let key) = heap[place][2], case .integer(let count) = heap[place][4], count >= 0
        else { throw error("a reference that is no storage", expected: "a storage") }
        switch global {
        case .storageType(let type): stack.append(.storage(PickleStorage(key: key, type: type, count: count)))
        case .untypedStorage: stack.append(.storage(PickleStorage(key: key, type: nil, count: count)))
        default: throw error("a storage of an unknown type", expected: "a storage type")
        }
    }

    /// BUILD: attributes of a dictionary (`_metadata`), which say nothing about tensors.
    private mutating func build() throws(Diagnostic) {
        _ = try pop()
        guard case .dictionary = try top() else {
            throw error("attributes of something else than a dictionary", expected: "a dictionary")
        }
    }
}
