import Diagnostics
import Formats
import Glibc
import StrictJSON

/// The standard streams: results go to stdout, everything else to stderr.
enum Console {
    static let isInteractive = isatty(STDERR_FILENO) == 1
    static let usesColour = isInteractive && getenv("NO_COLOR") == nil

    /// Writes `text` to stdout.
    ///
    /// - Throws: `fileWrite` if nobody reads it.
    static func write(_ text: String, terminator: String = "\n") throws(Diagnostic) {
        try write(Array((text + terminator).utf8), to: STDOUT_FILENO)
    }

    static func write(_ value: JSONValue) throws(Diagnostic) { try write(value.serialized(.indented)) }

    /// Writes a message to stderr; what cannot be shown there is lost on purpose.
    static func note(_ text: String, terminator: String = "\n") {
        try? write(Array((text + terminator).utf8), to: STDERR_FILENO)
    }

    private static func write(_ bytes: [UInt8], to descriptor: Int32) throws(Diagnostic) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 {
                if errno == EINTR { continue }
                throw Diagnostic(
                    FormatsCode.fileWrite, file: "standard output", found: String(cString: strerror(errno)),
                    expected: "a reader")
            }
            rest = rest.dropFirst(count)
        }
    }

    /// The lines of stdin, one after another, without their ends.
    ///
    /// - Throws: `fileRead`, and what `body` throws.
    static func forEachLine(_ body: (_ line: [UInt8], _ number: Int) throws(Diagnostic) -> Void) throws(Diagnostic) {
        var buffer = [UInt8](repeating: 0, count: 1 << 16)
        var pending: [UInt8] = []
        var number = 0
        while true {
            let count = read(STDIN_FILENO, &buffer, buffer.count)
            if count < 0 {
                if errno == EINTR { continue }
                throw Diagnostic(
                    FormatsCode.fileRead, file: "standard input", found: String(cString: strerror(errno)))
            }
            if count == 0 { break }
            pending += buffer[..<count]
            var start = 0
            while let end = pending[start...].firstIndex(of: 0x0A) {
                number += 1
                try body(Array(pending[start..<end]), number)
                start = end + 1
            }
            pending.removeFirst(start)
        }
        if !pending.isEmpty { try body(pending, number + 1) }
    }
}

/// Shows an error on stderr, and with --json as a document on stdout as well.
func report(_ error: Diagnostic, asJSON: Bool) {
    Console.note(error.description)
    guard asJSON else { return }
    let optional = { (text: String?) in text.map { JSONValue.string(escaped($0)) } ?? .null }
    let facts: JSONObject = [
        "code": .string(error.code.rawValue), "exit": .integer(Int(error.code.exit.rawValue)),
        "file": optional(error.file), "place": optional(error.place), "found": optional(error.found),
        "expected": optional(error.expected), "fix": optional(error.fix),
    ]
    try? Console.write(.object(["error": .object(facts)]))
}

/// A size for people: `512 MiB`.
func bytesText(_ count: Int) -> String {
    let units = ["bytes", "KiB", "MiB", "GiB", "TiB"]
    var (value, unit) = (Double(count), 0)
    while value >= 1024, unit < units.count - 1 { (value, unit) = (value / 1024, unit + 1) }
    return unit == 0 ? "\(count) bytes" : "\(decimal(value, value < 10 ? 1 : 0)) \(units[unit])"
}

/// A duration for people: `1 h 02 min`, `3 min 20 s`, `12 s`.
func durationText(_ seconds: Double) -> String {
    guard seconds.isFinite, seconds >= 0, seconds < 1e9 else { return "?" }
    let whole = Int(seconds.rounded())
    let two = { (number: Int) in number < 10 ? "0\(number)" : "\(number)" }
    if whole >= 3600 { return "\(whole / 3600) h \(two(whole / 60 % 60)) min" }
    if whole >= 60 { return "\(whole / 60) min \(two(whole % 60)) s" }
    return whole >= 10 ? "\(whole) s" : "\(decimal(seconds, 1)) s"
}

/// `value` with `digits` digits after the point.
func decimal(_ value: Double, _ digits: Int) -> String {
    guard value.isFinite, abs(value) < 1e15 else { return "\(value)" }
    guard digits > 0 else { return "\(Int(value.rounded()))" }
    var scale = 1
    for _ in 0..<digits { scale *= 10 }
    let scaled = Int((abs(value) * Double(scale)).rounded())
    let fraction = "\(scaled % scale)"
    let zeros = String(repeating: "0", count: digits - fraction.count)
    return (value < 0 ? "-" : "") + "\(scaled / scale).\(zeros)\(fraction)"
}
