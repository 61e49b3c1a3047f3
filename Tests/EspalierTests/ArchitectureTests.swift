import Foundation
import TestSupport
import Testing

/// The rules of the package's structure, held against the sources themselves.
@Suite struct ArchitectureTests {
    static let sources = Fixture.root.deletingLastPathComponent().deletingLastPathComponent().appending(path: "Sources")

    /// Lowest first; a target may import only those of lower levels.
    static let levels = [
        [
            "CKernels", "CZlib", "CZstd", "COpenBLAS", "CPCRE2", "CSentencePiece", "CSentencePieceLibrary", "COpenSSL",
            "CLinux",
            "Diagnostics",
        ],
        ["StrictJSON", "Batches"], ["Autograd", "Tokenization"], ["NN", "Formats", "Datasets"],
        ["Models", "Checkpoints"],
        ["Training", "Evaluation"], ["Recipes", "Benchmarks"], ["espalier"],
    ]

    func swiftFiles(_ target: String) throws -> [URL] {
        let folder = Self.sources.appending(path: target)
        return try FileManager.default.subpathsOfDirectory(atPath: folder.path)
            .filter { $0.hasSuffix(".swift") }.map { folder.appending(path: $0) }
    }

    func imports(_ file: URL) throws -> [String] {
        try String(contentsOf: file, encoding: .utf8).split(separator: "\n").compactMap { line in
            let words = line.split(separator: " ")
            guard let index = words.firstIndex(of: "import"), index <= 1, index + 1 < words.count else { return nil }
            return String(words[index + 1])
        }
    }

    @Test func importsPointDownOnly() throws {
        let known = Self.levels.joined()
        var checked = 0
        for (level, targets) in Self.levels.enumerated() {
            let lower = Set(Self.levels[..<level].joined())
            for target in targets {
                for file in try swiftFiles(target) {
                    for name in try imports(file) where known.contains(name) {
                        #expect(lower.contains(name), "\(target)/\(file.lastPathComponent) imports \(name)")
                        checked += 1
                    }
                }
            }
        }
        #expect(checked > 100)
    }

    @Test func everyTargetHasALevel() throws {
        let folders = try FileManager.default.contentsOfDirectory(atPath: Self.sources.path)
        #expect(Set(folders).subtracting(Self.levels.joined()).isEmpty)
    }

    @Test func computeTargetsDoWithoutFoundation() throws {
        for target in ["CKernels", "Batches", "StrictJSON", "Autograd", "NN", "Formats", "Models"] {
            for file in try swiftFiles(target) {
                #expect(!(try imports(file)).contains("Foundation"), "\(target)/\(file.lastPathComponent)")
            }
        }
    }

    @Test func librariesNeitherTrapOnErrorsNorPrint() throws {
        for target in Self.levels.dropLast().joined() {
            for file in try swiftFiles(target) {
                let lines = try String(contentsOf: file, encoding: .utf8).split(separator: "\n")
                for line in lines where !line.drop(while: { $0 == " " }).hasPrefix("//") {
                    for word in ["fatalError(", "try!", " as! ", " print("] {
                        #expect(!line.contains(word), "\(file.lastPathComponent): \(word)")
                    }
                }
            }
        }
    }
}
