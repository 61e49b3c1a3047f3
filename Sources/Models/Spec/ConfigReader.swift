package import Diagnostics
package import StrictJSON

/// Reads config.json the way transformers does: a missing key has its family's default, null often means "not set",
/// and a value out of range is an error that names the key.
package struct ConfigReader {
    private let object: JSONObject
    package let file: String
    /// Of a nested object, for messages: `text_config.`.
    private let prefix: String
    /// What a missing key means; one that is there as null has no default.
    private var defaults: [String: Int] = [:]
    /// The family's own names of keys, by the name that most families have.
    private var ownNames: [String: String] = [:]
    /// The task that the model is wanted for, whatever the config names.
    var newTask: NewTask?

    package init(_ object: JSONObject, file: String, prefix: String = "") {
        self.object = object
        self.file = file
        self.prefix = prefix
    }

    /// The same config as one family reads it.
    ///
    /// - Parameters:
    ///   - defaults: the values of transformers' configuration class that are whole numbers, by the names that most families have.
    ///   - ownNames: where the family calls a key otherwise; both names are read, its own first.
    package func with(defaults: [String: Int], ownNames: [String: String] = [:]) -> ConfigReader {
        var reader = self
        reader.defaults = defaults
        reader.ownNames = ownNames
        return reader
    }

    /// Whether the key is there, even as null.
    package func has(_ key: String) -> Bool { stored(key) != nil }

    private func stored(_ key: String) -> JSONValue? {
        if let own = ownNames[key], let value = object[own], !value.isNull || object[key] == nil { return value }
        return object[key]
    }

    private func value(_ key: String) -> JSONValue? {
        guard let value = stored(key) ?? defaults[key].map(JSONValue.integer), !value.isNull else { return nil }
        return value
    }

    package func string(_ key: String) throws(Diagnostic) -> String? {
        guard let value = value(key) else { return nil }
        guard let text = value.string else { throw wrong(key, value, expected: "a string") }
        return text
    }

    package func bool(_ key: String, default fallback: Bool) throws(Diagnostic) -> Bool {
        guard let value = value(key) else { return fallback }
        guard let flag = value.bool else { throw wrong(key, value, expected: "true or false") }
        return flag
    }

    /// A whole number from 1 to 2³¹ − 1, the range of every extent.
    package func extent(_ key: String) throws(Diagnostic) -> Int? {
        guard let value = value(key) else { return nil }
        guard let number = value.integer, (1...Int(Int32.max)).contains(number) else {
            throw wrong(key, value, expected: "a whole number from 1 to \(Int32.max)")
        }
        return number
    }

    /// A whole number from 0 to 2³¹ − 1.
    package func count(_ key: String) throws(Diagnostic) -> Int? {
        guard let value = value(key) else { return nil }
        guard let number = value.integer, (0...Int(Int32.max)).contains(number) else {
            throw wrong(key, value, expected: "a whole number from 0 to \(Int32.max)")
        }
        return number
    }

    package func requiredExtent(_ key: String) throws(Diagnostic) -> Int {
        guard let number = try extent(key) else {
            throw Diagnostic(
                ModelsCode.config, file: file, at: "key \"\(prefix)\(key)\"", found: "nothing",
                expected: "a whole number", fix: "Use the config.json that belongs to the weights")
        }
        return number
    }

    /// A finite number greater than 0.
    package func positive(_ key: String) throws(Diagnostic) -> Double? {
        guard let value = value(key) else { return nil }
        guard let number = value.number, number > 0 else { throw wrong(key, value, expected: "a number above 0") }
        return number
    }

    /// A finite number of at least 0.
    package func nonnegative(_ key: String) throws(Diagnostic) -> Double? {
        guard let value = value(key) else { return nil }
        guard let number = value.number, number >= 0 else { throw wrong(key, value, expected: "a number from 0 on") }
        return number
    }

    /// A list of `count` numbers above 0.
    package func positives(_ key: String, count: Int) throws(Diagnostic) -> [Double] {
        let numbers = value(key)?.array?.compactMap(\.number) ?? []
        guard numbers.count == count, value(key)?.array?.count == count, numbers.allSatisfy({ $0 > 0 }) else {
            throw wrong(key, expected: "\(count) numbers above 0")
        }
        return numbers
    }

    package func integers(_ key: String) throws(Diagnostic) -> [Int]? {
        guard let value = value(key) else { return nil }
        guard let numbers = value.array?.compactMap(\.integer), numbers.count == value.array?.count else {
            throw wrong(key, value, expected: "a list of whole numbers")
        }
        return numbers
    }

    package func strings(_ key: String) throws(Diagnostic) -> [String]? {
        guard let value = value(key) else { return nil }
        guard let texts = value.array?.compactMap(\.string), texts.count == value.array?.count else {
            throw wrong(key, value, expected: "a list of strings")
        }
        return texts
    }

    /// A nested object; nil if it is missing or null.
    package func nested(_ key: String) throws(Diagnostic) -> ConfigReader? {
        guard let value = value(key) else { return nil }
        guard let object = value.object else { throw wrong(key, value, expected: "an object") }
        return ConfigReader(object, file: file, prefix: prefix + key + ".")
    }

    /// - Throws: `unsupported` for another value than this one; a missing key or null is this one.
    package func require(_ key: String, _ only: String) throws(Diagnostic) {
        guard try string(key) ?? only == only else { throw unsupported(key, supported: only) }
    }

    /// The same for a flag that must be off.
    package func requireFalse(_ key: String) throws(Diagnostic) {
        guard try !bool(key, default: false) else { throw unsupported(key, supported: "false") }
    }

    package var keys: [String] { object.keys }

    package func wrong(_ key: String, _ value: JSONValue? = nil, expected: String) -> Diagnostic {
        let shown = (value ?? stored(key)).map { String($0.serialized().prefix(40)) } ?? "nothing"
        return Diagnostic(
            ModelsCode.config, file: file, at: "key \"\(prefix)\(key)\"", found: shown, expected: expected,
            fix: "Use the config.json that belongs to the weights")
    }

    package func unsupported(_ key: String, supported: String) -> Diagnostic {
        let shown = stored(key).map { String($0.serialized().prefix(40)) } ?? "nothing"
        return Diagnostic(
            ModelsCode.unsupported, file: file, at: "key \"\(prefix)\(key)\"", found: shown, expected: supported)
    }
}
