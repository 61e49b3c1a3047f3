/// A JSON document as plain values. Objects keep the order of their keys.
package enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    /// A number written without fraction or exponent that fits 64 bits.
    case integer(Int)
    case number(Double)
    case string(String)
    case array([JSONValue])
    case object(JSONObject)
}

/// The members of an object in the order of the file; keys are compared by their bytes, not by canonical equivalence.
package struct JSONObject: Sendable {
    package private(set) var keys: [String] = []
    package private(set) var values: [JSONValue] = []
    private var index = KeyIndex()

    package init() {}

    package init(_ members: [(String, JSONValue)]) {
        for (key, value) in members { self[key] = value }
    }

    package var count: Int { keys.count }
    package var members: [(key: String, value: JSONValue)] { zip(keys, values).map { ($0, $1) } }

    package subscript(key: String) -> JSONValue? {
        get { index.position(of: key, in: keys).map { values[$0] } }
        set {
            switch (index.position(of: key, in: keys), newValue) {
            case (let position?, let value?): values[position] = value
            case (nil, let value?): _ = insert(key, value)
            case (let position?, nil):
                keys.remove(at: position)
                values.remove(at: position)
                index = KeyIndex()
                for count in 1...max(1, keys.count) where count <= keys.count { index.add(keys, count: count) }
            case (nil, nil): break
            }
        }
    }

    /// Adds a member; false if the key is there already.
    mutating func insert(_ key: String, _ value: JSONValue) -> Bool {
        guard index.position(of: key, in: keys) == nil else { return false }
        keys.append(key)
        values.append(value)
        index.add(keys, count: keys.count)
        return true
    }
}

extension JSONObject: Equatable {
    /// Equal if the members are, in the same order.
    package static func == (a: JSONObject, b: JSONObject) -> Bool {
        a.keys.elementsEqual(b.keys, by: { $0.utf8.elementsEqual($1.utf8) }) && a.values == b.values
    }
}

extension JSONObject: ExpressibleByDictionaryLiteral {
    package init(dictionaryLiteral elements: (String, JSONValue)...) { self.init(elements) }
}

/// A string that equals another only if their UTF-8 bytes do; Swift's own equality joins canonical equivalents.
package struct BytewiseString: Hashable, Sendable {
    package let text: String

    package init(_ text: String) { self.text = text }

    package static func == (a: BytewiseString, b: BytewiseString) -> Bool {
        a.text.utf8.elementsEqual(b.text.utf8)
    }

    package func hash(into hasher: inout Hasher) {
        var copy = text
        copy.withUTF8 { unsafe hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
    }
}

extension JSONValue {
    package var string: String? { if case .string(let value) = self { value } else { nil } }
    package var bool: Bool? { if case .bool(let value) = self { value } else { nil } }
    package var array: [JSONValue]? { if case .array(let value) = self { value } else { nil } }
    package var object: JSONObject? { if case .object(let value) = self { value } else { nil } }
    package var isNull: Bool { self == .null }

    /// The value as an integer; a number with a zero fraction (`4.0`) counts.
    package var integer: Int? {
        switch self {
        case .integer(let value): value
        case .number(let value): Int(exactly: value)
        default: nil
        }
    }

    package var number: Double? {
        switch self {
        case .integer(let value): Double(value)
        case .number(let value): value
        default: nil
        }
    }

    /// The member `key` of an object; nil for other values and missing members.
    package subscript(key: String) -> JSONValue? { object?[key] }
}
