import Diagnostics
package import StrictJSON

extension ChatTemplate {
    /// Answers one line of `espalier render`.
    ///
    /// - Parameter request: an object with `messages`, and if wanted `tools`, `documents`, `variables` and
    ///   `add_generation_prompt`.
    /// - Returns: an object with `rendered` and `assistant_spans_utf8`, or with `error` and the message of what went
    ///   wrong.
    package func answer(_ request: JSONValue, now: ChatClock) -> JSONValue {
        do throws(Diagnostic) {
            guard let request = request.object, let messages = request["messages"] else {
                throw Diagnostic(
                    ChatTemplateCode.messages, found: "a line without messages",
                    expected: "an object with the key \"messages\"")
            }
            let rendering = try render(
                messages: messages, tools: request["tools"].flatMap { $0.isNull ? nil : $0 },
                documents: request["documents"].flatMap { $0.isNull ? nil : $0 },
                variables: request["variables"]?.object ?? [:],
                addGenerationPrompt: request["add_generation_prompt"]?.bool ?? false, now: now)
            let spans = rendering.assistantSpans.map { span in
                JSONValue.array([.integer(span.lowerBound), .integer(span.upperBound)])
            }
            return .object(["rendered": .string(rendering.text), "assistant_spans_utf8": .array(spans)])
        } catch {
            return .object(["error": .string(error.found)])
        }
    }
}
