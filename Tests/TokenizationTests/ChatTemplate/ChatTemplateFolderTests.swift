import Diagnostics
import Foundation
import StrictJSON
import Testing

@testable import Tokenization

struct ChatTemplateFolderTests {
    /// Runs `body` with a folder of these files.
    private func withFolder(_ files: [String: String], _ body: (String) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "chat-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        for (name, text) in files {
            let file = folder.appending(path: name)
            try FileManager.default.createDirectory(
                at: file.deletingLastPathComponent(), withIntermediateDirectories: true)
            try Data(text.utf8).write(to: file)
        }
        try body(folder.path)
    }

    @Test func takesTheFileBeforeTheConfiguration() throws {
        let files = [
            "chat_template.jinja": "file", "additional_chat_templates/tool_use.jinja": "tools",
            "tokenizer_config.json": #"{"chat_template": "key", "bos_token": "<s>", "eos_token": {"content": "</s>"}}"#,
        ]
        try withFolder(files) { folder throws in
            let found = try #require(try ChatTemplate.load(folder: folder))
            #expect(found.template.source == "file")
            #expect(found.variables == ["bos_token": .string("<s>"), "eos_token": .string("</s>")])
            #expect(try ChatTemplate.load(folder: folder, withTools: true)?.template.source == "tools")
        }
    }

    @Test func aFileThatCannotBeReadIsAnError() throws {
        try withFolder(["other": ""]) { folder throws in
            try FileManager.default.createSymbolicLink(
                atPath: folder + "/chat_template.jinja", withDestinationPath: "chat_template.jinja")
            do {
                _ = try ChatTemplate.load(folder: folder)
                Issue.record("a link to itself was read")
            } catch let error as Diagnostic { #expect(error.code as? ChatTemplateCode == .read) }
        }
    }

    @Test func readsTextsAndListsOfTheConfiguration() throws {
        try withFolder(["tokenizer_config.json": #"{"chat_template": "key"}"#]) { folder throws in
            #expect(try ChatTemplate.load(folder: folder, withTools: true)?.template.source == "key")
        }
        let list = #"[{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]"#
        try withFolder(["tokenizer_config.json": #"{"chat_template": \#(list)}"#]) { folder throws in
            #expect(try ChatTemplate.load(folder: folder)?.template.source == "a")
            #expect(try ChatTemplate.load(folder: folder, withTools: true)?.template.source == "b")
        }
    }

    @Test func aFolderMayHaveNoTemplate() throws {
        try withFolder(["tokenizer_config.json": #"{"chat_template": null}"#]) { folder throws in
            #expect(try ChatTemplate.load(folder: folder)?.file == nil)
        }
        try withFolder(["other.txt": ""]) { folder throws in #expect(try ChatTemplate.load(folder: folder)?.file == nil)
        }
    }

    @Test(arguments: [
        #"{"chat_template": 5}"#, #"{"chat_template": [5]}"#, #"{"chat_template": [{"name": "x"}]}"#, "[]", "{",
        #"{"chat_template": "{% if %}"}"#,
        #"{"chat_template": [{"name": "x", "template": ""}, {"name": "y", "template": ""}]}"#,
    ])
    func namesTheFileThatIsWrong(_ text: String) throws {
        try withFolder(["tokenizer_config.json": text]) { folder throws in
            let error = #expect(throws: Diagnostic.self) { try ChatTemplate.load(folder: folder) }
            #expect(error?.file == "\(folder)/tokenizer_config.json")
        }
    }

    @Test func aPipeOrAFolderIsNoTemplate() throws {
        try withFolder(["chat_template.jinja/x": ""]) { folder throws in
            #expect(throws: Diagnostic.self) { try ChatTemplate.load(folder: folder) }
        }
    }
}
