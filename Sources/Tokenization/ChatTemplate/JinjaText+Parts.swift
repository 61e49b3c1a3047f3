extension JinjaText {
    func hasPrefix(_ prefix: String) -> Bool { string.utf8.starts(with: prefix.utf8) }

    func hasSuffix(_ suffix: String) -> Bool {
        string.utf8.count >= suffix.utf8.count && string.utf8.suffix(suffix.utf8.count).elementsEqual(suffix.utf8)
    }

    /// How often `part` occurs without overlap; the empty string occurs around every character.
    func occurrences(of part: String) -> Int {
        if part.isEmpty { return string.unicodeScalars.count + 1 }
        var count = 0
        var start = 0
        while let found = offset(of: part, in: start..<self.count) {
            count += 1
            start = found + part.utf8.count
        }
        return count
    }

    /// The lines, broken where Python's `splitlines` does.
    func lines(keepingEnds: Bool) -> [JinjaText] {
        var lines: [JinjaText] = []
        var start = 0
        var offset = 0
        // The end of the line that a carriage return closed, as long as a line feed may still belong to it.
        var pending: Int?
        func close(_ end: Int, _ next: Int) {
            lines.append(slice(start..<(keepingEnds ? next : end)))
            start = next
        }
        for scalar in string.unicodeScalars {
            let next = offset + UTF8.width(scalar)
            if let end = pending {
                pending = nil
                close(end, scalar == "\n" ? next : offset)
                if scalar == "\n" {
                    offset = next
                    continue
                }
            }
            if scalar == "\r" { pending = offset } else if PythonText.isLineBreak(scalar) { close(offset, next) }
            offset = next
        }
        if let end = pending { close(end, offset) }
        if start < count { lines.append(slice(start..<count)) }
        return lines
    }

    /// The parts between runs of white space, after at most `limit` cuts.
    func words(limit: Int, fromEnd: Bool) -> [JinjaText] {
        var copy = string
        var ranges: [Range<Int>] = []
        var rest = 0..<count
        copy.withUTF8 { bytes in
            func inner(_ range: Range<Int>, leading: Bool, _ isTrimmed: (Unicode.Scalar) -> Bool) -> Range<Int> {
                let part = PythonText.trimmed(
                    UnsafeBufferPointer(rebasing: bytes[range]), leading: leading, trailing: !leading, isTrimmed)
                return range.lowerBound + part.lowerBound..<range.lowerBound + part.upperBound
            }
            while true {
                rest = inner(rest, leading: !fromEnd, PythonText.isSpace)
                if rest.isEmpty { return }
                if ranges.count >= limit {
                    ranges.append(rest)
                    return
                }
                let after = inner(rest, leading: !fromEnd) { !PythonText.isSpace($0) }
                ranges.append(fromEnd ? after.upperBound..<rest.upperBound : rest.lowerBound..<after.lowerBound)
                rest = after
            }
        }
        return (fromEnd ? ranges.reversed() : ranges).map { slice($0) }
    }

    /// The parts between separators, after at most `limit` cuts.
    func parts(separatedBy separator: String, limit: Int, fromEnd: Bool) -> [JinjaText] {
        var parts: [JinjaText] = []
        var rest = 0..<count
        while parts.count < limit, let found = offset(of: separator, in: rest, last: fromEnd) {
            let end = found + separator.utf8.count
            parts.append(slice(fromEnd ? end..<rest.upperBound : rest.lowerBound..<found))
            rest = fromEnd ? rest.lowerBound..<found : end..<rest.upperBound
        }
        parts.append(slice(rest))
        return fromEnd ? parts.reversed() : parts
    }
}
