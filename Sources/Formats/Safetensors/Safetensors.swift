package import Diagnostics

/// A safetensors file whose header was checked in full: every byte of data belongs to exactly one tensor.
package struct SafetensorsFile: Sendable {
    /// In the order of their bytes.
    package let tensors: [WeightTensor]
    /// `__metadata__` in the order of the file.
    package let metadata: [(key: String, value: String)]
    package let file: MappedFile

    /// The reference library's own limit.
    package static let maximumHeaderBytes = 100_000_000

    /// Maps the file at `path` and reads its header; the data is not touched.
    ///
    /// - Throws: `fileMissing`, `fileKind`, `fileRead`, and `safetensors…` for what the format forbids. Besides, a
    ///   tensor without elements must not stand where another tensor begins.
    package init(_ path: String) throws(Diagnostic) { try self.init(MappedFile(path)) }

    package init(_ file: MappedFile) throws(Diagnostic) {
        do {
            try self.init(checking: file)
        } catch { throw error.inFile(file.path) }
    }

    private init(checking file: MappedFile) throws(Diagnostic) {
        let header = try Self.header(of: file.bytes)
        let data = UnsafeRawBufferPointer(rebasing: file.bytes[(8 + header.count)...])
        var parser = SafetensorsHeaderParser(header, dataCount: data.count)
        try parser.parse()
        let entries = try Self.checkCoverage(parser.entries, dataCount: data.count)
        self.file = file
        metadata = parser.metadata
        tensors = entries.map { entry in
            WeightTensor(
                name: entry.name, shape: entry.shape, type: entry.type,
                bytes: UnsafeRawBufferPointer(rebasing: data[entry.range]), file: file.path, owner: file)
        }
    }

    package var source: WeightSource { WeightSource(tensors: tensors, files: [file]) }

    private static func header(of bytes: UnsafeRawBufferPointer) throws(Diagnostic) -> UnsafeRawBufferPointer {
        guard bytes.count >= 8 else {
            throw Diagnostic(
                FormatsCode.safetensorsHeader, found: "a file of \(bytes.count) bytes",
                expected: "at least 8 bytes of header length", fix: "Download the file again")
        }
        let length = UInt64(littleEndian: bytes.loadUnaligned(as: UInt64.self))
        guard length >= 2 else {
            throw Diagnostic(
                FormatsCode.safetensorsHeader, at: "offset 0", found: "a header of \(length) bytes", expected: "'{}'")
        }
        guard length <= UInt64(maximumHeaderBytes) else {
            throw Diagnostic(
                FormatsCode.safetensorsHeader, at: "offset 0", found: "a header length of \(length)",
                expected: "at most \(maximumHeaderBytes)", fix: "Check that this is a safetensors file")
        }
        guard Int(length) <= bytes.count - 8 else {
            throw Diagnostic(
                FormatsCode.safetensorsHeader, at: "offset 0",
                found: "a header of \(length) bytes in a file of \(bytes.count)", expected: "a header in the file",
                fix: "Download the file again")
        }
        return UnsafeRawBufferPointer(rebasing: bytes[8..<(8 + Int(length))])
    }

    /// The entries in the order of their bytes.
    private static func checkCoverage(
        _ entries: [SafetensorsEntry], dataCount: Int
    ) throws(Diagnostic) -> [SafetensorsEntry] {
        let sorted = entries.sorted {
            ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound)
        }
        var end = 0
        for (position, entry) in sorted.enumerated() {
            let place = "tensor \"\(entry.name)\""
            guard entry.range.lowerBound == end else {
                let kind = entry.range.lowerBound < end ? "overlap the tensor before" : "leave a hole before them"
                throw Diagnostic(
                    FormatsCode.safetensorsOffsets, at: place,
                    found: "bytes \(entry.range.lowerBound)..<\(entry.range.upperBound), which \(kind)",
                    expected: "a tensor that begins at \(end)", fix: "Download or convert the file again")
            }
            if !entry.range.isEmpty, position > 0, sorted[position - 1].range.isEmpty {
                throw Diagnostic(
                    FormatsCode.safetensorsOffsets, at: "tensor \"\(sorted[position - 1].name)\"",
                    found: "no elements, at the offset \(end) where \"\(entry.name)\" begins",
                    expected: "empty tensors at the end of the data")
            }
            end = entry.range.upperBound
        }
        guard end == dataCount else {
            throw Diagnostic(
                FormatsCode.safetensorsOffsets, at: "offset \(end) of the data",
                found: "\(dataCount - end) bytes that belong to no tensor", expected: "the end of the file",
                fix: "Download or convert the file again")
        }
        return sorted
    }
}
