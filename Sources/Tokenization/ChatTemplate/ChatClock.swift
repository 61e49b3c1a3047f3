package import Diagnostics

/// The date and time that a template's `strftime_now` sees: a plain local time, without zone, given by the caller so
/// that a rendering can be repeated.
package struct ChatClock: Sendable, Equatable {
    package let year: Int
    package let month: Int
    package let day: Int
    package let hour: Int
    package let minute: Int
    package let second: Int

    /// Reads `2025-03-14T09:26:53`; a space may stand for the T, and the time may be left out.
    ///
    /// - Throws: `ChatTemplateCode.clock` for what is no date of the years 1 to 9999.
    package init(_ text: String) throws(Diagnostic) {
        guard let clock = Self.parse(text) else {
            throw Diagnostic(
                ChatTemplateCode.clock, found: "a date that cannot be read", expected: "a form like 2025-03-14T09:26:53"
            )
        }
        self = clock
    }

    private init(year: Int, month: Int, day: Int, hour: Int, minute: Int, second: Int) {
        self.year = year
        self.month = month
        self.day = day
        self.hour = hour
        self.minute = minute
        self.second = second
    }

    private static func parse(_ text: String) -> ChatClock? {
        let parts = text.split(maxSplits: 1, omittingEmptySubsequences: false) { $0 == "T" || $0 == " " }
        guard let date = numbers(parts[0], "-", [4, 2, 2]) else { return nil }
        var time = [0, 0, 0]
        if parts.count > 1 {
            guard let given = numbers(parts[1], ":", [2, 2, 2]) else { return nil }
            time = given
        }
        guard (1...9999).contains(date[0]), (1...12).contains(date[1]),
            (1...days(inMonth: date[1], of: date[0])).contains(date[2]), (0...23).contains(time[0]),
            (0...59).contains(time[1]), (0...59).contains(time[2])
        else { return nil }
        return ChatClock(
            year: date[0], month: date[1], day: date[2], hour: time[0], minute: time[1], second: time[2])
    }

    /// Numbers of so many digits with a separator between them.
    private static func numbers(_ text: Substring, _ separator: Character, _ digits: [Int]) -> [Int]? {
        let parts = text.split(separator: separator, omittingEmptySubsequences: false)
        guard parts.count == digits.count else { return nil }
        var numbers: [Int] = []
        for (part, count) in zip(parts, digits) {
            guard part.utf8.count == count, part.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = Int(part)
            else { return nil }
            numbers.append(number)
        }
        return numbers
    }

    private static func isLeap(_ year: Int) -> Bool {
        year.isMultiple(of: 4) && (!year.isMultiple(of: 100) || year.isMultiple(of: 400))
    }

    private static func days(inMonth month: Int, of year: Int) -> Int {
        [31, isLeap(year) ? 29 : 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][month - 1]
    }

    // MARK: Calendar

    /// The day of the year, from 1.
    private var dayOfYear: Int {
        (1..<month).reduce(day) { $0 + Self.days(inMonth: $1, of: year) }
    }

    /// 0 for Monday to 6 for Sunday.
    private var weekday: Int {
        let before = year - 1
        return (before * 365 + before / 4 - before / 100 + before / 400 + dayOfYear - 1) % 7
    }

    /// Year and week by ISO 8601: a week belongs to the year that its Thursday lies in.
    private var isoWeek: (year: Int, week: Int) {
        let week = (dayOfYear - 1 - weekday + 10) / 7
        if week < 1 { return (year - 1, Self.isoWeeks(of: year - 1)) }
        return week > Self.isoWeeks(of: year) ? (year + 1, 1) : (year, week)
    }

    private static func isoWeeks(of year: Int) -> Int {
        guard year > 0 else { return 52 }
        let first = ChatClock(year: year, month: 1, day: 1, hour: 0, minute: 0, second: 0).weekday
        return first == 3 || (first == 2 && isLeap(year)) ? 53 : 52
    }

    /// Seconds since 1970, as if the time were UTC.
    private var timestamp: Int {
        let before = year - 1
        let days = before * 365 + before / 4 - before / 100 + before / 400 + dayOfYear - 1 - 719_162
        return ((days * 24 + hour) * 60 + minute) * 60 + second
    }

    // MARK: Formatting

    private static let weekdays = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
    private static let months = [
        "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
        "December",
    ]

    /// `format` with the directives of C's `strftime` in the C locale filled in, the `-`, `_`, `0`, `^` flags of glibc
    /// included. What is no directive stays as it is.
    package func formatted(_ format: String) -> String {
        var result = ""
        var scalars = Array(format.unicodeScalars)[...]
        while let scalar = scalars.popFirst() {
            guard scalar == "%" else {
                result.unicodeScalars.append(scalar)
                continue
            }
            var flag: Unicode.Scalar?
            while let next = scalars.first, "-_0^#".unicodeScalars.contains(next) { flag = scalars.removeFirst() }
            if scalars.first == "E" || scalars.first == "O" { scalars.removeFirst() }
            guard let directive = scalars.popFirst() else {
                result += "%"
                break
            }
            result += filled(directive, flag) ?? "%" + String(Character(directive))
        }
        return result
    }

    private func filled(_ directive: Unicode.Scalar, _ flag: Unicode.Scalar?) -> String? {
        if let (value, width, space) = number(directive) {
            let digits = String(value)
            let padding: Character? = flag == "-" ? nil : flag == "_" ? " " : flag == "0" ? "0" : space ? " " : "0"
            return (padding.map { String(repeating: $0, count: max(0, width - digits.count)) } ?? "") + digits
        }
        guard let text = text(directive) else { return nil }
        return flag == "^" ? text.uppercased() : text
    }

    /// The value of a numeric directive, its width, and whether spaces fill it.
    private func number(_ directive: Unicode.Scalar) -> (Int, Int, Bool)? {
        let sunday = (weekday + 1) % 7
        let twelve = (hour + 11) % 12 + 1
        switch directive {
        case "Y": return (year, 1, false)
        case "C": return (year / 100, 2, false)
        case "y": return (year % 100, 2, false)
        case "m": return (month, 2, false)
        case "d": return (day, 2, false)
        case "e": return (day, 2, true)
        case "H": return (hour, 2, false)
        case "k": return (hour, 2, true)
        case "I": return (twelve, 2, false)
        case "l": return (twelve, 2, true)
        case "M": return (minute, 2, false)
        case "S": return (second, 2, false)
        case "j": return (dayOfYear, 3, false)
        case "f": return (0, 6, false)
        case "s": return (timestamp, 1, false)
        case "u": return (weekday + 1, 1, false)
        case "w": return (sunday, 1, false)
        case "U": return ((dayOfYear - 1 + 7 - sunday) / 7, 2, false)
        case "W": return ((dayOfYear - 1 + 7 - weekday) / 7, 2, false)
        case "V": return (isoWeek.week, 2, false)
        case "G": return (isoWeek.year, 1, false)
        case "g": return (isoWeek.year % 100, 2, false)
        default: return nil
        }
    }

    private func text(_ directive: Unicode.Scalar) -> String? {
        switch directive {
        case "a": String(Self.weekdays[weekday].prefix(3))
        case "A": Self.weekdays[weekday]
        case "b", "h": String(Self.months[month - 1].prefix(3))
        case "B": Self.months[month - 1]
        case "p": hour < 12 ? "AM" : "PM"
        case "P": hour < 12 ? "am" : "pm"
        case "c": formatted("%a %b %e %H:%M:%S %Y")
        case "x", "D": formatted("%m/%d/%y")
        case "X", "T": formatted("%H:%M:%S")
        case "F": formatted("%Y-%m-%d")
        case "R": formatted("%H:%M")
        case "r": formatted("%I:%M:%S %p")
        case "n": "\n"
        case "t": "\t"
        case "%": "%"
        // A time without a zone has no offset and no name for it.
        case "z", "Z": ""
        default: nil
        }
    }
}
