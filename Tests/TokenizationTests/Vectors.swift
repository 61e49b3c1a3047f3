import Diagnostics
import Foundation
import StrictJSON
import TestSupport
import Testing

@testable import Tokenization

/// One text of a fixture with what the reference makes of it.
struct Vector {
    let text: String
    let value: JSONValue

    func ids(_ key: String) -> [Int32]? { value[key]?.array?.compactMap { $0.integer.map(Int32.init) } }

    static func all(_ path: String) throws -> [Vector] {
        let value = try JSONValue(parsing: Array(Fixture.data(path)))
        return try #require(value["vectors"]?.array).map {
            Vector(text: try #require($0["text"]?.string), value: $0)
        }
    }
}

extension Tokenizer {
    static func fixture(_ path: String) throws -> Tokenizer { try parsing(Array(Fixture.data(path)), path) }

    static func parsing(_ bytes: [UInt8], _ file: String = "tokenizer.json") throws -> Tokenizer {
        try bytes.withUnsafeBytes { try Tokenizer(tokenizerJSON: $0, file: file) }
    }
}

/// Whether two texts have the same bytes; Swift's own equality joins canonical equivalents.
func expectSameBytes(
    _ text: String?, _ expected: String?, _ comment: @autoclosure () -> String,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(
        text.map { Array($0.utf8) } == expected.map { Array($0.utf8) }, "\(comment())", sourceLocation: sourceLocation)
}
