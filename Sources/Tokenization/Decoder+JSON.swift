import Diagnostics
import StrictJSON

extension Decoder {
    init(_ section: JSONSection?) throws(Diagnostic) {
        guard let section else {
            steps = nil
            return
        }
        var steps: [Step] = []
        try Self.append(section, to: &steps)
        self.steps = steps
    }

    private static func append(_ section: JSONSection, to steps: inout [Step]) throws(Diagnostic) {
        let type = try section.string("type")
        switch type {
        case "Sequence": for part in try section.sections("decoders") { try append(part, to: &steps) }
        case "ByteLevel": steps.append(.byteLevel)
        case "ByteFallback": steps.append(.byteFallback)
        case "Fuse": steps.append(.fuse)
        case "Replace":
            let content = Array(try section.string("content").utf8)
            steps.append(.replace(try section.pattern("pattern"), with: content))
        case "Strip":
            let range = 0...(1 << 20)
            steps.append(
                .strip(
                    try section.scalar("content"), start: try section.integer("start", default: 0, in: range),
                    stop: try section.integer("stop", default: 0, in: range)))
        case "Metaspace":
            let scheme = try PreTokenizer.metaspaceScheme(section)
            steps.append(.metaspace(try section.scalar("replacement"), prepends: scheme != .never))
        case "WordPiece":
            let prefix = try section.optionalString("prefix") ?? "##"
            steps.append(
                .wordPiece(prefix: Array(prefix.utf8), cleansUp: try section.flag("cleanup", default: true)))
        case "BPEDecoder":
            steps.append(.endOfWord(suffix: Array((try section.optionalString("suffix") ?? "</w>").utf8)))
        case "CTC":
            let pad = try section.optionalString("pad_token") ?? "<pad>"
            let delimiter = try section.optionalString("word_delimiter_token") ?? "|"
            steps.append(
                .connectionist(
                    pad: Array(pad.utf8), delimiter: Array(delimiter.utf8),
                    cleansUp: try section.flag("cleanup", default: true)))
        default: throw section.unsupported("decoder", type)
        }
    }
}
