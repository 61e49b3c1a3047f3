/// The steps that turn tokens back into text.
struct Decoder: Sendable {
    enum Step: Sendable {
        case byteLevel
        case byteFallback
        case fuse
        case replace(Pattern, with: [UInt8])
        case strip(Unicode.Scalar, start: Int, stop: Int)
        case metaspace(Unicode.Scalar, prepends: Bool)
        case wordPiece(prefix: [UInt8], cleansUp: Bool)
        case endOfWord(suffix: [UInt8])
        case connectionist(pad: [UInt8], delimiter: [UInt8], cleansUp: Bool)
    }

    /// Without steps the tokens are joined by spaces, as the reference does.
    var steps: [Step]?

    func text(of tokens: [[UInt8]], _ matcher: PatternMatcher) -> [UInt8] {
        guard let steps else { return Array(tokens.joined(separator: [0x20])) }
        var tokens = tokens
        for step in steps { apply(step, to: &tokens, matcher) }
        return Array(tokens.joined())
    }

    private func apply(_ step: Step, to tokens: inout [[UInt8]], _ matcher: PatternMatcher) {
        switch step {
        case .byteLevel: tokens = [Self.repaired(tokens.flatMap { ByteLevelAlphabet.decoded($0) ?? $0 })]
        case .byteFallback: tokens = Self.joinBytes(tokens)
        case .fuse: tokens = [Array(tokens.joined())]
        case .replace(let pattern, let content):
            let normalizer = Normalizer(steps: [.replace(pattern, with: content)])
            for index in tokens.indices { normalizer.apply(to: &tokens[index], matcher) }
        case .strip(let scalar, let start, let stop):
            for index in tokens.indices { Self.strip(&tokens[index], Array(UTF8.encode(scalar)!), start, stop) }
        case .metaspace(let replacement, let prepends):
            let mark = Array(UTF8.encode(replacement)!)
            for index in tokens.indices {
                Self.replace(&tokens[index], mark, with: index == 0 && prepends ? [] : [0x20])
            }
        case .wordPiece(let prefix, let cleansUp): Self.joinWordPieces(&tokens, prefix, cleansUp)
        case .endOfWord(let suffix):
            for index in tokens.indices {
                Self.replace(&tokens[index], suffix, with: index == tokens.count - 1 ? [] : [0x20])
            }
        case .connectionist(let pad, let delimiter, let cleansUp):
            tokens = Self.collapse(tokens, pad, delimiter, cleansUp)
        }
    }

    /// The bytes as UTF-8, with U+FFFD for each maximal stretch that is none.
    private static func repaired(_ bytes: [UInt8]) -> [UInt8] { Array(String(decoding: bytes, as: UTF8.self).utf8) }

    /// Runs of byte tokens to what their bytes spell, or to one U+FFFD per byte if they spell nothing.
    private static func joinBytes(_ tokens: [[UInt8]]) -> [[UInt8]] {
        var result: [[UInt8]] = []
        var bytes: [UInt8] = []
        func flush() {
            guard !bytes.isEmpty else { return }
            if String(validating: bytes, as: UTF8.self) != nil {
                result.append(bytes)
            } else {
                for _ in bytes { result.append([0xEF, 0xBF, 0xBD]) }
            }
            bytes = []
        }
        for token in tokens {
            if let byte = ByteToken.byte(token) {
                bytes.append(byte)
            } else {
                flush()
                result.append(token)
            }
        }
        flush()
        return result
    }

    private static func strip(_ token: inout [UInt8], _ mark: [UInt8], _ start: Int, _ stop: Int) {
        var count = 0
        while count < start, token[(count * mark.count)...].starts(with: mark) { count += 1 }
        token.removeFirst(count * mark.count)
        count = 0
        while count < stop, token.count >= mark.count, token.suffix(mark.count).elementsEqual(mark) {
            token.removeLast(mark.count)
            count += 1
        }
    }

    private static func joinWordPieces(_ tokens: inout [[UInt8]], _ prefix: [UInt8], _ cleansUp: Bool) {
        for index in tokens.indices {
            if index > 0 {
                if !prefix.isEmpty, tokens[index].starts(with: prefix) {
                    tokens[index].removeFirst(prefix.count)
                } else if !prefix.isEmpty {
                    tokens[index].insert(0x20, at: 0)
                }
            }
            if cleansUp { cleanUp(&tokens[index]) }
        }
    }

    private static func collapse(
        _ tokens: [[UInt8]], _ pad: [UInt8], _ delimiter: [UInt8], _ cleansUp: Bool
    ) -> [[UInt8]] {
        var result: [[UInt8]] = []
        var previous: [UInt8]?
        for token in tokens {
            defer { previous = token }
            if token == previous { continue }
            var text = token
            replace(&text, pad, with: [])
            if cleansUp {
                cleanUp(&text)
                replace(&text, delimiter, with: [0x20])
            }
            if !text.isEmpty { result.append(text) }
        }
        return result
    }

    /// English punctuation without the space in front of it.
    private static let cleanUpRules: [(text: [UInt8], replacement: [UInt8])] = [
        (" .", "."), (" ?", "?"), (" !", "!"), (" ,", ","), (" ' ", "'"), (" n't", "n't"), (" 'm", "'m"),
        (" do not", " don't"), (" 's", "'s"), (" 've", "'ve"), (" 're", "'re"),
    ].map { (Array($0.0.utf8), Array($0.1.utf8)) }

    private static func cleanUp(_ token: inout [UInt8]) {
        // Every rule begins with a space and goes on with one of these.
        var mayApply = false
        for index in token.indices.dropLast() where token[index] == 0x20 {
            switch token[index + 1] {
            case 0x2E, 0x3F, 0x21, 0x2C, 0x27, 0x6E, 0x64: mayApply = true
            default: break
            }
        }
        guard mayApply else { return }
        for rule in cleanUpRules { replace(&token, rule.text, with: rule.replacement) }
    }

    /// Every occurrence from left to right; nothing if `text` is empty.
    private static func replace(_ token: inout [UInt8], _ text: [UInt8], with replacement: [UInt8]) {
        guard let first = text.first, token.count >= text.count else { return }
        var output: [UInt8] = []
        var copied = 0
        var position = 0
        while position + text.count <= token.count {
            guard token[position] == first, token[position..<position + text.count].elementsEqual(text) else {
                position += 1
                continue
            }
            output += token[copied..<position]
            output += replacement
            position += text.count
            copied = position
        }
        guard copied > 0 else { return }
        output += token[copied...]
        token = output
    }
}
