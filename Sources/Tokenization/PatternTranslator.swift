/// Rewrites a regular expression of Oniguruma's dialect, in which tokenizer.json states its patterns, for PCRE2.
///
/// The two differ in what `\s`, `\w`, `\h`, `\v` and `\b` mean, in nested and intersected classes, in `(?m)`, in
/// `{,n}` and `{n,m}+`, and in how scripts and POSIX classes are named. All else passes unchanged, so a mistake in
/// the pattern is found by PCRE2.
struct PatternTranslator {
    private let source: [Unicode.Scalar]
    private var position = 0
    private var output = String.UnicodeScalarView()
    /// Where in `output` the last atom begins: what a quantifier applies to.
    private var atom: String.UnicodeScalarView.Index?
    private var groups: [String.UnicodeScalarView.Index] = []

    static func translate(_ pattern: String) -> String {
        var translator = PatternTranslator(source: Array(pattern.unicodeScalars))
        translator.run()
        return String(translator.output)
    }

    /// A pattern that matches `text` and nothing else.
    static func quote(_ text: String) -> String {
        var result = String.UnicodeScalarView()
        for scalar in text.unicodeScalars {
            if scalar.isASCII, !scalar.properties.isAlphabetic, !("0"..."9").contains(scalar) { result.append("\\") }
            result.append(scalar)
        }
        return String(result)
    }

    private init(source: [Unicode.Scalar]) { self.source = source }

    private mutating func run() {
        while let scalar = peek() {
            switch scalar {
            case "\\": escape()
            case "[": characterClass()
            case "(": openGroup()
            case ")":
                position += 1
                output.append(")")
                atom = groups.popLast()
            case "*", "+", "?": quantifier()
            case "{": interval()
            case "|":
                position += 1
                output.append("|")
                atom = nil
            default:
                position += 1
                atom = output.endIndex
                output.append(scalar)
            }
        }
    }

    private func peek(_ distance: Int = 0) -> Unicode.Scalar? {
        position + distance < source.count ? source[position + distance] : nil
    }

    private mutating func append(atom text: String) {
        atom = output.endIndex
        output.append(contentsOf: text.unicodeScalars)
    }

    // MARK: Escapes outside classes

    private mutating func escape() {
        if let set = classEscape() {
            append(atom: set.expression)
            return
        }
        let word = ClassSet.word.expression
        let next = peek(1)
        position += next == nil ? 1 : 2
        switch next {
        case "b": append(atom: "(?:(?<=\(word))(?!\(word))|(?<!\(word))(?=\(word)))")
        case "B": append(atom: "(?:(?<=\(word))(?=\(word))|(?<!\(word))(?!\(word)))")
        case "v": append(atom: "\\x0b")
        case "O": append(atom: "(?s:.)")
        case "Q", "E", "C": append(atom: String(next!))
        case "u": append(atom: hexEscape())
        case let next?: append(atom: "\\" + String(next))
        case nil: append(atom: "\\")
        }
    }

    /// The rest of `\uHHHH`, as PCRE2 writes it.
    private mutating func hexEscape() -> String {
        var digits = ""
        while digits.count < 4, let scalar = peek(), scalar.properties.isASCIIHexDigit {
            digits.unicodeScalars.append(scalar)
            position += 1
        }
        return "\\x{\(digits)}"
    }

    /// An escape that stands for a set of characters, read if one is here.
    private mutating func classEscape() -> ClassSet? {
        let (set, length): (ClassSet?, Int) =
            switch peek(1) {
            case "s": (.space, 2)
            case "S": (.space.inverted, 2)
            case "w": (.word, 2)
            case "W": (.word.inverted, 2)
            case "d": (ClassSet(items: "\\p{Nd}"), 2)
            case "D": (ClassSet(items: "\\p{Nd}").inverted, 2)
            case "h": (ClassSet(items: "0-9a-fA-F"), 2)
            case "H": (ClassSet(items: "0-9a-fA-F").inverted, 2)
            case "p", "P": propertyEscape()
            default: (nil, 0)
            }
        if set != nil { position += length }
        return set
    }

    private func propertyEscape() -> (ClassSet?, Int) {
        var name = ""
        var length = 2
        var isInverted = peek(1) == "P"
        if peek(2) == "{" {
            length = 3
            if peek(length) == "^" {
                isInverted.toggle()
                length += 1
            }
            while let scalar = peek(length), scalar != "}" {
                name.unicodeScalars.append(scalar)
                length += 1
            }
            guard peek(length) == "}" else { return (nil, 0) }
            length += 1
        } else if let scalar = peek(2) {
            name.unicodeScalars.append(scalar)
            length = 3
        }
        let set = ClassSet(propertyNamed: name)
        return (isInverted ? set.inverted : set, length)
    }

    // MARK: Groups and quantifiers

    private mutating func openGroup() {
        groups.append(output.endIndex)
        atom = nil
        output.append("(")
        position += 1
        guard peek() == "?" else { return }
        if peek(1) == "#" {
            skipComment()
            return
        }
        output.append("?")
        position += 1
        // Option letters: Oniguruma's m lets the dot match a newline, which is s in PCRE2.
        var isOptions = false
        while let scalar = peek(), "imxs-".unicodeScalars.contains(scalar) {
            isOptions = true
            output.append(scalar == "m" ? "s" : scalar)
            position += 1
        }
        if isOptions, let end = peek(), end == ":" || end == ")" {
            output.append(end)
            position += 1
            if end == ")" { atom = groups.popLast() }
            return
        }
        openSpecialGroup()
    }

    /// The rest of `(?<name>`, `(?<=`, `(?=`, `(?!`, `(?>`, `(?:`: none of it may be taken for a quantifier.
    private mutating func openSpecialGroup() {
        guard let kind = peek() else { return }
        output.append(kind)
        position += 1
        guard kind == "<" || kind == "P" || kind == "'" else { return }
        while let scalar = peek() {
            output.append(scalar)
            position += 1
            if scalar == ">" || scalar == "'" || scalar == "=" || scalar == "!" { return }
        }
    }

    private mutating func skipComment() {
        output.removeLast()
        groups.removeLast()
        while let scalar = peek(), scalar != ")" {
            position += scalar == "\\" ? 2 : 1
        }
        position = min(position + 1, source.count)
    }

    private mutating func quantifier() {
        output.append(source[position])
        position += 1
        if let next = peek(), next == "+" || next == "?" {
            output.append(next)
            position += 1
        }
    }

    private mutating func interval() {
        var length = 1
        var bounds = ["", ""]
        var bound = 0
        scan: while let scalar = peek(length) {
            switch scalar {
            case "0"..."9": bounds[bound].unicodeScalars.append(scalar)
            case "," where bound == 0: bound = 1
            default: break scan
            }
            length += 1
        }
        guard peek(length) == "}", bounds != ["", ""], let atom else {
            position += 1
            append(atom: "\\{")
            return
        }
        position += length + 1
        let isExact = bound == 0
        if bounds[0].isEmpty { bounds[0] = "0" }
        output.append(contentsOf: (isExact ? "{\(bounds[0])}" : "{\(bounds[0]),\(bounds[1])}").unicodeScalars)
        // After an interval, + is no possessive mark but a second quantifier, as is ? after an exact count.
        if peek() == "+" || isExact && peek() == "?" {
            output.insert(contentsOf: "(?:".unicodeScalars, at: atom)
            output.append(")")
            self.atom = atom
        } else if peek() == "?" {
            output.append("?")
            position += 1
        }
    }

    // MARK: Classes

    private mutating func characterClass() {
        append(atom: readClass(depth: 0).expression)
    }

    /// Reads `[...]` with its nested classes and intersections.
    private mutating func readClass(depth: Int) -> ClassSet {
        position += 1
        var isInverted = false
        if peek() == "^" {
            isInverted = true
            position += 1
        }
        var operands: [ClassSet] = []
        var union = ClassSet(items: "")
        var isFirst = true
        while let scalar = peek(), scalar != "]" || isFirst {
            isFirst = false
            if scalar == "&", peek(1) == "&" {
                position += 2
                operands.append(union)
                union = ClassSet(items: "")
            } else if scalar == "[" {
                if let posix = posixClass() {
                    union.add(posix)
                } else if depth < 32 {
                    union.add(readClass(depth: depth + 1))
                } else {
                    position += 1
                }
            } else if scalar == "\\" {
                union.add(readClassEscape())
            } else {
                position += 1
                union.addLiteral(scalar, isLastInClass: peek() == "]")
            }
        }
        if peek() == nil { return ClassSet(expression: "[") }
        position += 1
        operands.append(union)
        let set = operands.count == 1 ? union : ClassSet(intersecting: operands)
        return isInverted ? set.inverted : set
    }

    private mutating func readClassEscape() -> ClassSet {
        if let set = classEscape() { return set }
        let next = peek(1)
        position += next == nil ? 1 : 2
        switch next {
        case "v": return ClassSet(literal: "\\x0b")
        case "u": return ClassSet(literal: hexEscape())
        case let next?: return ClassSet(literal: "\\" + String(next))
        case nil: return ClassSet(literal: "\\\\")
        }
    }

    /// `[:alpha:]` and its like, read if one is here.
    private mutating func posixClass() -> ClassSet? {
        guard peek(1) == ":" else { return nil }
        var length = 2
        let isInverted = peek(length) == "^"
        if isInverted { length += 1 }
        var name = ""
        while let scalar = peek(length), scalar.properties.isAlphabetic, name.count < 16 {
            name.unicodeScalars.append(scalar)
            length += 1
        }
        guard peek(length) == ":", peek(length + 1) == "]", let set = ClassSet(posixNamed: name) else { return nil }
        position += length + 2
        return isInverted ? set.inverted : set
    }
}
