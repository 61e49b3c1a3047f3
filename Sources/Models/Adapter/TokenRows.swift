package import Autograd
import Diagnostics
import Formats

/// Rows of an embedding, or of a head, that an adapter has for single tokens in place of the base's: PEFT's
/// `trainable_token_indices`.
package final class TokenRows {
    package let ids: [Int]
    /// [ids, C]
    package let values: Parameter
    private let entries: [Int32: Int]

    init(ids: [Int], values: Parameter) {
        self.ids = ids
        self.values = values
        entries = Dictionary(zip(ids.map { Int32($0) }, ids.indices), uniquingKeysWith: { first, _ in first })
    }

    /// The rows of `tokens` that are in the table, with their places in it.
    func places(in tokens: [Int32]) -> [(row: Int, entry: Int)] {
        tokens.enumerated().compactMap { row, token in entries[token].map { (row, $0) } }
    }

    /// For a head: the columns of its scores that these rows give.
    var columns: ReplacedColumns { ReplacedColumns(columns: ids, table: values) }
}

extension LanguageModel {
    /// The modules that `trainable_token_indices` names, with the ids; a tied head follows the embedding.
    ///
    /// - Throws: `targets` for a module without rows for tokens, an id beyond the vocabulary or one that comes twice.
    func tokenSelection(_ config: PEFTConfig) throws(Diagnostic) -> [(path: String, ids: [Int])] {
        let embedding = spec.names.inBody(spec.names.embedding)
        let known = [embedding] + (self is Decoder && !spec.isTied ? [spec.names.head] : [])
        var selection: [(path: String, ids: [Int])] = []
        switch config.trainableTokenIndices {
        case nil: return []
        case .tokens(let ids): selection = [(embedding, ids)]
        case .byModule(let map):
            for (name, ids) in map.sorted(by: { $0.key < $1.key }) {
                guard let path = known.first(where: { $0 == name || $0.hasSuffix("." + name) }) else {
                    throw Diagnostic(
                        ModelsCode.targets, at: "trainable_token_indices", found: "\(name) has no rows for tokens",
                        expected: known.joined(separator: " or "))
                }
                selection.append((path, ids))
            }
        }
        for (path, ids) in selection {
            guard !ids.isEmpty, Set(ids).count == ids.count, ids.allSatisfy({ 0..<spec.vocabulary ~= $0 }) else {
                throw Diagnostic(
                    ModelsCode.targets, at: "trainable_token_indices",
                    found: "ids of \(path) that are none, twice there or beyond the table",
                    expected: "distinct ids from 0 to \(spec.vocabulary - 1)")
            }
        }
        return selection
    }

    /// Puts the rows in their places, or with an empty list takes them away.
    func setTokenRows(_ tokens: [(path: String, rows: TokenRows)]) {
        let embedding = tokens.first { $0.path == spec.names.inBody(spec.names.embedding) }?.rows
        backbone.tokenRows = embedding
        guard let decoder = self as? Decoder else { return }
        decoder.headRows = spec.isTied ? embedding : tokens.first { $0.path == spec.names.head }?.rows
    }
}
