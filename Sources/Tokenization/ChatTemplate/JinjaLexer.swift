/// Cuts a template into tokens by the rules of Jinja with `trim_blocks` and `lstrip_blocks` on and
/// `keep_trailing_newline` off.
struct JinjaLexer {
    private let bytes: [UInt8]
    private var position = 0
    private var line = 1
    /// Whether what was read last ended a line; tags there lose the spaces before them.
    private var lineStarting = true
    private var tokens: [JinjaToken] = []

    /// The tokens of `source`; text that is no template becomes a failure token where it stands.
    static func tokens(of source: String) -> [JinjaToken] {
        var lexer = JinjaLexer(bytes: normalized(source))
        do {
            try lexer.template()
            lexer.add(.end)
        } catch {
            lexer.add(.failure(error))
        }
        return lexer.tokens
    }

    /// The source with `\n` for every line break, and without one at the very end.
    static func normalized(_ source: String) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(source.utf8.count)
        var afterReturn = false
        for byte in source.utf8 {
            if byte == 0x0A && afterReturn {
                afterReturn = false
                continue
            }
            afterReturn = byte == 0x0D
            bytes.append(byte == 0x0D ? 0x0A : byte)
        }
        if bytes.last == 0x0A { bytes.removeLast() }
        return bytes
    }

    private init(bytes: [UInt8]) { self.bytes = bytes }

    private mutating func add(_ kind: JinjaToken.Kind) {
        tokens.append(JinjaToken(kind: kind, line: line, offset: position))
    }

    private func failure(_ message: String) -> JinjaError { JinjaError(.syntax, message, line: line, offset: position) }

    // MARK: Template text

    private mutating func template() throws(JinjaError) {
        while position < bytes.count {
            let start = position
            guard let tag = nextTag(from: start) else {
                addData(start..<bytes.count)
                move(to: bytes.count)
                return
            }
            let kind = bytes[tag + 1]
            let sign = tag + 2 < bytes.count ? bytes[tag + 2] : 0
            addData(start..<endOfText(start, before: tag, sign: sign, isVariable: kind == UInt8(ascii: "{")))
            move(to: tag)
            if kind == UInt8(ascii: "%"), let body = rawBody(at: tag) {
                try raw(from: body)
                continue
            }
            let signed = sign == UInt8(ascii: "-") || sign == UInt8(ascii: "+")
            switch kind {
            case UInt8(ascii: "#"): try comment(from: tag + (signed ? 3 : 2))
            case UInt8(ascii: "%"):
                add(.blockBegin)
                move(to: tag + (signed ? 3 : 2))
                try inside(isBlock: true)
            default:
                add(.variableBegin)
                move(to: tag + (signed ? 3 : 2))
                try inside(isBlock: false)
            }
        }
    }

    /// The position of the next `{%`, `{{` or `{#`.
    private func nextTag(from start: Int) -> Int? {
        var index = start
        while index + 1 < bytes.count {
            if bytes[index] == UInt8(ascii: "{") {
                switch bytes[index + 1] {
                case UInt8(ascii: "%"), UInt8(ascii: "{"), UInt8(ascii: "#"): return index
                default: break
                }
            }
            index += 1
        }
        return nil
    }

    /// Where the text that starts at `start` ends, once the white space before the tag is taken off it.
    private func endOfText(_ start: Int, before tag: Int, sign: UInt8, isVariable: Bool) -> Int {
        if sign == UInt8(ascii: "-") { return endWithoutSpace(start..<tag) }
        guard sign != UInt8(ascii: "+"), !isVariable else { return tag }
        var lineStart = tag
        while lineStart > start, bytes[lineStart - 1] != 0x0A { lineStart -= 1 }
        guard lineStart > start || lineStarting else { return tag }
        return endWithoutSpace(lineStart..<tag) == lineStart ? lineStart : tag
    }

    /// The end of `range` without the white space at its end.
    private func endWithoutSpace(_ range: Range<Int>) -> Int {
        bytes[range].withUnsafeBufferPointer { buffer in
            range.lowerBound + PythonText.trimmed(buffer, leading: false, trailing: true).upperBound
        }
    }

    private func endOfSpace(from start: Int) -> Int {
        // Most often there is none.
        guard start < bytes.count, bytes[start] <= 0x20 || bytes[start] >= 0x80 else { return start }
        return bytes[start...].withUnsafeBufferPointer { buffer in start + PythonText.leadingSpace(buffer) }
    }

    private mutating func addData(_ range: Range<Int>) {
        guard !range.isEmpty else { return }
        add(.data(String(decoding: bytes[range], as: UTF8.self)))
    }

    /// Goes on to `end` and counts the lines on the way.
    private mutating func move(to end: Int) {
        guard end > position else { return }
        for byte in bytes[position..<end] where byte == 0x0A { line += 1 }
        lineStarting = bytes[end - 1] == 0x0A
        position = end
    }

    private mutating func comment(from start: Int) throws(JinjaError) {
        var index = start
        while index + 1 < bytes.count {
            if bytes[index] == UInt8(ascii: "#"), bytes[index + 1] == UInt8(ascii: "}") {
                // The sign that opened the comment is not the one that closes it (`{#-#}`).
                let sign = index > start ? bytes[index - 1] : 0
                move(to: endOfTag(at: index, sign: sign, trimsLine: true))
                return
            }
            index += 1
        }
        // As in Jinja, a comment that opens at the very end of the template is none.
        guard start == bytes.count else { throw failure("Missing end of comment tag") }
        move(to: start)
    }

    /// The end of a closing tag whose two characters stand at `index`, with the white space that goes with it.
    private func endOfTag(at index: Int, sign: UInt8, trimsLine: Bool) -> Int {
        let end = index + 2
        if sign == UInt8(ascii: "-") { return endOfSpace(from: end) }
        if trimsLine, sign != UInt8(ascii: "+"), end < bytes.count, bytes[end] == 0x0A { return end + 1 }
        return end
    }

    // MARK: Raw blocks

    /// Where the text after `{% raw %}` starts, if that is what stands at `tag`.
    private func rawBody(at tag: Int) -> Int? {
        guard let afterName = position(after: "raw", inTagAt: tag) else { return nil }
        if bytes[afterName...].starts(with: "-%}".utf8) { return endOfSpace(from: afterName + 3) }
        return bytes[afterName...].starts(with: "%}".utf8) ? afterName + 2 : nil
    }

    /// The position after `name` and white space in a block tag that starts so.
    private func position(after name: String, inTagAt tag: Int) -> Int? {
        var index = tag + 2
        if index < bytes.count, bytes[index] == UInt8(ascii: "-") || bytes[index] == UInt8(ascii: "+") { index += 1 }
        index = endOfSpace(from: min(index, bytes.count))
        guard bytes[index...].starts(with: name.utf8) else { return nil }
        return endOfSpace(from: index + name.utf8.count)
    }

    private mutating func raw(from start: Int) throws(JinjaError) {
        move(to: start)
        var index = start
        while index + 1 < bytes.count {
            if bytes[index] == UInt8(ascii: "{"), bytes[index + 1] == UInt8(ascii: "%"),
                let closing = position(after: "endraw", inTagAt: index)
            {
                var percent = closing
                var endSign: UInt8 = 0
                if closing < bytes.count, bytes[closing] == UInt8(ascii: "-") || bytes[closing] == UInt8(ascii: "+") {
                    endSign = bytes[closing]
                    percent += 1
                }
                if percent <= bytes.count, bytes[percent...].starts(with: "%}".utf8) {
                    addData(start..<endOfText(start, before: index, sign: bytes[index + 2], isVariable: false))
                    move(to: endOfTag(at: percent, sign: endSign, trimsLine: true))
                    return
                }
            }
            index += 1
        }
        guard start == bytes.count else { throw failure("Missing end of raw directive") }
    }

    // MARK: Inside a tag

    private mutating func inside(isBlock: Bool) throws(JinjaError) {
        let closer = isBlock ? UInt8(ascii: "%") : UInt8(ascii: "}")
        var open: [JinjaSymbol] = []
        while position < bytes.count {
            let byte = bytes[position]
            if open.isEmpty, let end = closingTag(closer, isBlock: isBlock) {
                add(isBlock ? .blockEnd : .variableEnd)
                move(to: end)
                return
            }
            let space = endOfSpace(from: position)
            if space > position {
                move(to: space)
            } else if byte == UInt8(ascii: "'") || byte == UInt8(ascii: "\"") {
                try string()
            } else if (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) {
                try number()
            } else if let end = endOfName() {
                try name(until: end)
            } else {
                try symbol(&open)
            }
        }
        // The parser meets the end of the template inside the tag.
    }

    /// The end of the closing tag that stands here, if one does.
    private func closingTag(_ closer: UInt8, isBlock: Bool) -> Int? {
        var index = position
        var sign: UInt8 = 0
        if bytes[index] == UInt8(ascii: "-") || (isBlock && bytes[index] == UInt8(ascii: "+")) {
            sign = bytes[index]
            index += 1
        }
        guard index + 1 < bytes.count, bytes[index] == closer, bytes[index + 1] == UInt8(ascii: "}") else { return nil }
        return endOfTag(at: index, sign: sign, trimsLine: isBlock)
    }

    private mutating func string() throws(JinjaError) {
        let quote = bytes[position]
        var index = position + 1
        while index < bytes.count, bytes[index] != quote { index += bytes[index] == UInt8(ascii: "\\") ? 2 : 1 }
        guard index < bytes.count else { throw unexpected(bytes[position]) }
        add(.string(try PythonText.unescaped(bytes[position + 1..<index], line: line)))
        move(to: index + 1)
    }

    private func endOfName() -> Int? {
        var end = position
        while end < bytes.count {
            let byte = bytes[end]
            if byte < 0x80 {
                guard byte == UInt8(ascii: "_") || PythonText.isASCIIAlphanumeric(byte) else { break }
                end += 1
            } else {
                let (scalar, length) = PythonText.scalar(in: bytes, at: end)
                guard scalar.properties.isXIDContinue else { break }
                end += length
            }
        }
        return end > position ? end : nil
    }

    private mutating func name(until end: Int) throws(JinjaError) {
        let text = String(decoding: bytes[position..<end], as: UTF8.self)
        guard let first = text.unicodeScalars.first, first == "_" || first.properties.isXIDStart else {
            throw failure("Invalid character in identifier")
        }
        add(.name(text))
        move(to: end)
    }

    private mutating func symbol(_ open: inout [JinjaSymbol]) throws(JinjaError) {
        guard let symbol = JinjaSymbol(bytes[position], position + 1 < bytes.count ? bytes[position + 1] : 0) else {
            throw unexpected(bytes[position])
        }
        switch symbol {
        case .leftBrace: open.append(.rightBrace)
        case .leftBracket: open.append(.rightBracket)
        case .leftParenthesis: open.append(.rightParenthesis)
        case .rightBrace, .rightBracket, .rightParenthesis:
            guard let expected = open.popLast() else { throw failure("unexpected '\(symbol.rawValue)'") }
            guard expected == symbol else {
                throw failure("unexpected '\(symbol.rawValue)', expected '\(expected.rawValue)'")
            }
        default: break
        }
        add(.symbol(symbol))
        move(to: position + symbol.length)
    }

    private func unexpected(_ byte: UInt8) -> JinjaError {
        let scalar = PythonText.scalar(in: bytes, at: position).0
        let offset = String(decoding: bytes[..<position], as: UTF8.self).unicodeScalars.count
        return failure("unexpected char \(PythonText.quoted(String(Character(scalar)))) at \(offset)")
    }

    // MARK: Numbers

    private mutating func number() throws(JinjaError) {
        let afterDot = position > 0 && bytes[position - 1] == UInt8(ascii: ".")
        let whole = endOfDigits(from: position)
        if !afterDot, let end = endOfFloat(after: whole) {
            let digits = String(decoding: bytes[position..<end].filter { $0 != UInt8(ascii: "_") }, as: UTF8.self)
            guard let value = Double(digits) else { throw failure("invalid number") }
            add(.float(value))
            move(to: end)
            return
        }
        try integer(decimalEnd: whole)
    }

    /// The end of a float whose whole part ends at `whole`, if a fraction or an exponent follows.
    private func endOfFloat(after whole: Int) -> Int? {
        var end = whole
        if end + 1 < bytes.count, bytes[end] == UInt8(ascii: "."), isDigit(end + 1) { end = endOfDigits(from: end + 1) }
        if end < bytes.count, bytes[end] | 0x20 == UInt8(ascii: "e") {
            var digits = end + 1
            if digits < bytes.count, bytes[digits] == UInt8(ascii: "+") || bytes[digits] == UInt8(ascii: "-") {
                digits += 1
            }
            if isDigit(digits) { return endOfDigits(from: digits) }
        }
        return end > whole ? end : nil
    }

    private mutating func integer(decimalEnd: Int) throws(JinjaError) {
        var end = decimalEnd
        var radix = 10
        if bytes[position] == UInt8(ascii: "0"), position + 1 < bytes.count {
            switch bytes[position + 1] | 0x20 {
            case UInt8(ascii: "x"): radix = 16
            case UInt8(ascii: "o"): radix = 8
            case UInt8(ascii: "b"): radix = 2
            default: break
            }
        }
        if radix == 10 {
            if bytes[position] == UInt8(ascii: "0") {
                // `0`, `00` and `0_0` are zero; other digits after a zero are a token of their own.
                end = position + 1
                while end < bytes.count,
                    bytes[end] == UInt8(ascii: "0")
                        || (bytes[end] == UInt8(ascii: "_") && end + 1 < bytes.count
                            && bytes[end + 1] == UInt8(ascii: "0"))
                { end += 1 }
            }
        } else {
            end = position + 2
            while end < bytes.count,
                hexDigit(bytes[end]).map({ $0 < radix }) ?? (bytes[end] == UInt8(ascii: "_"))
            { end += 1 }
        }
        let start = radix == 10 ? position : position + 2
        let digits = bytes[start..<end].filter { $0 != UInt8(ascii: "_") }
        guard !digits.isEmpty else {
            add(.integer(0))
            move(to: position + 1)
            return
        }
        guard let value = Int(String(decoding: digits, as: UTF8.self), radix: radix) else {
            throw failure("an integer that does not fit 64 bits")
        }
        add(.integer(value))
        move(to: end)
    }

    private func hexDigit(_ byte: UInt8) -> Int? {
        byte < 0x80 ? Character(Unicode.Scalar(byte)).hexDigitValue : nil
    }

    private func isDigit(_ index: Int) -> Bool {
        index < bytes.count && (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(bytes[index])
    }

    /// The end of digits with single underscores between them.
    private func endOfDigits(from start: Int) -> Int {
        var end = start
        while isDigit(end) || (end > start && end < bytes.count && bytes[end] == UInt8(ascii: "_") && isDigit(end + 1))
        {
            end += 1
        }
        return end
    }
}
