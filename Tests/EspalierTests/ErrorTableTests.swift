import Checkpoints
import Datasets
import Diagnostics
import Formats
import Foundation
import Models
import Recipes
import StrictJSON
import TestSupport
import Testing
import Tokenization
import Training

/// docs/error-codes.md names every code with its exit status, and every code has a test.
@Suite struct ErrorTableTests {
    private static func codes<Code: DiagnosticCode & CaseIterable>(_ type: Code.Type) -> [(String, any DiagnosticCode)]
    {
        Code.allCases.map { (String(describing: type), $0) }
    }

    /// Every enum of codes, with its name.
    private static let all: [(enumeration: String, code: any DiagnosticCode)] =
        codes(FormatsCode.self) + codes(JSONCode.self) + codes(ModelsCode.self) + codes(TokenizerCode.self)
        + codes(ChatTemplateCode.self) + codes(RecipeCode.self) + codes(DataCode.self) + codes(RunCode.self)
        + codes(CheckpointCode.self) + codes(TrainingCode.self)

    private static let root = ArchitectureTests.sources.deletingLastPathComponent()

    private func swiftFiles(_ folder: String) throws -> [(name: String, text: String)] {
        let folder = Self.root.appending(path: folder)
        return try FileManager.default.subpathsOfDirectory(atPath: folder.path).filter { $0.hasSuffix(".swift") }
            .map { ($0, try String(contentsOf: folder.appending(path: $0), encoding: .utf8)) }
    }

    @Test func theTableHasEveryCodeOnceWithItsStatus() throws {
        let table = try String(contentsOf: Self.root.appending(path: "docs/error-codes.md"), encoding: .utf8)
        let rows = table.split(separator: "\n").filter { $0.hasPrefix("| `E-") }.map { row in
            row.split(separator: "|").map { $0.trimmingCharacters(in: .whitespaces) }
        }
        #expect(rows.allSatisfy { $0.count == 3 && $0[2].count > 10 })
        let listed = rows.map { "\($0[0]) \($0[1])" }
        let expected = Self.all.map { "`\($0.code.rawValue)` \($0.code.exit.rawValue)" }
        #expect(Set(listed).count == listed.count && Set(expected).count == expected.count)
        for missing in Set(expected).subtracting(listed).sorted() { Issue.record("not in the table: \(missing)") }
        for stale in Set(listed).subtracting(expected).sorted() { Issue.record("no such code: \(stale)") }
    }

    @Test func everyEnumOfCodesIsListedHere() throws {
        let known = Set(Self.all.map(\.enumeration))
        for (name, text) in try swiftFiles("Sources") {
            for match in text.matches(of: /enum (\w+): String, DiagnosticCode/) {
                #expect(known.contains(String(match.1)), "\(name)")
            }
        }
    }

    /// A test names the code itself, or its case.
    @Test func everyCodeHasATest() throws {
        let tests = try swiftFiles("Tests").filter { !$0.name.hasSuffix("ErrorTableTests.swift") }.map(\.text)
        for (enumeration, code) in Self.all {
            let names = [
                code.rawValue + "\"", code.rawValue + "]", "\(enumeration).\(code)", "== .\(code)", "(.\(code),",
                ", .\(code)", ": .\(code)",
            ]
            #expect(
                tests.contains { text in names.contains { text.contains($0) } }, "\(enumeration).\(code) has no test")
        }
    }
}
