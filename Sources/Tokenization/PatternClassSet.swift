/// A set of characters on its way from Oniguruma's class syntax to PCRE2's, which has no nested classes.
struct ClassSet {
    /// What stands between the brackets of a plain class.
    private var items: String
    /// Expressions that each match one character and cannot stand inside brackets.
    private var alternatives: [String] = []
    private var isInverted = false
    /// Whether the last item is no single character, so that a hyphen after it is literal.
    private var endsInSet = false

    static let space = ClassSet(items: "\\p{White_Space}")
    static let word = ClassSet(items: "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}")

    init(items: String) {
        self.items = items
        endsInSet = true
    }

    /// One character, escaped as PCRE2 needs it.
    init(literal: String) { items = literal }

    init(expression: String) {
        items = ""
        alternatives = [expression]
    }

    init(intersecting operands: [ClassSet]) {
        let conditions = operands.dropLast().map { "(?=\($0.expression))" }.joined()
        self.init(expression: "(?:\(conditions)\(operands.last?.expression ?? ""))")
    }

    var inverted: ClassSet {
        if alternatives.isEmpty {
            var copy = self
            copy.isInverted.toggle()
            return copy
        }
        return ClassSet(expression: "(?:(?!\(expression))(?s:.))")
    }

    /// What matches one character of the set.
    var expression: String {
        if isInverted { return items.isEmpty ? "(?s:.)" : "[^\(items)]" }
        if alternatives.isEmpty { return items.isEmpty ? "(?!)" : "[\(items)]" }
        if items.isEmpty, alternatives.count == 1 { return alternatives[0] }
        return "(?:" + ((items.isEmpty ? [] : ["[\(items)]"]) + alternatives).joined(separator: "|") + ")"
    }

    mutating func add(_ other: ClassSet) {
        if other.isInverted {
            alternatives.append(other.expression)
        } else {
            // A hyphen between two characters is a range; next to a set it stands for itself.
            if other.endsInSet, items.hasSuffix("-"), !items.hasSuffix("\\-") {
                items.removeLast()
                items += "\\-"
            }
            items += other.items
            alternatives += other.alternatives
        }
        endsInSet = other.endsInSet || other.isInverted
    }

    mutating func addLiteral(_ scalar: Unicode.Scalar, isLastInClass: Bool) {
        switch scalar {
        case "-" where endsInSet || items.isEmpty || isLastInClass: items += "\\-"
        case "]", "^", "[", "\\": items += "\\" + String(scalar)
        default: items.unicodeScalars.append(scalar)
        }
        endsInSet = false
    }

    init?(posixNamed name: String) {
        let items: String? =
            switch name {
            case "alpha": "\\p{Alphabetic}"
            case "alnum": "\\p{Alphabetic}\\p{Nd}"
            case "digit": "\\p{Nd}"
            case "space": "\\p{White_Space}"
            case "blank": "\\p{Zs}\\t"
            case "upper": "\\p{Uppercase}"
            case "lower": "\\p{Lowercase}"
            case "punct": "\\p{P}$+<=>\\^`|~"
            case "word": ClassSet.word.items
            case "cntrl": "\\p{Cc}"
            case "xdigit": "0-9a-fA-F"
            case "ascii": "\\x00-\\x7f"
            default: nil
            }
        if let items {
            self.init(items: items)
        } else if name == "graph" {
            self = ClassSet(items: "\\p{White_Space}\\p{Cc}\\p{Cs}\\p{Cn}").inverted
        } else if name == "print" {
            self = ClassSet(items: "\\p{Cc}\\p{Cs}\\p{Cn}").inverted
        } else {
            return nil
        }
    }

    /// A property by any of the names that Oniguruma takes: general category, POSIX class, binary property, script.
    init(propertyNamed name: String) {
        let key = String(name.lowercased().filter { $0 != " " && $0 != "_" && $0 != "-" })
        if let category = Self.categories[key] {
            self.init(items: "\\p{\(category)}")
        } else if let posix = ClassSet(posixNamed: key) {
            self = posix
        } else if key == "any" || key == "assigned" {
            self = key == "any" ? ClassSet(items: "\\p{Any}") : ClassSet(items: "\\P{Cn}")
        } else if Self.binaryProperties.contains(key) {
            self.init(items: "\\p{\(name)}")
        } else if name.contains("=") || name.contains(":") {
            self.init(items: "\\p{\(name)}")
        } else {
            // PCRE2's bare script name means the script's extensions too; Oniguruma's does not.
            self.init(items: "\\p{sc:\(name)}")
        }
    }

    private static let categories: [String: String] = {
        let named = [
            "letter": "L", "casedletter": "L&", "lc": "L&", "l&": "L&", "uppercaseletter": "Lu",
            "lowercaseletter": "Ll", "titlecaseletter": "Lt", "modifierletter": "Lm", "otherletter": "Lo", "mark": "M",
            "combiningmark": "M", "nonspacingmark": "Mn", "spacingmark": "Mc", "enclosingmark": "Me", "number": "N",
            "decimalnumber": "Nd", "letternumber": "Nl", "othernumber": "No", "punctuation": "P",
            "connectorpunctuation": "Pc", "dashpunctuation": "Pd", "openpunctuation": "Ps", "closepunctuation": "Pe",
            "initialpunctuation": "Pi", "finalpunctuation": "Pf", "otherpunctuation": "Po", "symbol": "S",
            "mathsymbol": "Sm", "currencysymbol": "Sc", "modifiersymbol": "Sk", "othersymbol": "So", "separator": "Z",
            "spaceseparator": "Zs", "lineseparator": "Zl", "paragraphseparator": "Zp", "other": "C", "control": "Cc",
            "format": "Cf", "surrogate": "Cs", "privateuse": "Co", "unassigned": "Cn",
        ]
        let codes = [
            "L", "Lu", "Ll", "Lt", "Lm", "Lo", "M", "Mn", "Mc", "Me", "N", "Nd", "Nl", "No", "P", "Pc", "Pd", "Ps",
            "Pe",
            "Pi", "Pf", "Po", "S", "Sm", "Sc", "Sk", "So", "Z", "Zs", "Zl", "Zp", "C", "Cc", "Cf", "Cs", "Co", "Cn",
        ]
        return named.merging(codes.map { ($0.lowercased(), $0) }) { first, _ in first }
    }()

    /// The binary properties that PCRE2 10.40 and later know, without their underscores.
    private static let binaryProperties: Set<String> = [
        "alphabetic", "asciihexdigit", "ahex", "bidicontrol", "bidimirrored", "caseignorable", "cased",
        "changeswhencasefolded", "changeswhencasemapped", "changeswhenlowercased", "changeswhentitlecased",
        "changeswhenuppercased", "dash", "defaultignorablecodepoint", "di", "deprecated", "diacritic", "dia", "emoji",
        "emojicomponent", "emojimodifier", "emojimodifierbase", "emojipresentation", "extendedpictographic", "extpict",
        "extender", "ext", "graphemebase", "graphemeextend", "hexdigit", "hex", "idcontinue", "idstart", "ideographic",
        "ideo", "joincontrol", "logicalorderexception", "lowercase", "math", "noncharactercodepoint", "patternsyntax",
        "patternwhitespace", "prependedconcatenationmark", "quotationmark", "radical", "regionalindicator",
        "sentenceterminal", "softdotted", "terminalpunctuation", "unifiedideograph", "uppercase", "variationselector",
        "whitespace", "wspace", "xidcontinue", "xidstart",
    ]
}
