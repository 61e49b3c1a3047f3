import Diagnostics
import StrictJSON

/// Records out of JSON: one object a line, or one array of objects.
enum JSONRecords {
    static let maximumRecordBytes = 64 << 20

    /// Reads JSON Lines; lines of white space alone are passed over.
    static func forEachLine(
        _ bytes: UnsafeRawBufferPointer, _ body: (Record) throws(Diagnostic) -> Void
    ) throws(Diagnostic) {
        try refuseMark(bytes)
        var start = 0
        var line = 1
        while start < bytes.count {
            let end = bytes[start...].firstIndex(of: 0x0A) ?? bytes.count
            if !bytes[start..<end].allSatisfy(isSpace) { try body(record(bytes, start..<end, line: line, column: 1)) }
            start = end + 1
            line += 1
        }
    }

    /// Reads an array of objects without holding the values of more than one.
    static func forEachElement(
        _ bytes: UnsafeRawBufferPointer, _ body: (Record) throws(Diagnostic) -> Void
    ) throws(Diagnostic) {
        try refuseMark(bytes)
        var cursor = Cursor(bytes: bytes)
        cursor.skipSpace()
        guard cursor.byte == UInt8(ascii: "[") else {
            throw cursor.error(cursor.byte == nil ? "no records" : "a value that is no array", expected: "an array")
        }
        cursor.advance()
        cursor.skipSpace()
        if cursor.byte == UInt8(ascii: "]") {
            cursor.advance()
        } else {
            while true {
                let (start, line, column) = (cursor.position, cursor.line, cursor.column)
                cursor.skipValue()
                try body(record(bytes, start..<cursor.position, line: line, column: column))
                cursor.skipSpace()
                if cursor.byte == UInt8(ascii: "]") { break }
                guard cursor.byte == UInt8(ascii: ",") else {
                    throw cursor.error("no ',' and no ']' after a record", expected: "',' or ']'")
                }
                cursor.advance()
                cursor.skipSpace()
            }
            cursor.advance()
        }
        cursor.skipSpace()
        if cursor.byte != nil { throw cursor.error("text after the array", expected: "the end of the file") }
    }

    private static func refuseMark(_ bytes: UnsafeRawBufferPointer) throws(Diagnostic) {
        guard bytes.starts(with: [0xEF, 0xBB, 0xBF]) else { return }
        throw Diagnostic(
            DataCode.encoding, at: "line 1, column 1", found: "a byte-order mark", expected: "JSON",
            fix: "Save the file as UTF-8 without a byte-order mark")
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0D).contains(byte) }

    private static func record(
        _ bytes: UnsafeRawBufferPointer, _ range: Range<Int>, line: Int, column: Int
    ) throws(Diagnostic) -> Record {
        guard range.count <= maximumRecordBytes else {
            throw Diagnostic(
                DataCode.limit, at: "line \(line), column \(column)", found: "a record of \(range.count) bytes",
                expected: "at most \(maximumRecordBytes)", fix: "Split the record")
        }
        let slice = UnsafeRawBufferPointer(rebasing: bytes[range])
        let value: JSONValue
        do throws(Diagnostic) {
            value = try JSONValue(parsing: slice)
        } catch {
            throw moved(error, line: line, column: column)
        }
        guard let object = value.object else {
            throw Diagnostic(
                DataCode.row, at: "line \(line), column \(column)", found: "a value that is no object",
                expected: "an object with the record's fields", fix: "Write every record as {\"field\": value, ...}")
        }
        return Record(
            names: object.keys, values: object.values, line: line, spellings: spellings(of: object, in: slice))
    }

    /// The error with its place in the file instead of its place in the record.
    private static func moved(_ error: Diagnostic, line: Int, column: Int) -> Diagnostic {
        var result = error
        let numbers = (error.place ?? "").split { !$0.isNumber }.compactMap { Int($0) }
        if numbers.count == 2 {
            let place = (line: line + numbers[0] - 1, column: numbers[0] == 1 ? column + numbers[1] - 1 : numbers[1])
            result.place = "line \(place.line), column \(place.column)"
        } else {
            result.place = "line \(line), column \(column)"
        }
        return result
    }

    /// How the object's own numbers are written, for those that are not plain integers.
    private static func spellings(of object: JSONObject, in bytes: UnsafeRawBufferPointer) -> [Int: String] {
        let needsSpelling = object.values.contains { value in
            switch value {
            case .number: true
            case .integer(0): true  // it may be written -0
            default: false
            }
        }
        guard needsSpelling else { return [:] }
        var result: [Int: String] = [:]
        var cursor = Cursor(bytes: bytes)
        cursor.skipSpace()
        cursor.advance()
        for index in object.values.indices {
            cursor.skipSpace()
            cursor.skipValue()  // the key
            cursor.skipSpace()
            cursor.advance()  // the colon
            cursor.skipSpace()
            let start = cursor.position
            cursor.skipValue()
            if object.values[index].number != nil {
                result[index] = String(decoding: bytes[start..<cursor.position], as: UTF8.self)
            }
            cursor.skipSpace()
            cursor.advance()  // the comma or the brace
        }
        return result
    }
}

/// A walk over JSON text that only finds where values end; what it passes over is checked by the strict parser.
private struct Cursor {
    let bytes: UnsafeRawBufferPointer
    private(set) var position = 0
    private(set) var line = 1
    private var lineStart = 0

    init(bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    var byte: UInt8? { position < bytes.count ? bytes[position] : nil }
    var column: Int { position - lineStart + 1 }

    mutating func advance() {
        guard position < bytes.count else { return }
        position += 1
        if bytes[position - 1] == 0x0A {
            line += 1
            lineStart = position
        }
    }

    mutating func skipSpace() {
        while let byte, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { advance() }
    }

    /// Passes over one value: up to the matching bracket, the closing quotation mark, or the end of a word.
    mutating func skipValue() {
        var depth = 0
        while let byte {
            switch byte {
            case UInt8(ascii: "\""):
                skipString()
                if depth == 0 { return }
                continue
            case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                if depth == 0 { return }
                depth -= 1
                if depth == 0 {
                    advance()
                    return
                }
            case UInt8(ascii: ","), UInt8(ascii: ":"), 0x20, 0x0A, 0x0D, 0x09: if depth == 0 { return }
            default: break
            }
            advance()
        }
    }

    private mutating func skipString() {
        advance()
        while let byte {
            advance()
            if byte == UInt8(ascii: "\\") { advance() } else if byte == UInt8(ascii: "\"") { return }
        }
    }

    func error(_ found: String, expected: String) -> Diagnostic {
        Diagnostic(
            JSONCode.syntax, at: "line \(line), column \(column)", found: found, expected: expected,
            fix: "Write valid JSON: one array of objects, or one object a line in a .jsonl file")
    }
}
