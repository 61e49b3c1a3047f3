import Diagnostics
import StrictJSON

/// Comma or tab separated values after RFC 4180, over bytes.
///
/// Accepted beyond it: LF alone as the end of a row, a byte-order mark (spreadsheets write one), quotation marks in the
/// middle of an unquoted field, and empty lines between rows. A row that has not as many fields as the header, and
/// whatever else two readers could understand differently, is refused.
struct DelimitedParser {
    static let maximumColumns = 10_000
    static let maximumFieldBytes = 64 << 20

    private let bytes: UnsafeBufferPointer<UInt8>
    private let delimiter: UInt8
    private var position = 0
    private var line = 1
    /// The number of the current row; the header is row 1, as in a spreadsheet.
    private var row = 0

    private init(_ bytes: UnsafeBufferPointer<UInt8>, delimiter: UInt8) {
        self.bytes = bytes
        self.delimiter = delimiter
        if bytes.starts(with: [0xEF, 0xBB, 0xBF]) { position = 3 }
    }

    static func forEachRecord(
        _ bytes: UnsafeBufferPointer<UInt8>, delimiter: UInt8, _ body: (Record) throws(Diagnostic) -> Void
    ) throws(Diagnostic) {
        var parser = DelimitedParser(bytes, delimiter: delimiter)
        var fields: [String] = []
        guard try parser.nextRow(into: &fields) != nil else { return }
        let names = fields
        try parser.checkHeader(names)
        while let line = try parser.nextRow(into: &fields) {
            guard fields.count == names.count else {
                throw parser.error(
                    .ragged, line: line, column: min(fields.count, names.count) + (fields.count > names.count ? 1 : 0),
                    "\(fields.count) fields", expected: "\(names.count), as in the header",
                    fix: "Put fields that hold the delimiter or a line break in quotation marks")
            }
            try body(Record(names: names, values: fields.map(JSONValue.string), line: line))
        }
    }

    private func checkHeader(_ names: [String]) throws(Diagnostic) {
        var seen: Set<BytewiseString> = []
        for (index, name) in names.enumerated() {
            if name.isEmpty {
                throw error(
                    .header, column: index + 1, "a column without a name", expected: "a name for every column",
                    fix: "Name the column in the first row")
            }
            if !seen.insert(BytewiseString(name)).inserted {
                throw error(
                    .header, column: index + 1, "the name of an earlier column again", expected: "every name once",
                    fix: "Rename the column")
            }
        }
        guard names.count == 1, let only = names.first else { return }
        for (other, word) in [(";", "semicolons"), ("\t", "tabs"), (",", "commas")] where only.contains(other) {
            throw error(
                .header, column: 1, "a header that is separated by \(word)",
                expected: delimiter == UInt8(ascii: ",") ? "commas" : "tabs",
                fix: other == ";" ? "Save the file with commas" : "Set data.format to \(other == "," ? "csv" : "tsv")")
        }
    }

    /// Reads one row; the line on which it starts, or nil at the end.
    private mutating func nextRow(into fields: inout [String]) throws(Diagnostic) -> Int? {
        skipEmptyLines()
        guard position < bytes.count else { return nil }
        fields.removeAll(keepingCapacity: true)
        row += 1
        let start = line
        while true {
            guard fields.count < Self.maximumColumns else {
                throw error(
                    .limit, column: fields.count + 1, "more than \(Self.maximumColumns) columns",
                    expected: "at most \(Self.maximumColumns)")
            }
            if position < bytes.count, bytes[position] == UInt8(ascii: "\"") {
                fields.append(try quotedField(column: fields.count + 1))
            } else {
                fields.append(try plainField(column: fields.count + 1))
            }
            if position < bytes.count, bytes[position] == delimiter {
                position += 1
                continue
            }
            skipLineEnd()
            return start
        }
    }

    private mutating func skipEmptyLines() {
        while position < bytes.count, bytes[position] == 0x0A || (bytes[position] == 0x0D && isLineEnd(position)) {
            skipLineEnd()
        }
    }

    /// Whether a row ends at `index`: LF, CR LF, a CR that is the last byte, or the end of the file.
    private func isLineEnd(_ index: Int) -> Bool {
        guard index < bytes.count else { return true }
        if bytes[index] == 0x0A { return true }
        return bytes[index] == 0x0D && (index + 1 == bytes.count || bytes[index + 1] == 0x0A)
    }

    private mutating func skipLineEnd() {
        if position < bytes.count, bytes[position] == 0x0D { position += 1 }
        if position < bytes.count, bytes[position] == 0x0A { position += 1 }
        line += 1
    }

    private mutating func plainField(column: Int) throws(Diagnostic) -> String {
        let start = position
        while position < bytes.count {
            let byte = bytes[position]
            if byte == delimiter || byte == 0x0A { break }
            if byte == 0x0D {
                if isLineEnd(position) { break }
                throw error(
                    .lineEnd, column: column, "a carriage return inside a field", expected: "LF or CR LF between rows",
                    fix: "Convert the line ends to LF, or put the field in quotation marks")
            }
            position += 1
        }
        return try text(start..<position, column: column)
    }

    private mutating func quotedField(column: Int) throws(Diagnostic) -> String {
        let opening = line
        position += 1
        var start = position
        var result = ""
        while position < bytes.count {
            let byte = bytes[position]
            if byte == 0x0A { line += 1 }
            position += 1
            guard byte == UInt8(ascii: "\"") else { continue }
            if position < bytes.count, bytes[position] == UInt8(ascii: "\"") {
                // The first of the two quotation marks ends this part and stands for both.
                result += try text(start..<position, column: column)
                position += 1
                start = position
                continue
            }
            result += try text(start..<position - 1, column: column)
            guard isLineEnd(position) || bytes[position] == delimiter else {
                throw error(
                    .quote, column: column, "text after a closing quotation mark", expected: "the end of the field",
                    fix: "Double the quotation marks inside a quoted field")
            }
            return result
        }
        throw error(
            .quote, line: opening, column: column, "a quotation mark that is never closed",
            expected: "a closing quotation mark before the end of the file", fix: "Close or double the quotation mark")
    }

    private func text(_ range: Range<Int>, column: Int) throws(Diagnostic) -> String {
        guard range.count <= Self.maximumFieldBytes else {
            throw error(
                .limit, column: column, "a field of \(range.count) bytes",
                expected: "at most \(Self.maximumFieldBytes)", fix: "Split the record")
        }
        let slice = UnsafeBufferPointer(rebasing: bytes[range])
        guard let text = String(validating: slice, as: UTF8.self) else {
            throw error(
                .encoding, column: column, "bytes that are not UTF-8", expected: "UTF-8",
                fix: "Convert the file: iconv -f latin1 -t utf-8")
        }
        if slice.contains(0) {
            throw error(
                .encoding, column: column, "a NUL byte", expected: "text", fix: "Save the file as plain UTF-8 text")
        }
        return text
    }

    private func error(
        _ code: DataCode, line: Int? = nil, column: Int, _ found: String, expected: String, fix: String? = nil
    ) -> Diagnostic {
        Diagnostic(
            code, at: "line \(line ?? self.line), row \(row), column \(column)", found: found, expected: expected,
            fix: fix)
    }
}
