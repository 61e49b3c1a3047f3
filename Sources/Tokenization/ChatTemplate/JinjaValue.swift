import StrictJSON

/// A value of a running template. What has identity or changes (namespaces, macros, loops) lives in the interpreter's
/// heap and is named by its handle, so that values are trees of bounded depth and are freed without deep recursion.
enum JinjaValue: Sendable {
    case undefined(JinjaUndefined)
    case null
    case bool(Bool)
    case int(Int)
    case float(Double)
    case string(JinjaText)
    /// A string that `safe` or `escape` marked: joined to others, it escapes them as HTML.
    case markup(JinjaText)
    case list(JinjaSequence)
    case tuple(JinjaSequence)
    case dict(JinjaDictionary)
    case range(JinjaRange)
    case view(JinjaView)
    case method(JinjaMethod)
    case function(JinjaFunction)
    case object(Int)

    static func text(_ string: String) -> JinjaValue { .string(JinjaText(string)) }

    /// The text of a string or of markup.
    var text: JinjaText? {
        switch self {
        case .string(let text), .markup(let text): text
        default: nil
        }
    }

    var isUndefined: Bool { if case .undefined = self { true } else { false } }
    var isNone: Bool { if case .null = self { true } else { false } }

    /// A number that may be used as an index: Python counts booleans as integers.
    var index: Int? {
        switch self {
        case .int(let value): value
        case .bool(let value): value ? 1 : 0
        default: nil
        }
    }

    /// The levels of lists, tuples and dictionaries in this value.
    var depth: Int {
        switch self {
        case .list(let sequence), .tuple(let sequence): sequence.depth
        case .dict(let dictionary): dictionary.depth
        case .view(let view): view.items.depth
        case .method(let method): method.receiver.depth
        case .undefined(let undefined): undefined.depth
        default: 0
        }
    }
}

/// What a name, attribute or element that does not exist evaluates to, and the message for whoever uses it.
final class JinjaUndefined: Sendable {
    enum Reason: Sendable {
        case variable(String)
        case attribute(owner: String, name: String)
        case element(owner: String, key: JinjaValue)
        case hint(String)
        /// The sandbox hides it.
        case unsafe(owner: String, name: String)
    }

    let reason: Reason
    let depth: Int

    init(_ reason: Reason) {
        self.reason = reason
        if case .element(_, let key) = reason { depth = key.depth } else { depth = 0 }
    }
}

/// The items of a list or tuple; immutable, as the sandbox keeps lists.
final class JinjaSequence: Sendable {
    let items: [JinjaValue]
    let depth: Int
    /// Names of the items where the tuple has them (`grouper`, `list` of `groupby`).
    let fields: [String]

    init(_ items: [JinjaValue], fields: [String] = []) {
        self.items = items
        self.fields = fields
        depth = 1 + items.reduce(0) { max($0, $1.depth) }
    }
}

/// A dictionary in the order of insertion; immutable.
final class JinjaDictionary: Sendable {
    let keys: [JinjaValue]
    let values: [JinjaValue]
    let depth: Int
    /// Positions by key; nil for few keys, which are searched one by one.
    private let index: [JinjaKey: Int]?

    /// Later values replace earlier ones of an equal key.
    init(_ members: [(key: JinjaValue, value: JinjaValue)]) throws(JinjaError) {
        var keys: [JinjaValue] = []
        var values: [JinjaValue] = []
        var index: [JinjaKey: Int] = [:]
        for (key, value) in members {
            let hashed = try JinjaKey(key)
            if let position = index[hashed] {
                values[position] = value
            } else {
                index[hashed] = keys.count
                keys.append(key)
                values.append(value)
            }
        }
        self.keys = keys
        self.values = values
        self.index = keys.count > 8 ? index : nil
        depth = 1 + values.reduce(keys.reduce(0) { max($0, $1.depth) }) { max($0, $1.depth) }
    }

    /// Keys that are known to be different strings.
    init(distinct keys: [JinjaValue], values: [JinjaValue]) {
        self.keys = keys
        self.values = values
        var index: [JinjaKey: Int] = [:]
        if keys.count > 8 {
            for (position, key) in keys.enumerated() {
                if let text = key.text { index[.string(text.string)] = position }
            }
        }
        self.index = keys.count > 8 ? index : nil
        depth = 1 + values.reduce(0) { max($0, $1.depth) }
    }

    var count: Int { keys.count }

    subscript(name: String) -> JinjaValue? {
        if let index { return index[.string(name)].map { values[$0] } }
        return keys.firstIndex { $0.text.map { sameBytes($0.string, name) } ?? false }.map { values[$0] }
    }

    /// - Throws: a type error if `key` cannot be hashed.
    func value(for key: JinjaValue) throws(JinjaError) -> JinjaValue? {
        if let text = key.text { return self[text.string] }
        let hashed = try JinjaKey(key)
        if let index { return index[hashed].map { values[$0] } }
        for (position, candidate) in keys.enumerated() where try JinjaKey(candidate) == hashed {
            return values[position]
        }
        return nil
    }
}

/// A hashable value, as dictionaries and `unique` compare them: 1, 1.0 and true are the same key.
enum JinjaKey: Hashable {
    case null
    case undefined
    case int(Int)
    case float(Double)
    case text(BytewiseString)
    case tuple([JinjaKey])
    case object(Int)

    static func string(_ text: String) -> JinjaKey { .text(BytewiseString(text)) }

    init(_ value: JinjaValue) throws(JinjaError) {
        switch value {
        case .null: self = .null
        case .undefined: self = .undefined
        case .bool(let value): self = .int(value ? 1 : 0)
        case .int(let value): self = .int(value)
        case .float(let value): self = Int(exactly: value).map { .int($0) } ?? .float(value)
        case .string(let text), .markup(let text): self = .string(text.string)
        case .tuple(let sequence):
            var keys: [JinjaKey] = []
            for item in sequence.items { keys.append(try JinjaKey(item)) }
            self = .tuple(keys)
        case .object(let handle): self = .object(handle)
        default: throw .type("unhashable type: '\(value.staticTypeName)'")
        }
    }
}

/// `range(start, stop, step)`; at most 100 000 numbers.
struct JinjaRange: Sendable, Equatable {
    var start: Int
    var stop: Int
    var step: Int

    /// The number of numbers; nil if it does not fit 64 bits.
    var count: Int? {
        let (distance, overflow) =
            step > 0 ? stop.subtractingReportingOverflow(start) : start.subtractingReportingOverflow(stop)
        guard !overflow else { return step > 0 ? (start < stop ? nil : 0) : (start > stop ? nil : 0) }
        return distance > 0 ? Int(UInt(distance - 1) / step.magnitude) + 1 : 0
    }

    /// All numbers; `count` must be known to be small.
    var numbers: [Int] {
        guard let count else { return [] }
        return (0..<count).map { start &+ $0 &* step }
    }
}

/// `keys()`, `values()` or `items()` of a dictionary.
struct JinjaView: Sendable {
    enum Kind: String, Sendable {
        case keys = "dict_keys"
        case values = "dict_values"
        case items = "dict_items"
    }

    var kind: Kind
    var items: JinjaSequence
}

/// A method bound to its receiver, ready to be called.
final class JinjaMethod: Sendable {
    let receiver: JinjaValue
    let name: String

    init(_ receiver: JinjaValue, _ name: String) {
        self.receiver = receiver
        self.name = name
    }
}

/// The functions that every template can call.
enum JinjaFunction: String, Sendable, CaseIterable {
    case range
    case dict
    case namespace
    case cycler
    case joiner
    case raiseException = "raise_exception"
    case strftimeNow = "strftime_now"
    case lipsum

    /// How Python writes it.
    var description: String {
        switch self {
        case .dict: "<class 'dict'>"
        case .namespace: "<class 'jinja2.utils.Namespace'>"
        case .cycler: "<class 'jinja2.utils.Cycler'>"
        case .joiner: "<class 'jinja2.utils.Joiner'>"
        default: "<function \(rawValue)>"
        }
    }
}

extension JinjaValue {
    /// Python's name of the type, for whatever does not live in the heap.
    var staticTypeName: String {
        switch self {
        case .undefined: "Undefined"
        case .null: "NoneType"
        case .bool: "bool"
        case .int: "int"
        case .float: "float"
        case .string: "str"
        case .markup: "Markup"
        case .list: "list"
        case .tuple: "tuple"
        case .dict: "dict"
        case .range: "range"
        case .view(let view): view.kind.rawValue
        case .method(let method):
            if case .object = method.receiver { "method" } else { "builtin_function_or_method" }
        case .function(let function):
            switch function {
            case .range, .raiseException, .strftimeNow, .lipsum: "function"
            case .dict, .namespace, .cycler, .joiner: "type"
            }
        case .object: "object"
        }
    }
}
