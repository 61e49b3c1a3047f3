import Foundation
import StrictJSON
import TestSupport

/// Runs the program as a user would, and says what came of it.
struct CommandLine {
    struct Outcome {
        let status: Int32
        /// False if a signal ended it.
        let exited: Bool
        let output: String
        let errors: String

        var json: JSONValue? { try? JSONValue(parsing: output) }
    }

    /// The program beside the test bundle.
    static var program: URL {
        Foundation.Bundle.main.bundleURL.appending(path: "espalier")
    }

    static func run(
        _ arguments: [String], input: String = "", environment: [String: String] = [:]
    ) throws -> Outcome {
        let process = Process()
        process.executableURL = program
        process.arguments = arguments
        var variables = ProcessInfo.processInfo.environment
        variables.merge(environment) { $1 }
        variables["SWIFT_BACKTRACE"] = "enable=no"
        process.environment = variables
        // Files, not pipes: a full pipe would stop a program that writes much before it reads.
        let folder = try TemporaryFolder()
        let (out, err, stdin) = (folder.path("out"), folder.path("err"), folder.path("in"))
        try input.write(toFile: stdin, atomically: true, encoding: .utf8)
        for name in [out, err] { FileManager.default.createFile(atPath: name, contents: nil) }
        process.standardInput = FileHandle(forReadingAtPath: stdin)
        process.standardOutput = FileHandle(forWritingAtPath: out)
        process.standardError = FileHandle(forWritingAtPath: err)
        try process.run()
        process.waitUntilExit()
        return Outcome(
            status: process.terminationStatus, exited: process.terminationReason == .exit,
            output: try String(contentsOfFile: out, encoding: .utf8),
            errors: try String(contentsOfFile: err, encoding: .utf8))
    }
}
