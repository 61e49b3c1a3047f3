import Diagnostics
import Formats
import Foundation
import StrictJSON
import Testing

/// A folder for one test, gone when the test is.
final class ScratchFolder: Sendable {
    let path: String

    init() throws {
        let url = FileManager.default.temporaryDirectory.appending(path: "formats-tests-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        path = url.path
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    func file(_ name: String) -> String { path + "/" + name }

    @discardableResult
    func write(_ bytes: [UInt8], as name: String) throws -> String {
        // A file system may wait for the disk where an old file is cut and written anew.
        unlink(file(name))
        try Data(bytes).write(to: URL(fileURLWithPath: file(name)))
        return file(name)
    }

    @discardableResult
    func write(_ text: String, as name: String) throws -> String { try write(Array(text.utf8), as: name) }

    func names() throws -> [String] { try FileManager.default.contentsOfDirectory(atPath: path).sorted() }
}

/// The code of the error that `body` throws; nil if it throws none.
func code(_ body: () throws(Diagnostic) -> Void) -> String? {
    do {
        try body()
        return nil
    } catch { return error.code.rawValue }
}

/// What `body` throws.
func failure(_ body: () throws(Diagnostic) -> Void) throws -> Diagnostic {
    do {
        try body()
    } catch { return error }
    throw Missing()
}

struct Missing: Error {}

/// The bytes of a safetensors file with this header and this much data.
func safetensors(_ header: String, data: Int = 0) -> [UInt8] {
    safetensors(Array(header.utf8), data: [UInt8](repeating: 1, count: data))
}

func safetensors(_ header: [UInt8], data: [UInt8]) -> [UInt8] {
    withUnsafeBytes(of: UInt64(header.count).littleEndian, Array.init) + header + data
}

/// A second, independent way to read a safetensors file: Foundation's JSON and plain arrays.
struct PlainSafetensors {
    var shapes: [String: [Int]] = [:]
    var types: [String: String] = [:]
    var bytes: [String: [UInt8]] = [:]

    init(_ path: String) throws {
        let data = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
        let length = data[..<8].reversed().reduce(0) { $0 << 8 | Int($1) }
        let json = try JSONSerialization.jsonObject(with: Data(data[8..<(8 + length)]))
        for (name, value) in try #require(json as? [String: Any]) where name != "__metadata__" {
            let entry = try #require(value as? [String: Any])
            let range = try #require(entry["data_offsets"] as? [Int])
            shapes[name] = entry["shape"] as? [Int]
            types[name] = entry["dtype"] as? String
            bytes[name] = Array(data[(8 + length + range[0])..<(8 + length + range[1])])
        }
    }
}
