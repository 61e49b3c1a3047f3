import Diagnostics

/// The pre-tokenisers that GGUF files name in `tokenizer.ggml.pre`.
struct NamedPreTokenizer: Sendable {
    /// Patterns that are applied one after the other, each inside the pieces of the one before.
    var patterns: [String]
    /// Whether a word that is a token needs no merges.
    var ignoresMerges = false
    /// Whether a text begins with the BOS token if the file does not say.
    var addsBeginning = false
    /// Whether the model's own tokenizer composes characters first.
    var composes = false

    /// - Throws: `TokenizerCode.unsupported` if the name is not known: a wrong pattern would give wrong tokens silently.
    init(_ name: String?) throws(Diagnostic) {
        let gpt2 = PreTokenizer.gpt2Pattern
        switch name {
        case nil, "default", "gpt-2", "phi-2", "jina-es", "jina-de", "jina-v1-en", "jina-v2-es", "jina-v2-de",
            "jina-v2-code",
            "roberta-bpe", "gigachat", "exaone4", "modern-bert", "mellum", "olmo", "mpt", "jais", "a.x-4.0", "trillion",
            "granite-docling":
            patterns = [gpt2]
        case "smollm", "starcoder", "command-r", "minerva-7b", "refact", "codeshell", "exaone":
            patterns = [#"\p{N}"#, gpt2]
        case "llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2":
            patterns = [Self.llama3]
            ignoresMerges = true
            addsBeginning = true
        case "dbrx", "smaug-bpe", "chatglm-bpe", "glm4": patterns = [Self.llama3]
        case "qwen2", "deepseek-r1-qwen", "megrez", "stablelm2", "hunyuan":
            patterns = [Self.qwen2]
            composes = name != "stablelm2" && name != "hunyuan"
        case "qwen35":
            patterns = [Self.qwen35]
            composes = true
        case "tekken":
            patterns = [Self.tekken(contractions: "", digits: #"\p{N}"#)]
            ignoresMerges = true
            addsBeginning = true
        case "gpt-4o", "llama4", "kanana2":
            patterns = [Self.tekken(contractions: "(?i:'s|'t|'re|'ve|'m|'ll|'d)?", digits: #"\p{N}{1,3}"#)]
        case "bloom", "poro-chat", "gpt3-finnish": patterns = [Self.bloom]
        case "viking": patterns = [Self.bloom, #"\p{N}"#]
        case "deepseek-v3", "hunyuan-dense":
            patterns = [#"\p{N}{1,3}"#, "[一-龥぀-ゟ゠-ヿ]+", Self.deepSeek3]
        case "deepseek-coder":
            patterns = [#"[\r\n]"#, #"\s?\p{L}+"#, #"\s?\p{P}+"#, "[一-龥ࠀ-一가-퟿]+", #"\p{N}"#]
        case "falcon": patterns = [#"[\p{P}\$\+<=>\^~\|`]+"#, gpt2, "[0-9][0-9][0-9]"]
        case let name?:
            throw Diagnostic(
                TokenizerCode.unsupported, at: "key \"tokenizer.ggml.pre\"", found: "the name \"\(name.prefix(40))\"",
                expected: "a known pre-tokenizer", fix: "Use the model's folder with its tokenizer.json")
        }
    }

    private static let llama3 =
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|"#
        + #"\s*[\r\n]+|\s+(?!\S)|\s+"#
    private static let qwen2 =
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|"#
        + #"\s*[\r\n]+|\s+(?!\S)|\s+"#
    private static let qwen35 =
        #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|"#
        + #"\s*[\r\n]+|\s+(?!\S)|\s+"#
    private static let bloom = " ?[^(\\s|.,!?…。，、।۔،)]+"
    private static let deepSeek3 =
        ##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+|"##
        + #" ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#

    private static func tekken(contractions: String, digits: String) -> String {
        let (upper, lower) = (#"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"#, #"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"#)
        let lead = #"[^\r\n\p{L}\p{N}]?"#
        return "\(lead)\(upper)*\(lower)+\(contractions)|\(lead)\(upper)+\(lower)*\(contractions)|\(digits)|"
            + #" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
    }
}
