import Diagnostics
import Foundation
import TestSupport
import Testing

@testable import Tokenization

@Suite struct LoadTokenizerTests {
    private func withFolder(_ files: [String: Data], _ body: (String) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "tokenizer-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: folder) }
        for (name, data) in files { try data.write(to: folder.appending(path: name)) }
        try body(folder.path)
    }

    private var llama3: Data { get throws { try Fixture.data("tokenizers/bytelevel_llama3/tokenizer.json") } }

    @Test func takesTheEndsOfTextFromTheConfiguration() throws {
        let config = #"{"bos_token": "<|begin_of_text|>", "eos_token": {"content": "<|eot_id|>", "special": true}}"#
        let files = ["tokenizer.json": try llama3, "tokenizer_config.json": Data(config.utf8)]
        try withFolder(files) { folder in
            for path in [folder, folder + "/tokenizer.json"] {
                let tokenizer = try loadTokenizer(at: path)
                #expect(tokenizer.beginningOfText == 800 && tokenizer.endOfText == 804)
                #expect(tokenizer.vocabularyCount == 805)
            }
        }
    }

    @Test func takesWhatTheConfigurationLeavesOutFromTheTokenMap() throws {
        let files = [
            "tokenizer.json": try llama3, "tokenizer_config.json": Data(#"{"eos_token": null}"#.utf8),
            "special_tokens_map.json": Data(#"{"eos_token": "<|end_of_text|>"}"#.utf8),
        ]
        try withFolder(files) { folder in
            let tokenizer = try loadTokenizer(at: folder)
            #expect(tokenizer.beginningOfText == nil && tokenizer.endOfText == 801)
        }
    }

    @Test func saysWhichFileIsMissingOrWrong() throws {
        try withFolder(["tokenizer.json": try llama3, "tokenizer_config.json": Data("{".utf8)]) { folder in
            let error = #expect(throws: Diagnostic.self) { try loadTokenizer(at: folder) }
            #expect(error?.file == folder + "/tokenizer_config.json")
        }
        try withFolder([:]) { folder in
            let error = #expect(throws: Diagnostic.self) { try loadTokenizer(at: folder) }
            #expect(error?.code.exit == .missingInput)
            let missing = #expect(throws: Diagnostic.self) { try loadTokenizer(at: folder + "/none") }
            #expect(missing?.code.exit == .missingInput)
        }
    }
}
