import Diagnostics
import StrictJSON

/// What the header of a safetensors file says about one tensor; the byte range counts from the end of the header.
struct SafetensorsEntry {
    var name: String
    var type: ElementType
    var shape: [Int]
    var range: Range<Int>
}

/// Reads the JSON header in one pass, without building the document: a hostile header of 90 MB costs no more memory
/// than the tensors it really lists.
///
/// Only the form that the format knows is taken: an object of `{"dtype", "shape", "data_offsets"}` objects, and
/// `__metadata__` with strings.
struct SafetensorsHeaderParser {
    private let bytes: UnsafeRawBufferPointer
    /// Bytes of tensor data behind the header.
    private let dataCount: Int
    private var position = 0
    private var names: Set<BytewiseString> = []
    private(set) var entries: [SafetensorsEntry] = []
    private(set) var metadata: [(key: String, value: String)] = []
    private var hasMetadata = false
    private var current = ""

    static let maximumTensors = 1 << 17
    static let maximumNameBytes = 1024
    static let maximumDimensions = 8
    static let maximumMetadataEntries = 1 << 14

    init(_ bytes: UnsafeRawBufferPointer, dataCount: Int) {
        self.bytes = bytes
        self.dataCount = dataCount
    }

    /// - Parameter bytes: the header, which the format pads with spaces at its end.
    mutating func parse() throws(Diagnostic) {
        guard bytes.first == UInt8(ascii: "{") else {
            throw error(.safetensorsHeader, "a header that begins with \(describe(0))", expected: "'{'")
        }
        position = 1
        if !skip("}") {
            repeat { try member() } while skip(",")
            try demand("}", else: "',' or '}'")
        }
        skipSpace()
        guard position == bytes.count else {
            throw error(.safetensorsHeader, "\(describe(position)) after the header's object", expected: "only spaces")
        }
    }

    private mutating func member() throws(Diagnostic) {
        let name = try string()
        try demand(":", else: "':'")
        if name.utf8.elementsEqual("__metadata__".utf8) {
            guard !hasMetadata else { throw error(.safetensorsHeader, "__metadata__ twice", expected: "it once") }
            hasMetadata = true
            return try parseMetadata()
        }
        try checkName(name)
        current = name
        guard names.insert(BytewiseString(name)).inserted else {
            throw error(.safetensorsTensor, "a second entry with this name", expected: "every tensor once")
        }
        guard entries.count < Self.maximumTensors else {
            throw error(
                .safetensorsLimit, "more than \(Self.maximumTensors) tensors", expected: "at most that many in a file")
        }
        entries.append(try entry(name))
        current = ""
    }

    private func checkName(_ name: String) throws(Diagnostic) {
        guard !name.isEmpty else { throw error(.safetensorsTensor, "a tensor without a name", expected: "a name") }
        guard name.utf8.count <= Self.maximumNameBytes else {
            throw error(
                .safetensorsTensor, "a tensor name of \(name.utf8.count) bytes",
                expected: "at most \(Self.maximumNameBytes)")
        }
        let hasControl = name.utf8.contains { $0 < 0x20 || $0 == 0x7F }
        let climbs = name.utf8.split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false)
            .contains { $0.elementsEqual("..".utf8) }
        guard !hasControl, !climbs else {
            throw error(
                .safetensorsTensor, "a tensor name with \(hasControl ? "control characters" : "'..' as a part")",
                expected: "a plain name")
        }
    }

    private mutating func entry(_ name: String) throws(Diagnostic) -> SafetensorsEntry {
        var type: ElementType?
        var shape: [Int]?
        var offsets: [Int]?
        try demand("{", else: "an object with dtype, shape and data_offsets")
        if !skip("}") {
            repeat {
                let key = try string()
                try demand(":", else: "':'")
                switch key {
                case "dtype" where type == nil: type = try elementType()
                case "shape" where shape == nil: shape = try integers("shape", limit: Self.maximumDimensions)
                case "data_offsets" where offsets == nil: offsets = try integers("data_offsets", limit: 2)
                case "dtype", "shape", "data_offsets":
                    throw error(.safetensorsTensor, "\(key) twice", expected: "every key once")
                default: throw error(.safetensorsTensor, "an unknown key", expected: "dtype, shape and data_offsets")
                }
            } while skip(",")
            try demand("}", else: "',' or '}'")
        }
        guard let type, let shape, let offsets else {
            let missing = type == nil ? "dtype" : shape == nil ? "shape" : "data_offsets"
            throw error(.safetensorsTensor, "no \(missing)", expected: "dtype, shape and data_offsets")
        }
        return SafetensorsEntry(
            name: name, type: type, shape: shape, range: try range(type: type, shape: shape, offsets: offsets))
    }

    private mutating func elementType() throws(Diagnostic) -> ElementType {
        guard peek() == UInt8(ascii: "\"") else {
            throw error(.safetensorsTensor, "a dtype that is no string", expected: "a name such as \"F32\"")
        }
        let name = try string()
        guard let type = ElementType(rawValue: name), safetensorsTypes.contains(type) else {
            throw error(
                .safetensorsTensor, "dtype \"\(name.prefix(40))\"",
                expected: safetensorsTypes.map(\.rawValue).joined(separator: ", "))
        }
        return type
    }

    /// Checks one tensor's range against its shape and the file.
    private func range(type: ElementType, shape: [Int], offsets: [Int]) throws(Diagnostic) -> Range<Int> {
        guard offsets.count == 2, offsets[0] <= offsets[1] else {
            throw error(.safetensorsOffsets, "data_offsets \(offsets)", expected: "[begin, end] with begin <= end")
        }
        guard let count = elementCount(shape) else {
            throw error(.safetensorsTensor, "shape \(shape)", expected: "a number of elements that fits 63 bits")
        }
        guard let size = type.byteCount(of: count) else {
            throw error(
                .safetensorsTensor, "\(count) elements of \(type.rawValue)", expected: "a whole number of bytes")
        }
        let found = offsets[1] - offsets[0]
        guard found == size else {
            throw error(
                .safetensorsOffsets, "bytes \(offsets[0])..<\(offsets[1]), which are \(found)",
                expected: "\(size) bytes for \(type.rawValue) \(shape)")
        }
        guard offsets[1] <= dataCount else {
            throw error(
                .safetensorsOffsets, "bytes \(offsets[0])..<\(offsets[1]) of \(dataCount) bytes of data",
                expected: "a range inside the file", fix: "Download the file again")
        }
        return offsets[0]..<offsets[1]
    }

    private mutating func parseMetadata() throws(Diagnostic) {
        current = "__metadata__"
        defer { current = "" }
        try demand("{", else: "an object of strings")
        if skip("}") { return }
        var keys: Set<BytewiseString> = []
        repeat {
            let key = try string()
            try demand(":", else: "':'")
            guard peek() == UInt8(ascii: "\"") else {
                throw error(.safetensorsHeader, "metadata that is no string", expected: "strings only")
            }
            guard keys.insert(BytewiseString(key)).inserted else {
                throw error(.safetensorsHeader, "a key twice", expected: "every key once")
            }
            guard keys.count <= Self.maximumMetadataEntries else {
                throw error(
                    .safetensorsLimit, "more than \(Self.maximumMetadataEntries) metadata entries",
                    expected: "at most that many")
            }
            metadata.append((key, try string()))
        } while skip(",")
        try demand("}", else: "',' or '}'")
    }
}

/// The types that the format names, in no special order.
let safetensorsTypes: [ElementType] = [
    .f64, .f32, .f16, .bf16, .i64, .i32, .i16, .i8, .u64, .u32, .u16, .u8, .bool, .c64, .f8e4m3, .f8e5m2, .f8e8m0,
    .f8e4m3fnuz, .f8e5m2fnuz, .f6e2m3, .f6e3m2, .f4,
]

// Words of the header's grammar.
extension SafetensorsHeaderParser {
    /// `[`, decimal integers without sign, `]`.
    private mutating func integers(_ key: String, limit: Int) throws(Diagnostic) -> [Int] {
        try demand("[", else: "an array for \(key)")
        var result: [Int] = []
        if skip("]") { return result }
        repeat {
            guard result.count < limit else {
                throw error(.safetensorsTensor, "\(key) with more than \(limit) numbers", expected: "at most \(limit)")
            }
            result.append(try integer(key))
        } while skip(",")
        try demand("]", else: "an integer, ',' or ']' in \(key)")
        return result
    }

    private mutating func integer(_ key: String) throws(Diagnostic) -> Int {
        skipSpace()
        let start = position
        var value = 0
        while position < bytes.count, case let digit = bytes[position] &- UInt8(ascii: "0"), digit <= 9 {
            let (tens, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, overflows) = tens.addingReportingOverflow(Int(digit))
            guard !overflow, !overflows else {
                throw error(.safetensorsTensor, "a number over 2^63 in \(key)", expected: "a smaller one")
            }
            value = sum
            position += 1
        }
        let leadingZero = position - start > 1 && bytes[start] == UInt8(ascii: "0")
        let next = position < bytes.count ? bytes[position] : 0
        guard position > start, !leadingZero, next != UInt8(ascii: "."), next | 0x20 != UInt8(ascii: "e") else {
            throw error(.safetensorsTensor, "\(describe(start)) in \(key)", expected: "an integer of 0 or more")
        }
        return value
    }

    private mutating func string() throws(Diagnostic) -> String {
        guard peek() == UInt8(ascii: "\"") else {
            throw error(.safetensorsHeader, describe(position), expected: "a name in quotation marks")
        }
        let start = position
        position += 1
        var escaped = false
        while position < bytes.count, bytes[position] != UInt8(ascii: "\"") {
            if bytes[position] == UInt8(ascii: "\\") {
                escaped = true
                position += 1
            } else if bytes[position] < 0x20 {
                throw error(.safetensorsHeader, describe(position), expected: "an escape sequence")
            }
            position += 1
        }
        guard position < bytes.count else {
            throw error(.safetensorsHeader, "the end of the header in a string", expected: "'\"'")
        }
        position += 1
        let token = UnsafeRawBufferPointer(rebasing: bytes[start..<position])
        if escaped {
            // The parser counts from the token's start; what is wrong matters more than the column.
            guard let text = try JSONValue(parsing: token).string else {
                throw error(.safetensorsHeader, "a broken string", expected: "a string")
            }
            return text
        }
        guard let text = String(validating: token.dropFirst().dropLast(), as: UTF8.self) else {
            throw error(.safetensorsHeader, "bytes that are not UTF-8", expected: "UTF-8")
        }
        return text
    }

    private mutating func peek() -> UInt8? {
        skipSpace()
        return position < bytes.count ? bytes[position] : nil
    }

    private mutating func skip(_ character: Unicode.Scalar) -> Bool {
        guard peek() == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    private mutating func demand(_ character: Unicode.Scalar, else expected: String) throws(Diagnostic) {
        guard skip(character) else { throw error(.safetensorsHeader, describe(position), expected: expected) }
    }

    private mutating func skipSpace() {
        while position < bytes.count {
            switch bytes[position] {
            case 0x20, 0x0A, 0x0D, 0x09: position += 1
            default: return
            }
        }
    }

    private func describe(_ position: Int) -> String {
        guard position < bytes.count else { return "the end of the header" }
        let byte = bytes[position]
        return (0x21..<0x7F).contains(byte)
            ? "'\(Character(Unicode.Scalar(byte)))'" : "byte 0x" + String(byte, radix: 16)
    }

    private func error(_ code: FormatsCode, _ found: String, expected: String, fix: String? = nil) -> Diagnostic {
        let place = current.isEmpty ? "offset \(8 + position)" : "tensor \"\(current.prefix(200))\""
        return Diagnostic(code, at: place, found: found, expected: expected, fix: fix)
    }
}
