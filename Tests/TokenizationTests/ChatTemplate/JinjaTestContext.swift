import Diagnostics
import StrictJSON
import Testing

@testable import Tokenization

/// What the templates of the Jinja tests see.
private let request = #"""
    {
      "messages": [
        {"role": "system", "content": "Be nice."},
        {"role": "user", "content": "Héllo <b> 世界 😀", "n": 3},
        {"role": "assistant", "content": " hi\n", "tool_calls": [{"type": "function", "id": "a1", "function":
          {"name": "f", "arguments": {"x": 1, "y": [1, 2.5, null, true], "z": "q\"\\\n\u0001é"}}}]},
        {"role": "user", "content": null}
      ],
      "tools": [{"type": "function", "function": {"name": "w", "description": "d", "parameters": {"type": "object",
        "properties": {"b": {"type": "string", "enum": ["x", "y"]}, "a": {"type": ["integer", "null"], "default": 3}},
        "required": ["b"]}}}],
      "variables": {
        "bos_token": "<s>", "eos_token": "</s>", "f": 1.5, "i": 7, "neg": -3, "t": true, "n": null, "e": [], "ed": {},
        "l": [3, 1, 2], "s": "Hello World foo-bar", "sl": ["b", "A", "c"], "d": {"b": 1, "A": 2, "c": {"k": "v"}},
        "big": 1e22, "small": 1e-7, "ld": [{"n": "b", "v": 2}, {"n": "a", "v": 1}, {"n": "B", "v": 3}],
        "sp": "  x y  z ", "u": "ßİǆ ΑΣ straße Σ", "multi": "a\nb\r\nc\n\nd"
      },
      "add_generation_prompt": true
    }
    """#

private func answer(_ source: String) throws -> JSONValue {
    let clock = try ChatClock("2025-03-14T09:26:53")
    do throws(Diagnostic) {
        return try ChatTemplate(source: source).answer(JSONValue(parsing: request), now: clock)
    } catch {
        return .object(["error": .string(error.found)])
    }
}

/// Expects each template to write exactly the text beside it, which is what Jinja 3.1.6 writes.
func expectRenderings(_ rows: [(String, String)], sourceLocation: SourceLocation = #_sourceLocation) throws {
    for (source, expected) in rows {
        let answer = try answer(source)
        let bytes = answer["rendered"]?.string.map { Array($0.utf8) }
        #expect(bytes == Array(expected.utf8), "\(source): \(answer)", sourceLocation: sourceLocation)
    }
}

/// Expects each template to fail with exactly the message beside it.
func expectErrors(_ rows: [(String, String)], sourceLocation: SourceLocation = #_sourceLocation) throws {
    for (source, expected) in rows {
        let answer = try answer(source)
        let bytes = answer["error"]?.string.map { Array($0.utf8) }
        #expect(bytes == Array(expected.utf8), "\(source): \(answer)", sourceLocation: sourceLocation)
    }
}
