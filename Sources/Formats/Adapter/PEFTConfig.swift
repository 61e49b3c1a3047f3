package import StrictJSON

/// What `adapter_config.json` says about a LoRA adapter; the names are PEFT's, in Swift's spelling.
package struct PEFTConfig: Sendable {
    package var r = 8
    package var alpha = 8.0
    package var dropout = 0.0
    package var targetModules: ModuleSelection?
    package var excludeModules: ModuleSelection?
    package var bias = Bias.none
    package var fanInFanOut = false
    package var useRSLoRA = false
    package var useDoRA = false
    package var initialization = Initialization.standard
    package var modulesToSave: [String]?
    package var layersToTransform: [Int]?
    package var layersPattern: [String] = []
    /// The first pattern that matches a module counts, so the order matters.
    package var rankPattern: [(pattern: String, rank: Int)] = []
    package var alphaPattern: [(pattern: String, alpha: Double)] = []
    package var loraBias = false
    package var trainableTokenIndices: TokenSelection?
    package var targetParameters: [String]?
    package var taskType: String? = "CAUSAL_LM"
    package var baseModel: String?
    package var revision: String?
    package var inferenceMode = true
    package var peftVersion: String? = PEFTConfig.writtenVersion
    /// Members that this version does not interpret, with values that say nothing; they are written back.
    package var otherMembers = JSONObject()

    /// The version of PEFT whose keys are written.
    package static let writtenVersion = "0.21.2"

    package init() {}

    package enum Bias: String, Sendable, CaseIterable {
        case none, all
        case loraOnly = "lora_only"
    }

    /// `target_modules` and `exclude_modules`.
    package enum ModuleSelection: Sendable, Hashable {
        /// Names that are a module's whole path or its last parts.
        case names([String])
        /// A regular expression for the whole path.
        case regex(String)
        /// Every linear module but the head.
        case allLinear
    }

    /// `init_lora_weights`.
    package enum Initialization: Sendable, Hashable {
        /// A random, B zero: JSON's true.
        case standard
        /// Both random: JSON's false.
        case random
        /// `gaussian`, `pissa`, `olora` ...
        case named(String)
    }

    /// `trainable_token_indices`.
    package enum TokenSelection: Sendable, Hashable {
        /// Of the input embedding.
        case tokens([Int])
        /// By the name of an embedding module.
        case byModule([String: [Int]])
    }
}
