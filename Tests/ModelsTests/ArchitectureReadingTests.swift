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

    @Test func anEncoderThatSaysNothingHasTheDefaultsOfItsFamily() throws {
        let bert = try spec(#"{"model_type": "bert"}"#)
        #expect((bert.vocabulary, bert.hidden, bert.layers.count, bert.feedForward) == (30_522, 768, 12, 3072))
        #expect(bert.normEpsilon == 1e-12 && bert.tokenTypes == 2 && bert.positionLimit == 512 && !bert.isCausal)
        #expect(bert.task?.kind == .states && bert.layers.allSatisfy { $0.window == nil && $0.rotary == nil })
        let roberta = try spec(#"{"model_type": "roberta", "architectures": ["RobertaForMaskedLM"]}"#)
        #expect(roberta.vocabulary == 50_265 && roberta.positionLimit == 510 && roberta.isTied)
        #expect(roberta.task?.kind == .maskedToken && roberta.task?.outputBias.first == "lm_head.bias")
        #expect(try spec(#"{"model_type": "camembert", "pad_token_id": 5}"#).positionLimit == 506)
        let modern = try spec(#"{"model_type": "modernbert", "architectures": ["ModernBertForTokenClassification"]}"#)
        #expect(modern.layers.map { $0.window } == (0..<22).map { $0 % 3 == 0 ? nil : 65 })
        #expect(modern.layers.map { $0.rotary?.theta } == (0..<22).map { $0 % 3 == 0 ? 160_000 : 10_000 })
        #expect(modern.layers.map(\.skipsAttentionNorm) == (0..<22).map { $0 == 0 } && !modern.bias.norm)
        #expect(modern.task?.labels == ["LABEL_0", "LABEL_1"] && modern.normEpsilon == 1e-5)
        let euro = try spec(#"{"model_type": "eurobert", "architectures": ["EuroBertForSequenceClassification"]}"#)
        #expect((euro.vocabulary, euro.keyValueHeads, euro.headDim, euro.normEpsilon) == (128_256, 12, 64, 1e-5))
        #expect(euro.task?.poolsLate == true && euro.task?.pooling == .mean && !euro.isTied)
    }

    @Test func theWindowOfModernBERTCountsBothSides() throws {
        for (written, window) in [(128, 65), (8, 5), (5, 3), (1, 1)] {
            let spec = try spec(#"{"model_type": "modernbert", "local_attention": \#(written)}"#)
            #expect(spec.layers[1].window == window)
        }
        let every = try spec(#"{"model_type": "modernbert", "global_attn_every_n_layers": 2, "num_hidden_layers": 4}"#)
        #expect(every.layers.map { $0.window == nil } == [true, false, true, false])
    }

    static let llama =
        #""vocab_size": 9, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2"#

    @Test func aDecoderHasTheHeadThatItsConfigNames() throws {
        func task(_ json: String) throws -> TaskSpec? { try spec("{\(json), \(Self.llama)}").task }
        #expect(try task(#""model_type": "llama", "architectures": ["LlamaForCausalLM"]"#) == nil)
        #expect(try task(#""model_type": "llama", "architectures": ["SomethingOfItsOwn"]"#) == nil)
        #expect(try task(#""model_type": "llama", "architectures": ["LlamaModel"]"#)?.kind == .states)
        let plain = try task(#""model_type": "llama", "architectures": ["LlamaForSequenceClassification"]"#)
        #expect(plain?.pooling == .last() && plain?.output == "score" && plain?.outputBias == [])
        let padded = #""architectures": ["XForSequenceClassification"]"#
        #expect(try task(#""model_type": "olmo2", \#(padded)"#)?.pooling == .last(padding: 1))
        #expect(try task(#""model_type": "olmo2", "pad_token_id": null, \#(padded)"#)?.pooling == .last())
        #expect(try task(#""model_type": "olmo2", "pad_token_id": 7, \#(padded)"#)?.pooling == .last(padding: 7))
        let token = #""architectures": ["XForTokenClassification"]"#
        #expect(try task(#""model_type": "llama", \#(token)"#)?.outputBias == ["score.bias"])
        let labels = try task(#""model_type": "gpt2", \#(token), "id2label": {"1": "b", "0": "a", "2": "c"}"#)
        #expect(labels?.labels == ["a", "b", "c"] && labels?.outputBias == ["classifier.bias"])
        let one = try task(#""model_type": "llama", \#(padded), "num_labels": 1"#)
        #expect(one?.problem == .number && one?.labels.count == 1)
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
        (#"{"model_type": "bert", "position_embedding_type": "relative_key"}"#, "position_embedding_type"),
        (#"{"model_type": "bert", "is_decoder": true}"#, "is_decoder"),
        (#"{"model_type": "bert", "hidden_act": "mish"}"#, "hidden_act"),
        (#"{"model_type": "bert", "type_vocab_size": 0}"#, "type_vocab_size"),
        (#"{"model_type": "bert", "hidden_size": 100, "num_attention_heads": 7}"#, "hidden_size"),
        (#"{"model_type": "bert", "architectures": ["BertForQuestionAnswering"]}"#, "architectures"),
        (#"{"model_type": "bert", "architectures": ["BertLMHeadModel"]}"#, "architectures"),
        (#"{"model_type": "xlm-roberta", "architectures": ["XLMRobertaForCausalLM"]}"#, "architectures"),
        (#"{"model_type": "xlm-roberta", "pad_token_id": null}"#, "pad_token_id"),
        (#"{"model_type": "xlm-roberta", "pad_token_id": 511}"#, "pad_token_id"),
        (#"{"model_type": "modernbert", "classifier_pooling": "max"}"#, "classifier_pooling"),
        (#"{"model_type": "modernbert", "global_attn_every_n_layers": 0}"#, "global_attn_every_n_layers"),
        (#"{"model_type": "modernbert", "layer_types": ["full_attention"]}"#, "layer_types"),
        (#"{"model_type": "eurobert", "classifier_pooling": "late_mean"}"#, "classifier_pooling"),
        (#"{"model_type": "eurobert", "num_key_value_heads": 5}"#, "num_key_value_heads"),
        (
            #"{"model_type": "bert", "architectures": ["BertForTokenClassification"], "id2label": {"0": "a", "2": "b"}}"#,
            "id2label"
        ),
        (
            #"{"model_type": "bert", "architectures": ["BertForTokenClassification"], "num_labels": 2000000000}"#,
            "num_labels"
        ),
        (
            #"{"model_type": "bert", "architectures": ["BertForSequenceClassification"], "problem_type": "ranking"}"#,
            "problem_type"
        ),
        (#"{"model_type": "gpt2", "architectures": ["GPT2ForMaskedLM"]}"#, "architectures"),
    ]

    @Test(arguments: refused) func whatIsNotComputedIsRefusedByItsKey(_ json: String, _ key: String) {
        let error = refusal(json)
        #expect(error?.description.contains("\"\(key)\"") == true || error?.description.contains(".\(key)\"") == true)
    }
}
