extension JinjaInterpreter {
    /// The value as `str()` gives it, which is what a template writes.
    func outputText(_ value: JinjaValue) throws(JinjaError) -> JinjaText {
        switch value {
        case .string(let text), .markup(let text): return text
        case .undefined: return JinjaText("")
        default:
            var writer = JinjaWriter()
            try write(value, to: &writer)
            return writer.text
        }
    }

    /// The value as `repr()` gives it.
    func representation(_ value: JinjaValue) throws(JinjaError) -> String {
        var writer = JinjaWriter()
        try write(value, to: &writer)
        return writer.text.string
    }

    private func write(_ value: JinjaValue, to writer: inout JinjaWriter) throws(JinjaError) {
        switch value {
        case .undefined: writer.append("Undefined")
        case .null: writer.append("None")
        case .bool(let truth): writer.append(truth ? "True" : "False")
        case .int(let number): writer.append(String(number))
        case .float(let number): writer.append(pythonRepresentation(number))
        case .string(let text):
            try budget.charge(text.count)
            writer.append(PythonText.quoted(text.string), from: text)
        case .markup(let text):
            try budget.charge(text.count)
            writer.append("Markup(" + PythonText.quoted(text.string) + ")", from: text)
        case .list(let sequence): try write(sequence.items, "[", "]", to: &writer)
        case .tuple(let sequence): try write(sequence.items, "(", sequence.items.count == 1 ? ",)" : ")", to: &writer)
        case .dict(let dictionary): try write(dictionary.keys, dictionary.values, to: &writer)
        case .range(let range):
            writer.append("range(\(range.start), \(range.stop)\(range.step == 1 ? "" : ", \(range.step)"))")
        case .view(let view): try write(view.items.items, view.kind.rawValue + "([", "])", to: &writer)
        case .method(let method):
            writer.append("<built-in method \(method.name) of \(typeName(method.receiver)) object>")
        case .function(let function): writer.append(function.description)
        case .object(let handle): try writeObject(handle, to: &writer)
        }
        try budget.charge(items: 1)
    }

    private func write(
        _ items: [JinjaValue], _ opening: String, _ closing: String, to writer: inout JinjaWriter
    ) throws(JinjaError) {
        writer.depth += 1
        defer { writer.depth -= 1 }
        try budget.checkDepth(writer.depth)
        writer.append(opening)
        for (index, item) in items.enumerated() {
            if index > 0 { writer.append(", ") }
            try write(item, to: &writer)
        }
        writer.append(closing)
    }

    private func write(
        _ keys: [JinjaValue], _ values: [JinjaValue], to writer: inout JinjaWriter
    ) throws(JinjaError) {
        // Namespaces may hold each other, so the values' own depth is not enough.
        writer.depth += 1
        defer { writer.depth -= 1 }
        try budget.checkDepth(writer.depth)
        writer.append("{")
        for (index, (key, value)) in zip(keys, values).enumerated() {
            if index > 0 { writer.append(", ") }
            try write(key, to: &writer)
            writer.append(": ")
            try write(value, to: &writer)
        }
        writer.append("}")
    }

    private func writeObject(_ handle: Int, to writer: inout JinjaWriter) throws(JinjaError) {
        switch heap[handle] {
        case .namespace(let namespace):
            writer.append("<Namespace ")
            try write(namespace.members.map { .text($0.name) }, namespace.members.map(\.value), to: &writer)
            writer.append(">")
        case .macro(let macro):
            writer.append("<Macro \(program.macros[macro.shape].name.map { PythonText.quoted($0) } ?? "anonymous")>")
        case .loop(let loop): writer.append("<LoopContext \(loop.index0 + 1)/\(loop.items.count)>")
        case .generator(let generator): writer.append("<\(generator.typeName) object>")
        case .cycler: writer.append("<Cycler object>")
        case .joiner: writer.append("<Joiner object>")
        }
    }

    // MARK: Markup

    /// The text with HTML's special characters escaped, unless it is markup already.
    func escapedForMarkup(_ value: JinjaValue) -> JinjaText {
        switch value {
        case .markup(let text): return text
        case .string(let text): return text.escapedHTML
        default: return (try? outputText(value))?.escapedHTML ?? JinjaText("")
        }
    }
}

/// Text that is being put together from template text and data.
struct JinjaWriter {
    private(set) var text = JinjaText("")
    var depth = 0

    mutating func append(_ string: String) { text.append(string) }

    /// Appends what was made from `source`: data, if that is.
    mutating func append(_ string: String, from source: JinjaText) {
        text.append(source.runs.isEmpty ? JinjaText(string) : source.derived(string))
    }
}

extension JinjaText {
    var escapedHTML: JinjaText {
        guard string.utf8.contains(where: { "&<>'\"".utf8.contains($0) }) else { return self }
        var result = JinjaText("")
        for part in pieces(where: { "&<>'\"".utf8.contains($0) }) {
            switch part.string {
            case "&": result.append(part.derived("&amp;"))
            case "<": result.append(part.derived("&lt;"))
            case ">": result.append(part.derived("&gt;"))
            case "'": result.append(part.derived("&#39;"))
            case "\"": result.append(part.derived("&#34;"))
            default: result.append(part)
            }
        }
        return result
    }

    /// The text cut before and after every ASCII byte that `isSpecial` accepts.
    private func pieces(where isSpecial: (UInt8) -> Bool) -> [JinjaText] {
        var pieces: [JinjaText] = []
        var start = 0
        for (index, byte) in string.utf8.enumerated() where isSpecial(byte) {
            if index > start { pieces.append(slice(start..<index)) }
            pieces.append(slice(index..<index + 1))
            start = index + 1
        }
        if start < count { pieces.append(slice(start..<count)) }
        return pieces
    }

    /// The offsets of the Unicode scalars, and the number of bytes at the end.
    var scalarOffsets: [Int] {
        var offsets: [Int] = []
        offsets.reserveCapacity(count + 1)
        for (index, byte) in string.utf8.enumerated() where byte & 0xC0 != 0x80 { offsets.append(index) }
        offsets.append(count)
        return offsets
    }

    /// The Unicode scalars as texts of their own.
    var characters: [JinjaText] {
        let offsets = scalarOffsets
        return (0..<offsets.count - 1).map { slice(offsets[$0]..<offsets[$0 + 1]) }
    }

    /// The scalar at an index, counted from the end if negative.
    func character(at index: Int) -> JinjaText? {
        let offsets = scalarOffsets
        let position = index < 0 ? index + offsets.count - 1 : index
        guard position >= 0, position < offsets.count - 1 else { return nil }
        return slice(offsets[position]..<offsets[position + 1])
    }

    func contains(_ part: String) -> Bool { offset(of: part, in: 0..<count) != nil }

    /// The offset of `part` in a range of the bytes, the first or the last one.
    func offset(of part: String, in range: Range<Int>, last: Bool = false) -> Int? {
        var (whole, needle) = (string, part)
        return whole.withUTF8 { bytes in
            needle.withUTF8 { PythonText.find($0, in: bytes, range: range, last: last) }
        }
    }
}
