import Datasets
import Diagnostics
import Foundation
import TestSupport
import Testing

/// Records in .gz and .zst: the same as without, and what is damaged or far too large is refused.
@Suite struct CompressedFileTests {
    /// `gzip -n` and `zstd` of "text,label\na,x\nb,y\n".
    private static let gzip = Data(
        base64Encoded: "H4sIAAAAAAAAAytJrSjRyUlMSs3hStSp4ErSqeQCADpRw8UTAAAA")
    private static let zstd = Data(base64Encoded: "KLUv/SQTmQAAdGV4dCxsYWJlbAphLHgKYix5CpjQVOQ=")

    private func records(_ data: Data?, _ name: String, maximumBytes: Int = 1 << 20) throws -> [String] {
        let folder = try TemporaryFolder()
        try #require(data).write(to: folder.url.appending(path: name))
        let file = try RecordFile(path: folder.path(name), maximumBytes: maximumBytes)
        var rows: [String] = []
        try file.forEachRecord { (record) throws(Diagnostic) in rows.append("\(record.line)") }
        #expect(String(decoding: file.bytes, as: UTF8.self) == "text,label\na,x\nb,y\n" || maximumBytes != 1 << 20)
        return rows
    }

    private func expect(
        _ code: DataCode, _ data: Data?, _ name: String, maximumBytes: Int = 1 << 20,
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws {
        do {
            _ = try records(data, name, maximumBytes: maximumBytes)
            Issue.record("\(name) was read", sourceLocation: sourceLocation)
        } catch let error as Diagnostic {
            #expect(error.code as? DataCode == code, "\(error)", sourceLocation: sourceLocation)
        }
    }

    @Test func theContentIsRead() throws {
        #expect(try records(Self.gzip, "a.csv.gz") == ["2", "3"])
        #expect(try records(Self.zstd, "a.csv.zst") == ["2", "3"])
        #expect(try records(Self.gzip, "A.CSV.GZ") == ["2", "3"])
    }

    @Test func everyCutIsFoundOut() throws {
        for (data, name) in [(Self.gzip, "a.csv.gz"), (Self.zstd, "a.csv.zst")] {
            let whole = try #require(data)
            for count in 0..<whole.count { try expect(.compressed, whole.prefix(count), name) }
        }
    }

    @Test func flippedBitsAreNeverRead() throws {
        // The content is checked by its sums; the head's time and system are of no account.
        for (data, name, start) in [(Self.gzip, "a.csv.gz", 10), (Self.zstd, "a.csv.zst", 4)] {
            let whole = try #require(data)
            for place in start..<whole.count {
                var changed = whole
                changed[place] ^= 0x10
                if let rows = try? records(changed, name) { #expect(rows == ["2", "3"], "\(name) \(place)") }
            }
        }
    }

    @Test func whatIsFarTooLargeIsRefused() throws {
        let bomb = try compressed(Data(count: 50 << 20))
        #expect(bomb.count < 60_000)
        for limit in [1 << 20, 1 << 30] { try expect(.limit, bomb, "bomb.csv.gz", maximumBytes: limit) }
    }

    @Test func aNameThatLies() throws {
        try expect(.compressed, Self.zstd, "a.csv.gz")
        try expect(.compressed, Data("text,label\n".utf8), "a.csv.gz")
        try expect(.kind, Self.gzip, "a.csv")
        try expect(.kind, Self.gzip, "a.gz")
    }

    private func compressed(_ data: Data) throws -> Data {
        let folder = try TemporaryFolder()
        try data.write(to: folder.url.appending(path: "zeros"))
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/bin/gzip")
        process.arguments = ["-9", folder.path("zeros")]
        try process.run()
        process.waitUntilExit()
        return try Data(contentsOf: folder.url.appending(path: "zeros.gz"))
    }
}
