import CZlib
import CZstd
import Diagnostics

/// How the bytes of a data file are compressed, told by the end of its name and by its first bytes.
enum Compression: String, CaseIterable {
    case gzip = "gz"
    case zstd = "zst"

    /// nil for a name that ends in neither `.gz` nor `.zst`.
    init?(path: String) {
        guard let found = Self.allCases.first(where: { path.lowercased().hasSuffix("." + $0.rawValue) }) else {
            return nil
        }
        self = found
    }

    /// `path` without the ending of a compressed file.
    static func bareName(_ path: String) -> String {
        Compression(path: path).map { String(path.dropLast($0.rawValue.count + 1)) } ?? path
    }

    private var magic: [UInt8] {
        switch self {
        case .gzip: [0x1F, 0x8B]
        case .zstd: [0x28, 0xB5, 0x2F, 0xFD]
        }
    }

    /// How many times larger than its file a content may be: text is some 3 to 30 times, a bomb thousands.
    static let maximumRatio = 1000

    /// The content of `bytes`.
    ///
    /// - Throws: `DataCode.compressed` for what is damaged, cut off or followed by something else, `.limit` for more than
    ///   `maximumBytes` or a thousand times the file's size.
    func content(of bytes: [UInt8], name: String, maximumBytes: Int) throws(Diagnostic) -> [UInt8] {
        guard bytes.starts(with: magic) else { throw damaged(name, "another kind of file") }
        let limit = min(maximumBytes, bytes.count * Self.maximumRatio)
        guard let content = self == .gzip ? inflated(bytes, limit: limit) : unpacked(bytes, limit: limit) else {
            throw damaged(name, "content that is damaged, cut off or followed by something else")
        }
        guard content.count <= limit else {
            throw Diagnostic(
                DataCode.limit, file: name, found: "more than \(limit) bytes of content in \(bytes.count)",
                expected: "at most \(maximumBytes), and at most \(Self.maximumRatio) times the file",
                fix: "Decompress it and look at it, or split the file")
        }
        return content
    }

    /// The content of gzip members one after another, every sum checked; nil for anything else, more than `limit` bytes
    /// as soon as there are more.
    private func inflated(_ bytes: [UInt8], limit: Int) -> [UInt8]? {
        var content: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 18)
        var done = 0
        while done < bytes.count {
            var stream = z_stream()
            guard compression_gzip_begin(&stream) == Z_OK else { return nil }
            defer { inflateEnd(&stream) }
            var status = Z_OK
            while status == Z_OK {
                let (read, written) = bytes.withUnsafeBufferPointer { input in
                    buffer.withUnsafeMutableBufferPointer { output in
                        // zlib counts in 32 bits.
                        let given = min(bytes.count - done, 1 << 30)
                        stream.next_in = UnsafeMutablePointer(mutating: input.baseAddress.map { $0 + done })
                        stream.avail_in = UInt32(given)
                        stream.next_out = output.baseAddress
                        stream.avail_out = UInt32(output.count)
                        status = inflate(&stream, Z_NO_FLUSH)
                        return (given - Int(stream.avail_in), output.count - Int(stream.avail_out))
                    }
                }
                done += read
                content += buffer[..<written]
                if content.count > limit { return content }
                // Nothing read and nothing written: the rest is missing.
                if status == Z_OK, read == 0, written == 0 { return nil }
            }
            guard status == Z_STREAM_END else { return nil }
        }
        return content
    }

    /// The same for zstd frames.
    private func unpacked(_ bytes: [UInt8], limit: Int) -> [UInt8]? {
        guard let stream = ZSTD_createDStream() else { return nil }
        defer { ZSTD_freeDStream(stream) }
        var content: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 1 << 18)
        var place = 0
        var hint = 1
        while place < bytes.count || hint != 0 {
            let before = place
            let written = bytes.withUnsafeBytes { input in
                buffer.withUnsafeMutableBytes { output -> Int in
                    var source = ZSTD_inBuffer(src: input.baseAddress, size: input.count, pos: place)
                    var target = ZSTD_outBuffer(dst: output.baseAddress, size: output.count, pos: 0)
                    hint = ZSTD_decompressStream(stream, &target, &source)
                    place = source.pos
                    return target.pos
                }
            }
            if ZSTD_isError(hint) != 0 { return nil }
            content += buffer[..<written]
            if content.count > limit { return content }
            if place == before, written == 0 { return nil }
        }
        return content
    }

    private func damaged(_ name: String, _ found: String) -> Diagnostic {
        Diagnostic(
            DataCode.compressed, file: name, found: found, expected: "a whole .\(rawValue) file",
            fix: "Copy or compress the file again")
    }
}
