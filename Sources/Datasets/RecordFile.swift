package import Diagnostics
import StrictJSON

/// The formats in which records are read.
package enum RecordFormat: String, Sendable, CaseIterable {
    case csv
    case tsv
    /// One JSON object a line.
    case jsonl
    /// One JSON array of objects.
    case json

    /// The format that the end of a file's name stands for, before `.gz` or `.zst`.
    package init?(path: String) {
        let name = Compression.bareName(path).split(separator: "/").last.map(String.init) ?? path
        guard let dot = name.lastIndex(of: "."), dot != name.startIndex else { return nil }
        switch name[name.index(after: dot)...].lowercased() {
        case "csv": self = .csv
        case "tsv", "tab": self = .tsv
        case "jsonl", "ndjson": self = .jsonl
        case "json": self = .json
        default: return nil
        }
    }
}

/// A data file, read once as a whole, so that its digest and its records are those of the same bytes.
package struct RecordFile: Sendable {
    /// The name that messages give it.
    package let name: String
    package let format: RecordFormat
    package let bytes: [UInt8]

    package init(bytes: [UInt8], name: String, format: RecordFormat) {
        self.bytes = bytes
        self.name = name
        self.format = format
    }

    /// Reads a regular file; `bytes` are the content of one that ends in `.gz` or `.zst`.
    ///
    /// - Parameters:
    ///   - name: what messages call it; its path if left out.
    ///   - format: taken from the file's name if left out.
    /// - Throws: `DataCode.missing`, `.read`, `.kind`, `.limit`, `.compressed` and `.changed`.
    package init(
        path: String, name: String? = nil, format: RecordFormat? = nil, maximumBytes: Int = 4 << 30
    ) throws(Diagnostic) {
        let shown = name ?? path
        guard let format = format ?? RecordFormat(path: path) else {
            throw Diagnostic(
                DataCode.kind, file: shown, found: "a name that does not tell the format",
                expected: "a name that ends in .csv, .tsv, .jsonl or .json, with .gz or .zst behind it or without",
                fix: "Rename the file or set data.format")
        }
        let stored = try readWholeFile(path, shown: shown, maximumBytes: maximumBytes)
        bytes = try Compression(path: path)?.content(of: stored, name: shown, maximumBytes: maximumBytes) ?? stored
        self.name = shown
        self.format = format
        try refuseForeignKinds()
    }

    private func refuseForeignKinds() throws(Diagnostic) {
        let kinds: [([UInt8], String, String)] = [
            ([0x1F, 0x8B], "a gzip archive", "Give it a name that ends in .gz"),
            ([0x28, 0xB5, 0x2F, 0xFD], "a zstd archive", "Give it a name that ends in .zst"),
            ([0x42, 0x5A, 0x68], "a bzip2 archive", "Decompress it first: bunzip2"),
            ([0xFD, 0x37, 0x7A, 0x58, 0x5A], "an xz archive", "Decompress it first: unxz"),
            ([0x50, 0x4B, 0x03, 0x04], "a zip archive or spreadsheet", "Save it as CSV"),
            (Array("PAR1".utf8), "a Parquet file", "Save it as JSONL"),
            (Array("SQLite format 3\0".utf8), "a SQLite database", "Export the table as CSV"),
            ([0xFF, 0xFE], "UTF-16 text", "Save it as UTF-8"), ([0xFE, 0xFF], "UTF-16 text", "Save it as UTF-8"),
        ]
        for (magic, found, fix) in kinds where bytes.starts(with: magic) {
            throw Diagnostic(DataCode.kind, file: name, found: found, expected: "\(format.rawValue) as UTF-8", fix: fix)
        }
    }

    /// Hands over every record in the order of the file.
    ///
    /// - Throws: the first error of the file or of `body`, with the file's name.
    package func forEachRecord(_ body: (Record) throws(Diagnostic) -> Void) throws(Diagnostic) {
        do throws(Diagnostic) {
            var count = 0
            let counting = { (record: Record) throws(Diagnostic) in
                count += 1
                try body(record)
            }
            try withoutActuallyEscaping(counting) { (counting) throws(Diagnostic) in
                try bytes.withUnsafeBufferPointer { (buffer) throws(Diagnostic) in
                    switch format {
                    case .csv: try DelimitedParser.forEachRecord(buffer, delimiter: UInt8(ascii: ","), counting)
                    case .tsv: try DelimitedParser.forEachRecord(buffer, delimiter: UInt8(ascii: "\t"), counting)
                    case .jsonl: try JSONRecords.forEachLine(UnsafeRawBufferPointer(buffer), counting)
                    case .json: try JSONRecords.forEachElement(UnsafeRawBufferPointer(buffer), counting)
                    }
                }
            }
            if count == 0 {
                throw Diagnostic(DataCode.empty, found: "no records", expected: "at least one", fix: "Fill the file")
            }
        } catch {
            throw error.inFile(name)
        }
    }

    package func records() throws(Diagnostic) -> [Record] {
        var result: [Record] = []
        try forEachRecord { (record) throws(Diagnostic) in result.append(record) }
        return result
    }
}
