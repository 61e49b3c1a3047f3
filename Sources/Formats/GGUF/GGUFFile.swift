package import Diagnostics
import StrictJSON

/// A GGUF file (version 2 or 3, little endian) whose metadata and tensor table were checked in full.
package struct GGUFFile: Sendable {
    package let version: Int
    /// Keys in the order of the file.
    package let keys: [String]
    /// In the order of their bytes. Shapes are row-major: the reverse of the order in the file.
    package let tensors: [WeightTensor]
    /// Where tensor data begins, and the multiple on which each tensor does.
    package let dataOffset: Int
    package let alignment: Int
    package let file: MappedFile
    private let values: [BytewiseString: GGUFValue]

    package static let maximumTensors = 1 << 17
    package static let maximumKeys = 1 << 16
    /// llama.cpp reserves 64 bytes for a name with its final zero.
    package static let maximumTensorNameBytes = 63
    package static let maximumDimensions = 4

    /// Maps the file at `path` and reads its metadata; tensor data is not touched.
    ///
    /// - Throws: `fileMissing`, `fileKind`, `fileRead`, and `gguf…` with offset and key.
    package init(_ path: String) throws(Diagnostic) { try self.init(MappedFile(path)) }

    package init(_ file: MappedFile) throws(Diagnostic) {
        do {
            try self.init(checking: file)
        } catch { throw error.inFile(file.path) }
    }

    private init(checking file: MappedFile) throws(Diagnostic) {
        self.file = file
        var reader = GGUFReader(file.bytes, owner: file)
        version = try Self.version(&reader)
        // A tensor entry takes 8 + 4 + 8 + 4 + 8 bytes besides its name, a key 8 + 4 + 1.
        let tensorCount = try reader.count(of: "tensors", size: 32, limit: Self.maximumTensors)
        let keyCount = try reader.count(of: "metadata keys", size: 13, limit: Self.maximumKeys)
        var keys: [String] = []
        var values: [BytewiseString: GGUFValue] = [:]
        for _ in 0..<keyCount {
            let (key, value) = try Self.member(&reader)
            guard values.updateValue(value, forKey: BytewiseString(key)) == nil else {
                throw reader.error(.ggufKey, "this key a second time", expected: "every key once")
            }
            keys.append(key)
        }
        reader.subject = ""
        self.keys = keys
        self.values = values
        alignment = try Self.alignment(values[BytewiseString("general.alignment")])
        let entries = try GGUFTensorTable.read(count: tensorCount, from: &reader)
        let unaligned = reader.position
        dataOffset = (unaligned + alignment - 1) / alignment * alignment
        tensors = try GGUFTensorTable.tensors(entries, alignment: alignment, dataOffset: dataOffset, in: file)
    }

    package var source: WeightSource { WeightSource(tensors: tensors, files: [file]) }

    package subscript(key: String) -> GGUFValue? { values[BytewiseString(key)] }

    private static func version(_ reader: inout GGUFReader) throws(Diagnostic) -> Int {
        guard reader.bytes.starts(with: Array("GGUF".utf8)) else {
            throw reader.error(.ggufHeader, "a file that does not begin with 'GGUF'", expected: "a GGUF file")
        }
        _ = try reader.integer(UInt32.self)
        let version = try reader.integer(UInt32.self)
        guard version == 2 || version == 3 else {
            let swapped = version.byteSwapped <= 3 && version != 0
            throw reader.error(
                .ggufHeader, swapped ? "a big-endian file" : "version \(version)",
                expected: "version 2 or 3, little endian", fix: "Convert the model with a current llama.cpp")
        }
        return Int(version)
    }

    private static func member(_ reader: inout GGUFReader) throws(Diagnostic) -> (String, GGUFValue) {
        reader.subject = ""
        let key = try reader.string("a key", limit: GGUFReader.maximumKeyBytes)
        guard !key.isEmpty, !key.utf8.contains(where: { $0 < 0x20 }) else {
            throw reader.error(.ggufKey, "a key that is empty or has control characters", expected: "a plain key")
        }
        reader.subject = "key \"\(key.prefix(100))\""
        return (key, try reader.value())
    }

    private static func alignment(_ value: GGUFValue?) throws(Diagnostic) -> Int {
        guard let value else { return 32 }
        guard case .uint32(let number) = value, number > 0, number & (number - 1) == 0, number <= 1 << 16 else {
            throw Diagnostic(
                FormatsCode.ggufKey, at: "key \"general.alignment\"",
                found: value.integer.map { "value \($0) of kind \(value.kind)" } ?? "a value of kind \(value.kind)",
                expected: "a uint32 that is a power of two up to 65536", fix: "Download or convert the file again")
        }
        return Int(number)
    }
}

extension GGUFFile {
    /// The string under `key`; nil if there is no such key.
    ///
    /// - Throws: `ggufKey` for a value of another kind; so do the other accessors.
    package func string(_ key: String) throws(Diagnostic) -> String? {
        guard let value = self[key] else { return nil }
        if case .string(let text) = value { return text }
        throw wrongKind(key, value, "a string")
    }

    package func bool(_ key: String) throws(Diagnostic) -> Bool? {
        guard let value = self[key] else { return nil }
        if case .bool(let flag) = value { return flag }
        throw wrongKind(key, value, "a truth value")
    }

    /// An integer of any width that lies in `range`.
    package func integer(_ key: String, in range: ClosedRange<Int> = 0...Int.max) throws(Diagnostic) -> Int? {
        guard let value = self[key] else { return nil }
        guard let number = value.integer else { throw wrongKind(key, value, "an integer") }
        guard range.contains(number) else {
            throw Diagnostic(
                FormatsCode.ggufKey, file: file.path, at: "key \"\(key)\"", found: "value \(number)",
                expected: "a value from \(range.lowerBound) to \(range.upperBound)")
        }
        return number
    }

    /// A finite number: a float of either width, or an integer.
    package func number(_ key: String) throws(Diagnostic) -> Double? {
        guard let value = self[key] else { return nil }
        guard let number = value.floatingPoint ?? value.integer.map(Double.init) else {
            throw wrongKind(key, value, "a number")
        }
        guard number.isFinite else { throw wrongKind(key, value, "a finite number", found: "\(number)") }
        return number
    }

    package func strings(_ key: String) throws(Diagnostic) -> [String]? {
        try elements(key, "an array of strings") { $0.strings }
    }

    package func floats(_ key: String) throws(Diagnostic) -> [Float]? {
        try elements(key, "an array of floats") { $0.floats }
    }

    package func integers(_ key: String) throws(Diagnostic) -> [Int]? {
        try elements(key, "an array of integers") { $0.integers }
    }

    package func bools(_ key: String) throws(Diagnostic) -> [Bool]? {
        try elements(key, "an array of truth values") { $0.bools }
    }

    /// A value for each of `count` layers: an array of that many integers, or one integer for all of them.
    package func integers(_ key: String, perLayer count: Int) throws(Diagnostic) -> [Int]? {
        guard let value = self[key] else { return nil }
        if let number = value.integer { return [Int](repeating: number, count: count) }
        guard let numbers = try integers(key) else { return nil }
        guard numbers.count == count else {
            throw wrongKind(key, value, "\(count) integers, one for each layer", found: "\(numbers.count) integers")
        }
        return numbers
    }

    /// `value`, or an error that says that `key` is missing.
    package func required<Value>(_ key: String, _ value: Value?) throws(Diagnostic) -> Value {
        if let value { return value }
        throw Diagnostic(
            FormatsCode.ggufKey, file: file.path, at: "key \"\(key)\"", found: "no such key", expected: "its value",
            fix: "Convert the model with a current llama.cpp")
    }

    private func elements<Element>(
        _ key: String, _ expected: String, _ decode: (GGUFArray) -> [Element]?
    ) throws(Diagnostic) -> [Element]? {
        guard let value = self[key] else { return nil }
        guard case .array(let array) = value, let result = decode(array) else {
            throw wrongKind(key, value, expected)
        }
        return result
    }

    private func wrongKind(_ key: String, _ value: GGUFValue, _ expected: String, found: String? = nil) -> Diagnostic {
        var kind = "a value of kind \(value.kind)"
        if case .array(let array) = value { kind = "an array of kind \(array.element)" }
        return Diagnostic(
            FormatsCode.ggufKey, file: file.path, at: "key \"\(key)\"", found: found ?? kind, expected: expected,
            fix: "Download or convert the file again")
    }
}
