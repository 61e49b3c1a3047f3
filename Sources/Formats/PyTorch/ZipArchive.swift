import Diagnostics
import StrictJSON

/// The directory of a zip archive whose entries are stored without compression, as PyTorch writes them.
///
/// Source: PKWARE's APPNOTE 6.3.10, sections 4.3.7 to 4.3.16 and 4.5.3.
struct ZipArchive {
    /// In the order of the directory.
    private(set) var names: [String] = []
    private var ranges: [BytewiseString: Range<Int>] = [:]
    private let bytes: UnsafeRawBufferPointer

    static let maximumEntries = 1 << 18

    /// - Throws: `zip` with the offset or the entry.
    init(_ bytes: UnsafeRawBufferPointer) throws(Diagnostic) {
        self.bytes = bytes
        let directory = try Self.findDirectory(bytes)
        guard directory.entries <= Self.maximumEntries else {
            throw Self.error("\(directory.entries) entries", expected: "at most \(Self.maximumEntries)")
        }
        var position = directory.range.lowerBound
        for _ in 0..<directory.entries {
            position = try readEntry(at: position, end: directory.range.upperBound)
        }
        try checkOverlap(directoryStart: directory.range.lowerBound)
    }

    /// The content of an entry; nil if there is none of this name.
    subscript(name: String) -> UnsafeRawBufferPointer? {
        ranges[BytewiseString(name)].map { UnsafeRawBufferPointer(rebasing: bytes[$0]) }
    }

    private struct Directory {
        var entries: Int
        var range: Range<Int>
    }

    private static func findDirectory(_ bytes: UnsafeRawBufferPointer) throws(Diagnostic) -> Directory {
        guard bytes.count >= 22 else {
            throw error("a file of \(bytes.count) bytes", expected: "a zip archive", fix: "Download the file again")
        }
        // The record ends the file but for a comment of up to 65535 bytes, whose length it gives.
        for position in stride(from: bytes.count - 22, through: max(0, bytes.count - 22 - 65535), by: -1)
        where bytes.u32(position) == 0x0605_4B50 && position + 22 + bytes.u16(position + 20) == bytes.count {
            return try directory(bytes, endRecord: position)
        }
        throw error("no directory at the end", expected: "a zip archive", fix: "Download the file again")
    }

    private static func directory(
        _ bytes: UnsafeRawBufferPointer, endRecord position: Int
    ) throws(Diagnostic) -> Directory {
        guard bytes.u16(position + 4) == 0 || bytes.u16(position + 4) == 0xFFFF else {
            throw error("an archive in several parts", at: position, expected: "one file")
        }
        var entries = UInt64(bytes.u16(position + 10))
        var size = UInt64(bytes.u32(position + 12))
        var start = UInt64(bytes.u32(position + 16))
        var limit = position
        if position >= 20, bytes.u32(position - 20) == 0x0706_4B50 {
            let record = bytes.u64(position - 20 + 8)
            guard record <= UInt64(position - 20), UInt64(position - 20) - record >= 56,
                bytes.u32(Int(record)) == 0x0606_4B50
            else { throw error("no zip64 record where one should be", at: position - 20, expected: "one") }
            limit = Int(record)
            entries = bytes.u64(limit + 32)
            size = bytes.u64(limit + 40)
            start = bytes.u64(limit + 48)
        }
        guard start <= UInt64(limit), size <= UInt64(limit) - start, entries <= size / 46 else {
            throw error(
                "a directory of \(entries) entries and \(size) bytes at \(start)", at: position,
                expected: "a directory inside the file", fix: "Download the file again")
        }
        return Directory(entries: Int(entries), range: Int(start)..<(Int(start) + Int(size)))
    }

    /// Reads the entry at `position` and returns where the next one begins.
    private mutating func readEntry(at position: Int, end: Int) throws(Diagnostic) -> Int {
        guard end - position >= 46, bytes.u32(position) == 0x0201_4B50 else {
            throw Self.error("no directory entry", at: position, expected: "one")
        }
        let nameCount = bytes.u16(position + 28)
        let extraCount = bytes.u16(position + 30)
        let next = position + 46 + nameCount + extraCount + bytes.u16(position + 32)
        guard next <= end else {
            throw Self.error("an entry that leaves the directory", at: position, expected: "an entry inside it")
        }
        let nameRange = (position + 46)..<(position + 46 + nameCount)
        guard let name = String(validating: bytes[nameRange], as: UTF8.self), !name.isEmpty,
            !name.utf8.contains(where: { $0 < 0x20 })
        else { throw Self.error("an entry name that is no text", at: position, expected: "UTF-8") }
        let place = "entry \"\(name.prefix(100))\""
        guard bytes.u16(position + 8) & 0x2041 == 0 else {
            throw Self.error("an encrypted entry", at: place, expected: "a plain one")
        }
        guard bytes.u16(position + 10) == 0 else {
            throw Self.error(
                "a compressed entry", at: place, expected: "stored entries", fix: "Save the file again with torch.save")
        }
        let fields = try zip64Fields(position, extra: nameRange.upperBound..<(nameRange.upperBound + extraCount))
        guard fields.stored == fields.size else {
            throw Self.error("two sizes, \(fields.stored) and \(fields.size)", at: place, expected: "one")
        }
        let range = try dataRange(fields, name: Array(name.utf8), place: place)
        guard ranges.updateValue(range, forKey: BytewiseString(name)) == nil else {
            throw Self.error("a second entry of this name", at: place, expected: "every name once")
        }
        names.append(name)
        return next
    }

    private struct Fields {
        var size: UInt64
        var stored: UInt64
        var offset: UInt64
    }

    /// Sizes and offset of a directory entry; those that are all ones stand in the zip64 extra field, in this order.
    private func zip64Fields(_ position: Int, extra: Range<Int>) throws(Diagnostic) -> Fields {
        var fields = Fields(
            size: UInt64(bytes.u32(position + 24)), stored: UInt64(bytes.u32(position + 20)),
            offset: UInt64(bytes.u32(position + 42)))
        var start = extra.lowerBound
        while extra.upperBound - start >= 4 {
            let (kind, count) = (bytes.u16(start), bytes.u16(start + 2))
            var field = start + 4
            let end = field + count
            guard end <= extra.upperBound else { break }
            start = end
            guard kind == 1 else { continue }
            for path in [\Fields.size, \Fields.stored, \Fields.offset] where fields[keyPath: path] == 0xFFFF_FFFF {
                guard end - field >= 8 else {
                    throw Self.error("a short zip64 field", at: position, expected: "8 bytes a number")
                }
                fields[keyPath: path] = bytes.u64(field)
                field += 8
            }
        }
        return fields
    }

    private func dataRange(_ fields: Fields, name: [UInt8], place: String) throws(Diagnostic) -> Range<Int> {
        guard fields.offset <= UInt64(bytes.count), bytes.count - Int(fields.offset) >= 30 else {
            throw Self.error("data at \(fields.offset)", at: place, expected: "an offset inside the file")
        }
        let local = Int(fields.offset)
        let nameCount = bytes.u16(local + 26)
        let start = local + 30 + nameCount + bytes.u16(local + 28)
        guard bytes.u32(local) == 0x0403_4B50, start <= bytes.count,
            bytes[(local + 30)..<(local + 30 + nameCount)].elementsEqual(name)
        else { throw Self.error("no local header of its name", at: place, expected: "one at \(local)") }
        guard fields.size <= UInt64(bytes.count - start) else {
            throw Self.error(
                "\(fields.size) bytes at \(start) of a file of \(bytes.count)", at: place,
                expected: "an entry inside the file", fix: "Download the file again")
        }
        return start..<(start + Int(fields.size))
    }

    private func checkOverlap(directoryStart: Int) throws(Diagnostic) {
        var end = 0
        for (name, range) in ranges.sorted(by: { $0.value.lowerBound < $1.value.lowerBound }) {
            guard range.isEmpty || (range.lowerBound >= end && range.upperBound <= directoryStart) else {
                throw Self.error(
                    "bytes that belong to something else as well", at: "entry \"\(name.text.prefix(100))\"",
                    expected: "bytes of its own")
            }
            end = max(end, range.upperBound)
        }
    }

    private static func error(
        _ found: String, at place: String? = nil, expected: String, fix: String? = nil
    ) -> Diagnostic {
        Diagnostic(FormatsCode.zip, at: place, found: found, expected: expected, fix: fix)
    }

    private static func error(
        _ found: String, at offset: Int, expected: String, fix: String? = nil
    ) -> Diagnostic {
        error(found, at: "offset 0x\(String(offset, radix: 16))", expected: expected, fix: fix)
    }
}

/// Little-endian numbers at places that were checked to be inside.
extension UnsafeRawBufferPointer {
    fileprivate func u16(_ offset: Int) -> Int {
        Int(UInt16(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt16.self)))
    }

    fileprivate func u32(_ offset: Int) -> UInt32 {
        UInt32(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt32.self))
    }

    fileprivate func u64(_ offset: Int) -> UInt64 {
        UInt64(littleEndian: loadUnaligned(fromByteOffset: offset, as: UInt64.self))
    }
}
