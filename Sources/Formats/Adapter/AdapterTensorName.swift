/// What a tensor of a PEFT adapter file is, by its name.
enum AdapterTensorName {
    case part(module: String, LoRAPart)
    /// `base_layer.weight` or `base_layer.bias`: the base's own tensor, saved along.
    case baseLayer(module: String, parameter: String)
    /// A parameter that is saved in full, by its name in the base model.
    case full(String)
    /// The rows of an embedding that were trained for single tokens.
    case tokens(module: String)

    enum LoRAPart: String, CaseIterable {
        case a = ".lora_A.weight"
        case b = ".lora_B.weight"
        case biasOfB = ".lora_B.bias"
        case magnitude = ".lora_magnitude_vector"
        case embeddingA = ".lora_embedding_A"
        case embeddingB = ".lora_embedding_B"
    }

    static let prefix = "base_model.model."
    private static let tokensEnding = ".token_adapter.trainable_tokens_delta"

    /// Nil for a name that PEFT does not write.
    init?(_ name: String) {
        guard let path = Self.dropping(prefix: Self.prefix, from: name), !path.isEmpty else { return nil }
        for part in LoRAPart.allCases {
            // Older versions of PEFT wrote the magnitude with another ".weight".
            for ending in part == .magnitude ? [part.rawValue, part.rawValue + ".weight"] : [part.rawValue] {
                guard let module = Self.dropping(suffix: ending, from: path), !module.isEmpty else { continue }
                self = .part(module: module, part)
                return
            }
        }
        if let module = Self.dropping(suffix: Self.tokensEnding, from: path), !module.isEmpty {
            self = .tokens(module: module)
        } else if path.utf8.split(separator: UInt8(ascii: ".")).contains(where: { $0.starts(with: "lora_".utf8) }) {
            return nil
        } else if let module = Self.dropping(suffix: ".base_layer.weight", from: path), !module.isEmpty {
            self = .baseLayer(module: module, parameter: "weight")
        } else if let module = Self.dropping(suffix: ".base_layer.bias", from: path), !module.isEmpty {
            self = .baseLayer(module: module, parameter: "bias")
        } else {
            self = .full(path)
        }
    }

    private static func dropping(prefix: String, from text: String) -> String? {
        guard text.utf8.starts(with: prefix.utf8) else { return nil }
        return String(decoding: text.utf8.dropFirst(prefix.utf8.count), as: UTF8.self)
    }

    private static func dropping(suffix: String, from text: String) -> String? {
        guard text.utf8.reversed().starts(with: suffix.utf8.reversed()) else { return nil }
        return String(decoding: text.utf8.dropLast(suffix.utf8.count), as: UTF8.self)
    }
}
