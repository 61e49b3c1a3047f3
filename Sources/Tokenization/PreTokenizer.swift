/// The steps by which a text is cut into the words that the model sees.
struct PreTokenizer: Sendable {
    enum PrependScheme: String, Sendable { case always, first, never }

    /// Classes of characters that text is split by.
    enum CharacterSet: Sendable {
        case whitespace
        case numeric
        case punctuation
        case scalar(UInt32)
    }

    enum Step: Sendable {
        case split(Pattern, SplitBehavior, isInverted: Bool)
        case splitByCharacters(CharacterSet, SplitBehavior)
        /// A space in front of each split that has none.
        case prependSpace
        /// Every byte to the character that stands for it in a byte-level vocabulary.
        case encodeBytes
        case metaspace(replacement: Unicode.Scalar, PrependScheme, splits: Bool)
        case fixedLength(Int)
    }

    var steps: [Step]

    func apply(to text: inout SplitText, _ workspace: Workspace) {
        for step in steps {
            switch step {
            case .split(let pattern, let behavior, let isInverted):
                split(&text, pattern, behavior, isInverted, workspace.matcher)
            case .splitByCharacters(let set, let behavior): split(&text, set, behavior)
            case .prependSpace:
                rewrite(&text) { split, source, output in
                    if source[split.range.lowerBound] != 0x20 { output.append(0x20) }
                    output.append(contentsOf: source[split.range])
                }
            case .encodeBytes:
                rewrite(&text) { split, source, output in
                    for byte in source[split.range] { ByteLevelAlphabet.append(byte, to: &output) }
                }
            case .metaspace(let replacement, let scheme, let splits):
                replaceSpaces(&text, replacement, scheme)
                if splits { split(&text, .scalar(replacement.value), .mergedWithNext) }
            case .fixedLength(let count): split(&text, every: count)
            }
        }
    }

    private func split(
        _ text: inout SplitText, _ pattern: Pattern, _ behavior: SplitBehavior, _ isInverted: Bool,
        _ matcher: PatternMatcher
    ) {
        var splits: [SplitText.Split] = []
        splits.reserveCapacity(max(text.splits.count, text.bytes.count / 4))
        text.bytes.withUnsafeBufferPointer { bytes in
            if behavior == .isolated {
                for split in text.splits { isolateMatches(split, bytes, pattern, matcher, &splits) }
                return
            }
            var collector = SplitCollector(behavior)
            for split in text.splits {
                let base = split.range.lowerBound
                var end = base
                matcher.forEachMatch(pattern, in: UnsafeBufferPointer(rebasing: bytes[split.range])) { match in
                    let range = match.lowerBound + base..<match.upperBound + base
                    if range.lowerBound > end { collector.add(end..<range.lowerBound, isMatch: isInverted) }
                    collector.add(range, isMatch: !isInverted)
                    end = range.upperBound
                }
                if end < split.range.upperBound { collector.add(end..<split.range.upperBound, isMatch: isInverted) }
                collector.finish(split, into: &splits)
            }
        }
        text.splits = splits
    }

    @inline(__always)
    private func isolateMatches(
        _ split: SplitText.Split, _ bytes: UnsafeBufferPointer<UInt8>, _ pattern: Pattern, _ matcher: PatternMatcher,
        _ splits: inout [SplitText.Split]
    ) {
        let base = split.range.lowerBound
        var end = base
        var isAtStart = split.isAtStart
        func add(_ range: Range<Int>) {
            if range.isEmpty { return }
            splits.append(SplitText.Split(range: range, isAtStart: isAtStart))
            isAtStart = false
        }
        matcher.forEachMatch(pattern, in: UnsafeBufferPointer(rebasing: bytes[split.range])) { match in
            add(end..<match.lowerBound + base)
            add(match.lowerBound + base..<match.upperBound + base)
            end = match.upperBound + base
        }
        add(end..<split.range.upperBound)
    }

    private func split(_ text: inout SplitText, _ set: CharacterSet, _ behavior: SplitBehavior) {
        var splits: [SplitText.Split] = []
        splits.reserveCapacity(text.splits.count)
        var collector = SplitCollector(behavior)
        text.bytes.withUnsafeBufferPointer { bytes in
            for split in text.splits {
                var end = split.range.lowerBound
                var position = end
                while position < split.range.upperBound {
                    let (value, next) = UTF8Text.scalar(bytes, at: position)
                    if set.contains(value) {
                        if position > end { collector.add(end..<position, isMatch: false) }
                        collector.add(position..<next, isMatch: true)
                        end = next
                    }
                    position = next
                }
                if end < split.range.upperBound { collector.add(end..<split.range.upperBound, isMatch: false) }
                collector.finish(split, into: &splits)
            }
        }
        text.splits = splits
    }

    private func split(_ text: inout SplitText, every count: Int) {
        var splits: [SplitText.Split] = []
        text.bytes.withUnsafeBufferPointer { bytes in
            for split in text.splits {
                var start = split.range.lowerBound
                var position = start
                var length = 0
                while position < split.range.upperBound {
                    position += UTF8Text.length(lead: bytes[position])
                    length += 1
                    if length == count || position == split.range.upperBound {
                        let isAtStart = split.isAtStart && start == split.range.lowerBound
                        splits.append(SplitText.Split(range: start..<position, isAtStart: isAtStart))
                        start = position
                        length = 0
                    }
                }
            }
        }
        text.splits = splits
    }

    private func replaceSpaces(_ text: inout SplitText, _ replacement: Unicode.Scalar, _ scheme: PrependScheme) {
        let mark = Array(UTF8.encode(replacement)!)
        rewrite(&text) { split, source, output in
            let start = output.count
            for byte in source[split.range] {
                if byte == 0x20 { output.append(contentsOf: mark) } else { output.append(byte) }
            }
            let prepends = scheme == .always || scheme == .first && split.isAtStart
            if prepends, !output[start...].starts(with: mark) { output.insert(contentsOf: mark, at: start) }
        }
    }

    /// Gives every split new bytes.
    private func rewrite(
        _ text: inout SplitText, _ body: (SplitText.Split, UnsafeBufferPointer<UInt8>, inout [UInt8]) -> Void
    ) {
        var output: [UInt8] = []
        output.reserveCapacity(text.bytes.count + text.bytes.count / 2 + 8)
        var splits: [SplitText.Split] = []
        splits.reserveCapacity(text.splits.count)
        text.bytes.withUnsafeBufferPointer { bytes in
            for split in text.splits {
                let start = output.count
                body(split, bytes, &output)
                if output.count > start {
                    splits.append(SplitText.Split(range: start..<output.count, isAtStart: split.isAtStart))
                }
            }
        }
        text.bytes = output
        text.splits = splits
    }
}

extension PreTokenizer.CharacterSet {
    @inline(__always)
    func contains(_ value: UInt32) -> Bool {
        switch self {
        case .whitespace: ScalarClass.isWhitespace(value)
        case .numeric: ScalarClass.isNumeric(value)
        case .punctuation: ScalarClass.isPunctuation(value)
        case .scalar(let scalar): value == scalar
        }
    }
}
