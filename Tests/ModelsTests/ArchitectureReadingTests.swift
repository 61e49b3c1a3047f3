import Autograd
import Diagnostics
import Models
import StrictJSON
import Testing

/// What config.json says and leaves out, read as transformers reads it, and refused by name where it cannot be.
@Suite struct ArchitectureReadingTests {
    func spec(_ json: String) throws -> DecoderSpec {
        let value = try JSONValue(parsing: Array(json.utf8))
        return try Architecture.spec(ConfigReader(try #require(value.object), file: "config.json"))
    }

    func refusal(_ json: String) -> Diagnostic? {
        do {
            _ = try spec(json)
            return nil
        } catch { return error as? Diagnostic }
    }

    @Test func aConfigThatSaysNothingHasTheDefaultsOfItsFamily() throws {
        let gpt2 = try spec(#"{"model_type": "gpt2"}"#)
        #expect((gpt2.hidden, gpt2.heads, gpt2.layers.count, gpt2.feedForward) == (768, 12, 12, 3072))
        #expect(gpt2.positionLimit == 1024 && gpt2.isTied && gpt2.vocabulary == 50_257)
        let apertus = try spec(#"{"model_type": "apertus", "rope_theta": 5}"#)
        let scaling = RotarySpec.Scaling.llama3(factor: 8, lowFrequency: 1, highFrequency: 4, trainedLength: 8192)
        #expect(apertus.layers[0].rotary?.scaling == scaling && apertus.layers[0].rotary?.theta == 12_000_000)
        let mixtral = try spec(#"{"model_type": "mixtral"}"#)
        #expect(mixtral.mixture?.experts == 8 && mixtral.mixture?.routing.perToken == 2 && mixtral.keyValueHeads == 8)
        #expect(mixtral.layers[0].rotary?.theta == 1_000_000 && mixtral.layers[0].window == nil)
        let deepseek = try spec(#"{"model_type": "deepseek_v3"}"#)
        #expect(deepseek.latent?.queryRank == 1536 && deepseek.headDim == 192 && deepseek.layers.count == 61)
        #expect(deepseek.layers.map(\.isMixture) == (0..<61).map { $0 >= 3 })
        #expect(try spec(#"{"model_type": "deepseek_v3", "q_lora_rank": null}"#).latent?.queryRank == nil)
    }

    @Test func bothNamesOfAKeyAreRead() throws {
        let own = try spec(#"{"model_type": "bloom", "n_embed": 96, "hidden_size": 64, "n_head": 6, "n_layer": 3}"#)
        #expect((own.hidden, own.heads, own.layers.count, own.feedForward) == (96, 6, 3, 384))
        let common = try spec(#"{"model_type": "bloom", "n_embed": null, "hidden_size": 48, "num_attention_heads": 4}"#)
        #expect((common.hidden, common.heads) == (48, 4))
    }

    @Test func theOlderSpellingOfRotarySettingsWins() throws {
        let both = """
            {"model_type": "llama", "vocab_size": 9, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
             "num_attention_heads": 2, "rope_scaling": {"type": "linear", "factor": 3},
             "rope_parameters": {"rope_type": "linear", "factor": 5}}
            """
        #expect(try spec(both).layers[0].rotary?.scaling == .linear(factor: 3))
    }

    @Test func slopesOfHeadsThatAreNoPowerOfTwo() throws {
        guard
            case .linearBias(let slopes) = try spec(#"{"model_type": "bloom", "n_head": 6, "hidden_size": 48}"#)
                .positions
        else {
            Issue.record("no slopes")
            return
        }
        // Press et al. 2022: those of four heads, then every second one of eight.
        #expect(slopes == [0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125])
    }

    static let refused: [(json: String, key: String)] = [
        (#"{"model_type": "gpt2", "add_cross_attention": true}"#, "add_cross_attention"),
        (#"{"model_type": "gpt2", "activation_function": "mish"}"#, "activation_function"),
        (#"{"model_type": "gpt2", "n_embd": 100, "n_head": 7}"#, "hidden_size"),
        (#"{"model_type": "gpt2", "n_layer": 2000000000}"#, "num_hidden_layers"),
        (#"{"model_type": "bloom", "n_head": 2000000000, "hidden_size": 2000000000}"#, "num_attention_heads"),
        (#"{"model_type": "apertus", "head_dim": 7, "rope_scaling": {"factor": 1}}"#, "head_dim"),
        (#"{"model_type": "gpt_neox", "rotary_pct": 1e300}"#, "rotary_pct"),
        (#"{"model_type": "gpt_neox", "rotary_pct": 0.01}"#, "rotary_pct"),
        (
            #"{"model_type": "phi3", "rope_scaling": {"type": "longrope", "short_factor": [1], "long_factor": [1]}}"#,
            "short_factor"
        ),
        (#"{"model_type": "phi3", "rope_scaling": {"type": "proportional"}}"#, "type"),
        (#"{"model_type": "mixtral", "output_router_logits": true}"#, "output_router_logits"),
        (#"{"model_type": "mixtral", "router_jitter_noise": 0.1}"#, "router_jitter_noise"),
        (#"{"model_type": "mixtral", "num_experts_per_tok": 9}"#, "num_experts_per_tok"),
        (#"{"model_type": "mixtral", "num_local_experts": 1000000000}"#, "num_experts"),
        (#"{"model_type": "deepseek_v2", "num_experts_per_tok": 6, "topk_method": "noaux_tc"}"#, "topk_method"),
        (#"{"model_type": "deepseek_v2", "num_experts_per_tok": 6, "moe_layer_freq": 2}"#, "moe_layer_freq"),
        (#"{"model_type": "deepseek_v2"}"#, "num_experts_per_tok"),
        (#"{"model_type": "deepseek_v3", "n_group": 7}"#, "n_group"),
        (#"{"model_type": "deepseek_v3", "n_group": 256}"#, "n_group"),
        (#"{"model_type": "deepseek_v3", "topk_group": 9}"#, "topk_group"),
        (#"{"model_type": "deepseek_v3", "scoring_func": "softmax"}"#, "scoring_func"),
        (#"{"model_type": "deepseek_v3", "num_key_value_heads": 8}"#, "num_key_value_heads"),
        (#"{"model_type": "deepseek_v3", "v_head_dim": 2000000000}"#, "v_head_dim"),
        (#"{"model_type": "deepseek_v3", "moe_intermediate_size": 2000000000}"#, "moe_intermediate_size"),
    ]

    @Test(arguments: refused) func whatIsNotComputedIsRefusedByItsKey(_ json: String, _ key: String) {
        let error = refusal(json)
        #expect(error?.description.contains("\"\(key)\"") == true || error?.description.contains(".\(key)\"") == true)
    }
}
