package import Foundation

/// The files under Tests/Fixtures, found from this source file so that the tests run from any working directory.
package enum Fixture {
    package static let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appending(path: "Fixtures")

    package static func path(_ name: String) -> String { root.appending(path: name).path }
    package static func data(_ name: String) throws -> Data { try Data(contentsOf: root.appending(path: name)) }
}
