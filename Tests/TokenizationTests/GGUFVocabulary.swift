import Foundation
import Testing

@testable import Tokenization

/// Reads the tokenizer's values out of a GGUF file, for tests of what `Models` hands over.
struct GGUFVocabulary {
    private enum Value {
        case integer(Int)
        case real(Double)
        case text(String)
        case list([Value])
    }

    private let data: Data
    private var position = 0
    private var values: [String: Value] = [:]

    init(_ path: String) throws {
        data = try Data(contentsOf: URL(fileURLWithPath: path), options: .mappedIfSafe)
        position = 16
        let count = Int(read(UInt64.self))
        for _ in 0..<count {
            let key = text()
            values[key] = try value(read(UInt32.self))
        }
    }

    var metadata: VocabularyMetadata {
        var result = VocabularyMetadata(
            model: string("model") ?? "", pre: string("pre"), tokens: list("tokens").map(Self.text))
        result.scores = list("scores").map { Float(Self.number($0)) }
        result.tokenTypes = list("token_type").map { Int32(Self.number($0)) }
        result.merges = list("merges").map(Self.text)
        result.beginningOfText = integer("bos_token_id")
        result.endOfText = integer("eos_token_id")
        result.unknown = integer("unknown_token_id")
        result.padding = integer("padding_token_id")
        result.addsBeginning = integer("add_bos_token").map { $0 != 0 }
        result.addsEnd = integer("add_eos_token").map { $0 != 0 }
        result.addsSpacePrefix = integer("add_space_prefix").map { $0 != 0 }
        result.removesExtraWhitespace = integer("remove_extra_whitespaces").map { $0 != 0 }
        return result
    }

    private func member(_ key: String) -> Value? { values["tokenizer.ggml." + key] }
    private func string(_ key: String) -> String? { member(key).map(Self.text) }
    private func integer(_ key: String) -> Int? { member(key).map { Int(Self.number($0)) } }
    private func list(_ key: String) -> [Value] {
        if case .list(let items)? = member(key) { items } else { [] }
    }

    private static func text(_ value: Value) -> String { if case .text(let text) = value { text } else { "" } }
    private static func number(_ value: Value) -> Double {
        switch value {
        case .integer(let number): Double(number)
        case .real(let number): number
        default: 0
        }
    }

    private mutating func read<T: FixedWidthInteger>(_ type: T.Type) -> T {
        defer { position += MemoryLayout<T>.size }
        return data.withUnsafeBytes { T(littleEndian: $0.loadUnaligned(fromByteOffset: position, as: T.self)) }
    }

    private mutating func text() -> String {
        let count = Int(read(UInt64.self))
        defer { position += count }
        return String(decoding: data[position..<position + count], as: UTF8.self)
    }

    private mutating func value(_ type: UInt32) throws -> Value {
        switch type {
        case 0: return .integer(Int(read(UInt8.self)))
        case 1: return .integer(Int(read(Int8.self)))
        case 2: return .integer(Int(read(UInt16.self)))
        case 3: return .integer(Int(read(Int16.self)))
        case 4: return .integer(Int(read(UInt32.self)))
        case 5: return .integer(Int(read(Int32.self)))
        case 6: return .real(Double(Float(bitPattern: read(UInt32.self))))
        case 7: return .integer(Int(read(UInt8.self)))
        case 8: return .text(text())
        case 9:
            let (itemType, count) = (read(UInt32.self), Int(read(UInt64.self)))
            var items: [Value] = []
            for _ in 0..<count { items.append(try value(itemType)) }
            return .list(items)
        case 10: return .integer(Int(read(UInt64.self)))
        case 11: return .integer(Int(read(Int64.self)))
        default:
            try #require(type == 12)
            return .real(Double(bitPattern: read(UInt64.self)))
        }
    }
}
