import StrictJSON

/// Finds the bytes of a rendering that the chosen messages are to be learned from, and proves them.
///
/// Three things are known for certain: which bytes came from which message, because strings carry their origin through
/// the template; which bytes were written while the template's loop was at a message (its region); and how the text of
/// the messages before one begins or ends, with and without a generation prompt, because they can be rendered too.
struct SupervisionFinder {
    let renderer: ConversationRenderer
    let full: ConversationRenderer.Rendering
    let isChosen: [Bool]
    private let bytes: [UInt8]
    private(set) var promptDiffers = false

    /// Why the bytes of a message cannot be told.
    struct Unproven: Error {
        var message: Int
        var reason: String
    }

    init(renderer: ConversationRenderer, full: ConversationRenderer.Rendering, isChosen: [Bool]) {
        self.renderer = renderer
        self.full = full
        self.isChosen = isChosen
        bytes = Array(full.text.string.utf8)
    }

    /// The spans of all chosen messages.
    mutating func spans() throws(Unproven) -> [Range<Int>] {
        var spans: [Range<Int>] = []
        let usesTags = renderer.template.hasGenerationTags
        if usesTags { spans += try tagged() }
        for message in isChosen.indices where isChosen[message] {
            let isGenerated = Self.isGenerated(renderer.roles[message])
            if usesTags, isGenerated { continue }
            if let span = try isGenerated ? generated(message) : written(message), !span.isEmpty { spans.append(span) }
        }
        spans = spans.filter { !$0.isEmpty }.sorted { $0.lowerBound < $1.lowerBound }
        try check(spans)
        return spans
    }

    /// The roles that the generation prompt stands for.
    static func isGenerated(_ role: String) -> Bool { role == "assistant" || role == "model" }

    /// No supervised byte may come from what was not chosen.
    private func check(_ spans: [Range<Int>]) throws(Unproven) {
        for (first, second) in zip(spans, spans.dropFirst()) where first.upperBound > second.lowerBound {
            throw Unproven(message: 0, reason: "the texts of two messages overlap")
        }
        for span in spans {
            for run in full.text.runs where run.origin.exact && run.range.overlaps(span) {
                guard let message = run.origin.message else {
                    throw Unproven(message: 0, reason: "tools or documents stand inside a message that is learned")
                }
                if !isChosen[message] {
                    throw Unproven(message: message, reason: "it stands inside a message that is learned")
                }
            }
        }
    }

    // MARK: Generation tags

    /// The tagged spans that belong to chosen messages.
    private func tagged() throws(Unproven) -> [Range<Int>] {
        let generated = isChosen.indices.filter { Self.isGenerated(renderer.roles[$0]) }
        guard generated.contains(where: { isChosen[$0] }) else { return [] }
        guard full.generations.allPlaced else {
            throw Unproven(
                message: generated[0], reason: "the template has its generation tags inside a macro or a set block")
        }
        if generated.allSatisfy({ isChosen[$0] }) { return full.generations.exact }
        var spans: [Range<Int>] = []
        for span in full.generations.exact {
            let owners = full.regions.filter { $0.range.contains(span) }
            guard owners.count == 1 else {
                throw Unproven(
                    message: generated[0], reason: "it is not clear which message a generation tag belongs to")
            }
            if isChosen[owners[0].message] { spans.append(span) }
        }
        return spans
    }

    // MARK: Regions

    private enum Region {
        case known(Range<Int>)
        /// The template writes nothing for the message.
        case nothing
        case unknown
    }

    /// The message's data, or what of it stands in a range.
    private func runs(of message: Int, in range: Range<Int>? = nil) -> [JinjaRun] {
        full.text.runs.filter { $0.origin.message == message && (range?.contains($0.range) ?? true) }
    }

    /// The bytes that the template wrote at a message: the only ones, or those where its data starts. Other messages
    /// may repeat some of it, as the name of a function.
    private func region(_ message: Int) -> Region {
        let first = runs(of: message).first
        let own = full.regions.filter { $0.message == message }.map(\.range)
        if first == nil, own.isEmpty { return full.regions.isEmpty ? .unknown : .nothing }
        let region = first.map { run in own.first { $0.contains(run.range) } } ?? (own.count == 1 ? own[0] : nil)
        guard let region, isAlone(message, in: region) else { return .unknown }
        return .known(region)
    }

    /// Whether all data in `range` is the message's.
    private func isAlone(_ message: Int, in range: Range<Int>) -> Bool {
        full.text.runs.allSatisfy { $0.origin.message == message || !$0.range.overlaps(range) }
    }

    /// The template's text between the start of a message's region and its first byte of data.
    private func header(_ message: Int) -> Range<Int>? {
        guard case .known(let region) = region(message), let first = runs(of: message, in: region).first,
            first.origin.exact
        else { return nil }
        return region.lowerBound..<first.range.lowerBound
    }

    // MARK: Messages that the model writes

    private mutating func generated(_ message: Int) throws(Unproven) -> Range<Int>? {
        let isLast = message == renderer.count - 1
        switch region(message) {
        case .nothing: return nil
        case .known(let region):
            let start = try start(of: message, in: region, isLast: isLast)
            return start..<max(start, end(of: message, region: region))
        case .unknown:
            guard let prompt = renderer.text(first: message, addGenerationPrompt: true), isPrefix(prompt) else {
                throw Unproven(
                    message: message, reason: "the messages before it are not rendered as they are without it")
            }
            let end = try isLast ? bytes.count : endByPrefix(message)
            return try span(of: message, from: prompt.utf8.count, to: end)
        }
    }

    /// The bytes from `start` to `end`, if they come in that order.
    private func span(of message: Int, from start: Int, to end: Int) throws(Unproven) -> Range<Int> {
        guard start <= end else {
            throw Unproven(message: message, reason: "it stands elsewhere than where it ends when it comes last")
        }
        return start..<end
    }

    private func isPrefix(_ text: String) -> Bool { bytes.starts(with: text.utf8) }

    private func endByPrefix(_ message: Int) throws(Unproven) -> Int {
        guard let text = renderer.text(first: message + 1, addGenerationPrompt: false), isPrefix(text) else {
            throw Unproven(message: message, reason: "it is not rendered as it is when it comes last")
        }
        return text.utf8.count
    }

    /// Where the model starts to write a message: after the prompt it is given for it.
    private mutating func start(of message: Int, in region: Range<Int>, isLast: Bool) throws(Unproven) -> Int {
        let prompt = renderer.text(first: message, addGenerationPrompt: true)
        let before =
            full.regions.filter { $0.message < message && $0.range.upperBound <= region.lowerBound }
            .map(\.range.upperBound).max() ?? 0
        if let prompt, isPrefix(prompt), (before...region.upperBound).contains(prompt.utf8.count) {
            if isLast { promptDiffers = false }
            return prompt.utf8.count
        }
        // The prompt is another than what stands there. What the template writes at the message, or after the messages
        // before it, still starts with the words of the prompt, or with as many as stand before the message's text.
        let first = runs(of: message, in: region).first
        let limit = first.map { $0.origin.exact ? $0.range.lowerBound : region.upperBound } ?? region.upperBound
        var base = region.lowerBound
        if let text = renderer.text(first: message, addGenerationPrompt: false), isPrefix(text),
            (region.lowerBound...limit).contains(text.utf8.count)
        {
            base = text.utf8.count
        }
        for words in generationPrompts(before: message, prompt) {
            let common = zip(bytes[base..<limit], words).prefix { $0 == $1 }.count
            if common == words.count || (first?.origin.exact == true && base + common == limit) {
                promptDiffers = true
                return base + common
            }
        }
        throw Unproven(
            message: message, reason: "the template does not open it as its generation prompt does")
    }

    /// What the generation prompt adds to the messages before one, and to the whole conversation.
    private func generationPrompts(before message: Int, _ prompt: String?) -> [[UInt8]] {
        var prompts: [[UInt8]] = []
        for (count, known) in [(message, prompt), (renderer.count, nil)] {
            guard let with = known ?? renderer.text(first: count, addGenerationPrompt: true),
                let without = renderer.text(first: count, addGenerationPrompt: false),
                with.utf8.starts(with: without.utf8)
            else { continue }
            prompts.append(Array(with.utf8.dropFirst(without.utf8.count)))
        }
        return prompts
    }

    // MARK: Ends

    private func end(of message: Int, region: Range<Int>) -> Int {
        if message == renderer.count - 1 {
            let hasDataAfter = full.text.runs.contains { $0.range.upperBound > region.upperBound }
            return hasDataAfter ? region.upperBound : bytes.count
        }
        // A template may close the turn only when the next one opens.
        guard !isClosed(message, in: region), let closing = closing(before: message + 1) else {
            return region.upperBound
        }
        return region.upperBound + closing
    }

    /// Whether the template writes more than white space after the message's text.
    private func isClosed(_ message: Int, in region: Range<Int>) -> Bool {
        guard let last = runs(of: message, in: region).last else { return true }
        return !isSpace(last.range.upperBound..<region.upperBound) || !last.origin.exact
    }

    func isSpace(_ range: Range<Int>) -> Bool {
        bytes[range].withUnsafeBufferPointer { PythonText.leadingSpace($0) == range.count }
    }

    /// The number of bytes at the start of a message's region that close the turn before it: those that another
    /// message of its role, which follows no such turn, does not start with.
    private func closing(before message: Int) -> Int? {
        guard let header = header(message), renderer.roles.indices.contains(message) else { return nil }
        for other in renderer.roles.indices where other != message && renderer.roles[other] == renderer.roles[message] {
            if other > 0, Self.isGenerated(renderer.roles[other - 1]) { continue }
            guard let own = self.header(other), own.count < header.count,
                bytes[header].suffix(own.count).elementsEqual(bytes[own])
            else { continue }
            return header.count - own.count
        }
        return nil
    }

    // MARK: Other messages

    /// A message that the model does not write by itself: from its first byte of data to the end of its region.
    private func written(_ message: Int) throws(Unproven) -> Range<Int>? {
        guard let first = runs(of: message).first else { return nil }
        guard first.origin.exact else {
            throw Unproven(message: message, reason: "the template mixes it with text of its own")
        }
        let start = first.range.lowerBound
        if case .known(let region) = region(message) {
            return start..<(message == renderer.count - 1 ? end(of: message, region: region) : region.upperBound)
        }
        let end = try message == renderer.count - 1 ? bytes.count : endByPrefix(message)
        return try span(of: message, from: start, to: end)
    }

    // MARK: The end of the conversation

    /// What follows the assistant's text if it ends the conversation and is learned.
    func endOfTurn(_ spans: [Range<Int>], messages: [JSONObject]) -> RenderedConversation.EndOfTurn {
        let last = renderer.count - 1
        guard last >= 0, isChosen[last], Self.isGenerated(renderer.roles[last]), let content = runs(of: last).last,
            let span = spans.last
        else { return .supervised }
        let contentEnd = content.origin.exact ? content.range.upperBound : endOfMixed(content, messages[last])
        if isSpace(contentEnd..<bytes.count) { return .missing(closingText(messages)) }
        return span.upperBound > contentEnd && !isSpace(contentEnd..<span.upperBound) ? .supervised : .unsupervised
    }

    /// The end of the message's text inside a run that also holds template text.
    private func endOfMixed(_ run: JinjaRun, _ message: JSONObject) -> Int {
        let content = JinjaText(message["content"]?.string ?? "").trimmed(leading: false, trailing: true)
        let text = full.text.slice(run.range)
        let found = text.offset(of: content.string, in: 0..<text.count, last: true)
        return run.range.lowerBound + (found.map { $0 + content.count } ?? 0)
    }

    /// What the template writes between the last message and a user's message that might follow.
    private func closingText(_ messages: [JSONObject]) -> String? {
        guard let user = renderer.roles.firstIndex(of: "user") else { return nil }
        let longer = renderer.extended(by: messages[user])
        guard let next = try? longer.render() else { return nil }
        let finder = SupervisionFinder(renderer: longer, full: next, isChosen: isChosen + [false])
        guard finder.isPrefix(full.text.string), let count = finder.closing(before: messages.count), count > 0,
            finder.header(messages.count)?.lowerBound == bytes.count
        else { return nil }
        return next.text.slice(bytes.count..<bytes.count + count).string
    }
}

extension Range<Int> {
    fileprivate func contains(_ other: Range<Int>) -> Bool {
        lowerBound <= other.lowerBound && other.upperBound <= upperBound
    }
}
