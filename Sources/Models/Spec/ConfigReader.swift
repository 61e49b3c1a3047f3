package import Diagnostics
package import StrictJSON

/// Reads config.json the way transformers does: a missing key has its family's default, null often means "not set",
/// and a value out of range is an error that names the key.
package struct ConfigReader {
    private let object: JSONObject
    package let file: String
    /// Of a nested object, for messages: `text_config.`.
    private let prefix: String

    package init(_ object: JSONObject, file: String, prefix: String = "") {
        self.object = object
        self.file = file
        self.prefix = prefix
    }

    /// Whether the key is there, even as null.
    package func has(_ key: String) -> Bool { object[key] != nil }

    private func value(_ key: String) -> JSONValue? {
        guard let value = object[key], !value.isNull else { return nil }
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

    package var keys: [String] { object.keys }

    package func wrong(_ key: String, _ value: JSONValue? = nil, expected: String) -> Diagnostic {
        let shown = (value ?? object[key]).map { String($0.serialized().prefix(40)) } ?? "nothing"
        return Diagnostic(
            ModelsCode.config, file: file, at: "key \"\(prefix)\(key)\"", found: shown, expected: expected,
            fix: "Use the config.json that belongs to the weights")
    }

    package func unsupported(_ key: String, supported: String) -> Diagnostic {
        let shown = object[key].map { String($0.serialized().prefix(40)) } ?? "nothing"
        return Diagnostic(
            ModelsCode.unsupported, file: file, at: "key \"\(prefix)\(key)\"", found: shown, expected: supported)
    }
}
