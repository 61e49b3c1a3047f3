import Diagnostics
import Formats
import Foundation
import Testing

@Suite struct FileTests {
    @Test func whatDoesNotFitIsRefusedBeforeItIsWritten() throws {
        let scratch = try ScratchFolder()
        try checkSpace(for: 4096, at: scratch.file("not/there/yet"))
        do {
            try checkSpace(for: 1 << 60, at: scratch.file("not/there/yet"))
            Issue.record("2^60 bytes fit on the disk")
        } catch {
            #expect(error.code as? FormatsCode == .fileWrite && error.found.contains("free"))
        }
    }

    @Test func mapsTheBytesOfAFile() throws {
        let scratch = try ScratchFolder()
        let file = try MappedFile(try scratch.write([1, 2, 3], as: "a"))
        #expect(Array(file.bytes) == [1, 2, 3] && file.size == 3 && file.identity.size == 3)
        #expect(try MappedFile(try scratch.write([], as: "empty")).bytes.isEmpty)
        #expect(FileIdentity(ofFileAt: scratch.file("a")) == file.identity)
        #expect(FileIdentity(ofFileAt: scratch.file("none")) == nil)
    }

    @Test func whatIsNoRegularFileIsRefusedAtOnce() throws {
        let scratch = try ScratchFolder()
        try #require(mkfifo(scratch.file("fifo"), 0o600) == 0)
        try FileManager.default.createSymbolicLink(atPath: scratch.file("loop"), withDestinationPath: "loop")
        for (path, expected) in [
            (scratch.file("fifo"), "E-FILE-KIND"), (scratch.path, "E-FILE-KIND"), ("/dev/zero", "E-FILE-KIND"),
            (scratch.file("loop"), "E-FILE-KIND"), (scratch.file("none"), "E-FILE-MISSING"), ("", "E-FILE-MISSING"),
            (scratch.file("none/below"), "E-FILE-MISSING"), ("a\0b", "E-FILE-MISSING"),
            (scratch.file(String(repeating: "x", count: 300)), "E-FILE-READ"),
        ] {
            #expect(code { () throws(Diagnostic) in _ = try MappedFile(path) } == expected, "\(path)")
        }
    }

    @Test func aFileThatShrinksOrChangesIsNoticed() throws {
        let scratch = try ScratchFolder()
        let file = try MappedFile(try scratch.write([UInt8](repeating: 1, count: 100), as: "a"))
        try file.verifyUnchanged()
        try #require(truncate(scratch.file("a"), 50) == 0)
        let error = try failure { () throws(Diagnostic) in try file.verifyUnchanged() }
        #expect(error.code.rawValue == "E-FILE-CHANGED" && error.code.exit == .inputOutput)
        #expect(error.found.contains("from 100 to 50") && error.file == scratch.file("a"))
    }

    @Test func aReplacedFileStaysAsItWasMapped() throws {
        let scratch = try ScratchFolder()
        let file = try MappedFile(try scratch.write([1, 2], as: "a"))
        try AtomicFile.write("new", to: scratch.file("a"))
        try file.verifyUnchanged()
        #expect(Array(file.bytes) == [1, 2])
        #expect(try String(contentsOfFile: scratch.file("a"), encoding: .utf8) == "new")
    }

    @Test func anUnpublishedFileLeavesNothing() throws {
        let scratch = try ScratchFolder()
        func abandon() throws(Diagnostic) {
            var file = try AtomicFile(scratch.file("a"))
            try file.append([1, 2, 3])
            try file.pad(to: 8)
            #expect(file.count == 8)
        }
        try abandon()
        #expect(try scratch.names().isEmpty)
    }

    @Test func largeAndSmallPiecesKeepTheirOrder() throws {
        let scratch = try ScratchFolder()
        var wanted: [UInt8] = []
        var file = try AtomicFile(scratch.file("a"))
        for (number, count) in [3, 1 << 20, 0, 5, (1 << 20) + 1, 1, 700_000, 700_000].enumerated() {
            let piece = [UInt8](repeating: UInt8(number), count: count)
            wanted += piece
            if number % 2 == 0 {
                try file.append(piece)
            } else {
                try piece.withUnsafeBytes { buffer in
                    Result { () throws(Diagnostic) in try file.append(buffer) }
                }.get()
            }
        }
        #expect(file.count == wanted.count)
        try file.publish()
        #expect(try Data(contentsOf: URL(fileURLWithPath: scratch.file("a"))) == Data(wanted))
    }

    @Test func aFileCannotBeCreatedWhereThereIsNoFolder() throws {
        let scratch = try ScratchFolder()
        let found = code { () throws(Diagnostic) in try AtomicFile.write("x", to: scratch.file("none/a")) }
        #expect(found == "E-FILE-CREATE")
    }

    @Test func aFolderAsTargetIsNotHarmed() throws {
        let scratch = try ScratchFolder()
        try FileManager.default.createDirectory(atPath: scratch.file("d"), withIntermediateDirectories: false)
        try scratch.write("x", as: "d/kept")
        let found = code { () throws(Diagnostic) in try AtomicFile.write("x", to: scratch.file("d")) }
        #expect(found == "E-FILE-WRITE")
        #expect(try scratch.names() == ["d"])
    }

    @Test func pathsAreTakenApart() {
        for (path, parent, name) in [
            ("a", ".", "a"), ("a/b", "a", "b"), ("/a", "/", "a"), ("/a/b/", "/a", "b"), ("a//b", "a", "b"),
            ("./a", ".", "a"), ("/", "/", ""), ("ä/ö e\u{301}", "ä", "ö e\u{301}"),
        ] {
            #expect(parentFolder(of: path) == parent, "\(path)")
            #expect(path == "/" || baseName(of: path).utf8.elementsEqual(name.utf8), "\(path)")
        }
    }

    @Test func everyCodeHasItsOwnName() {
        let names = FormatsCode.allCases.map(\.rawValue)
        #expect(Set(names).count == names.count)
        #expect(names.allSatisfy { $0.hasPrefix("E-") })
    }
}
