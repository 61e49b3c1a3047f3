package import Diagnostics
import StrictJSON

/// A model in the GGUF format: one file, or several that llama.cpp's splitter has made of one.
package struct GGUFModel: Sendable {
    /// The file with the metadata: the only one, or the first.
    package let header: GGUFFile
    /// The tensors of all files.
    package let weights: WeightSource

    static let maximumParts = 1024

    /// Opens the file at `path`, and if its metadata says that it is a part, all the others beside it.
    ///
    /// - Throws: `ggufSplit` if a part is missing or belongs to another model, and what `GGUFFile` throws.
    package init(_ path: String) throws(Diagnostic) {
        let opened = try GGUFFile(path)
        let count = try opened.integer("split.count", in: 0...Self.maximumParts) ?? 0
        guard count > 1 else {
            header = opened
            weights = opened.source
            return
        }
        let number = try opened.integer("split.no", in: 0...(count - 1)) ?? 0
        guard let names = SplitName(path), names.number == number + 1, names.count == count else {
            throw Diagnostic(
                FormatsCode.ggufSplit, file: path, found: "part \(number + 1) of \(count) under another name",
                expected: "a name that ends in \(SplitName.ending(number + 1, of: count))",
                fix: "Give the parts back their names")
        }
        var parts: [GGUFFile] = []
        for index in 0..<count {
            parts.append(index == number ? opened : try Self.part(index, of: count, named: names))
        }
        header = parts[0]
        weights = try Self.joined(parts)
    }

    private static func part(_ index: Int, of count: Int, named names: SplitName) throws(Diagnostic) -> GGUFFile {
        let path = names.stem + SplitName.ending(index + 1, of: count)
        let part: GGUFFile
        do {
            part = try GGUFFile(path)
        } catch  where error.code as? FormatsCode == .fileMissing {
            throw Diagnostic(
                FormatsCode.ggufSplit, file: path, found: "part \(index + 1) of \(count), which is not there",
                expected: "all parts in one folder", fix: "Download the missing part")
        }
        guard try part.integer("split.count") == count, try part.integer("split.no") == index else {
            throw Diagnostic(
                FormatsCode.ggufSplit, file: path, found: "a file that is not part \(index + 1) of \(count)",
                expected: "the parts of one model", fix: "Download the part again")
        }
        return part
    }

    private static func joined(_ parts: [GGUFFile]) throws(Diagnostic) -> WeightSource {
        var names: Set<BytewiseString> = []
        for part in parts {
            for tensor in part.tensors where !names.insert(BytewiseString(tensor.name)).inserted {
                throw Diagnostic(
                    FormatsCode.ggufSplit, file: part.file.path, at: "tensor \"\(tensor.name)\"",
                    found: "it in two parts", expected: "every tensor once")
            }
        }
        if let total = try parts[0].integer("split.tensors.count"), total != names.count {
            throw Diagnostic(
                FormatsCode.ggufSplit, file: parts[0].file.path, at: "key \"split.tensors.count\"",
                found: "\(total) tensors", expected: "\(names.count), the sum of the parts",
                fix: "Download the parts again")
        }
        return WeightSource(tensors: parts.flatMap(\.tensors), files: parts.map(\.file))
    }
}

/// A file name of the form `STEM-00001-of-00003.gguf`.
private struct SplitName {
    var stem: String
    var number: Int
    var count: Int

    init?(_ path: String) {
        let bytes = Array(path.utf8)
        let length = Self.ending(1, of: 1).utf8.count
        guard bytes.count > length else { return nil }
        let ending = String(decoding: bytes.suffix(length), as: UTF8.self)
        guard let number = Int(ending.dropFirst().prefix(5)), let count = Int(ending.dropLast(5).suffix(5)),
            ending == Self.ending(number, of: count)
        else { return nil }
        stem = String(decoding: bytes.dropLast(length), as: UTF8.self)
        (self.number, self.count) = (number, count)
    }

    static func ending(_ number: Int, of count: Int) -> String { "-\(padded(number))-of-\(padded(count)).gguf" }

    private static func padded(_ number: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, 5 - digits.count)) + digits
    }
}
