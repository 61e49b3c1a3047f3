package import Diagnostics
import Formats
import StrictJSON

/// What a run says of the base that its adapter was trained against: `espalier.json` in the adapter's folder.
package struct AdapterOrigin: Sendable {
    package let baseName: String?
    package let baseEncoding: BaseEncoding
    /// SHA-256 in hex.
    package let weights: String
    package let tokenizer: String?
    package let template: String?

    package static let fileName = "espalier.json"

    /// Checks that `base` is, to the last byte of its weights, tokenizer and template, what the adapter was trained on.
    ///
    /// - Throws: `otherBase` with everything that differs, and what computing digests throws.
    package func check(_ base: BaseFiles, adapter: String) throws(Diagnostic) {
        let digests = try BaseDigests(base)
        var other: [String] = []
        if digests.weights != weights { other.append("other weights") }
        if let tokenizer, digests.tokenizer != tokenizer { other.append("another tokenizer") }
        if digests.template != template { other.append("another chat template") }
        guard !other.isEmpty else { return }
        throw Diagnostic(
            ModelsCode.otherBase, file: adapter,
            found: "a base with " + other.joined(separator: " and ") + " than the adapter was trained on",
            expected: "weights \(weights.prefix(12))…" + (baseName.map { " of \($0)" } ?? ""),
            fix: "Name that base, or give --allow-other-base if you know that they are the same numbers")
    }

    /// nil for a folder without the file: an adapter from elsewhere, or a model.
    ///
    /// - Throws: `origin` for a file that says something else, and what reading JSON throws.
    package init?(folder: String) throws(Diagnostic) {
        let path = joinPath(folder, Self.fileName)
        guard FileIdentity(ofFileAt: path) != nil else { return nil }
        guard let object = try readJSON(path, maximumBytes: 1 << 20).object, object["merged_from"] == nil else {
            return nil
        }
        func text(_ key: String) -> String? { object[key]?.string }
        guard let weights = text("base_weights_sha256"), SHA256Digest(hex: weights) != nil,
            let encoding = text("base_encoding").map(BaseEncoding.init(rawValue:)) ?? .automatic
        else {
            throw Diagnostic(
                ModelsCode.origin, file: path, found: "no digest of a base, or an encoding that is not known",
                expected: "base_weights_sha256 and base_encoding, as a run writes them",
                fix: "Take the adapter's folder from its run again")
        }
        self.weights = weights
        (baseEncoding, baseName) = (encoding, text("base_name"))
        (tokenizer, template) = (text("tokenizer_sha256"), text("chat_template_sha256"))
    }
}
