import Diagnostics
import Formats
import Foundation
import StrictJSON
import TestSupport
import Testing

@Suite struct AdapterTests {
    static let variants = [
        "bias_lora_only", "dora", "dora_gpt2_conv1d", "embedding", "layers_to_transform", "lora_bias",
        "mixtral_experts", "modules_to_save", "modules_to_save_score", "patterns", "patterns_rslora",
        "regex_and_exclude", "rslora",
    ]

    @Test(arguments: variants) func ranksAndScalingsAreThoseOfPEFT(_ name: String) throws {
        let adapter = try PEFTAdapter(Fixture.path("variants/\(name)/adapter"))
        let meta = try JSONSerialization.jsonObject(with: Fixture.data("variants/\(name)/meta.json"))
        let expected = try #require((meta as? [String: Any])?["modules"] as? [String: [String: Any]])
        #expect(adapter.modules.count == expected.count)
        for (path, values) in expected {
            let module = try #require(adapter.module(String(path.dropFirst("base_model.model.".count))), "\(path)")
            #expect(Double(module.rank) == (values["r"] as? NSNumber)?.doubleValue, "\(path)")
            #expect(module.alpha == (values["alpha"] as? NSNumber)?.doubleValue, "\(path)")
            let scaling = try #require((values["scaling"] as? NSNumber)?.doubleValue)
            #expect(abs(module.scaling - scaling) <= 1e-15 * scaling, "\(path)")
            #expect(module.b.shape[1] == module.a.shape[0])
        }
        let placed = adapter.modules.reduce(adapter.fullTensors.count) {
            $0 + 2 + ($1.bias == nil ? 0 : 1) + ($1.magnitude == nil ? 0 : 1)
        }
        #expect(placed == adapter.tensors.tensors.count)
    }

    static let folders =
        ["models/llama_gqa/lora", "models/llama_bf16/lora", "models/llama_tied_mqa/lora", "models/qwen2_sharded/lora"]
        + variants.map { "variants/\($0)/adapter" }
        + ["adapter_init", "adapter_raw", "adapter_converted"].map { "variants/pissa/\($0)" }

    /// The fixtures' JSON has one space a level where PEFT writes two; everything else is compared byte for byte.
    @Test(arguments: folders) func anAdapterIsWrittenAsPEFTWritesIt(_ name: String) throws {
        let scratch = try ScratchFolder()
        let original = try PEFTAdapter(Fixture.path(name))
        let out = scratch.file("copy")
        try PEFTAdapter.write(
            config: original.config, tensors: original.tensors.tensors.map { OutgoingTensor($0) },
            others: [("README.md", Array("card".utf8))], to: out)
        let text = try String(contentsOfFile: out + "/adapter_config.json", encoding: .utf8)
        let reference = String(decoding: try Fixture.data(name + "/adapter_config.json"), as: UTF8.self)
        let halved = text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            String(repeating: " ", count: line.prefix { $0 == " " }.count / 2) + line.drop { $0 == " " }
        }
        // PEFT keeps exclusions and targets as sets; the parameters of experts keep their order.
        #expect(halved.joined(separator: "\n") == reference.trimmingCharacters(in: .newlines))
        let weights = try Data(contentsOf: URL(fileURLWithPath: out + "/adapter_model.safetensors"))
        #expect(weights == (try Fixture.data(name + "/adapter_model.safetensors")))
        #expect(try String(contentsOfFile: out + "/README.md", encoding: .utf8) == "card")
        #expect(try scratch.names() == ["copy"])
    }

    @Test func numbersAreSpeltAsPythonSpellsThem() throws {
        var config = PEFTConfig()
        config.alpha = 16
        config.dropout = 0
        config.targetModules = .names(["v_proj", "q_proj"])
        #expect(config.serialized.contains("\n  \"lora_alpha\": 16,\n"))
        #expect(config.serialized.contains("\n  \"lora_dropout\": 0.0,\n"))
        #expect(config.serialized.contains("\"target_modules\": [\n    \"q_proj\",\n    \"v_proj\"\n  ]"))
        config.alpha = 2.5
        config.dropout = 1e-5
        #expect(config.serialized.contains("\"lora_alpha\": 2.5,"))
        #expect(config.serialized.contains("\"lora_dropout\": 1e-05,"))
    }

    @Test func patternsKeepTheirOrder() throws {
        let text = #"""
            {"peft_type":"LORA","r":4,"lora_alpha":8,"target_modules":["q_proj"],
             "rank_pattern":{"z.*":2,"a":3},"alpha_pattern":{"q_proj":1.5,"layers.0.q_proj":9}}
            """#
        let config = try PEFTConfig(JSONValue(parsing: text))
        let again = try PEFTConfig(JSONValue(parsing: config.serialized))
        for config in [config, again] {
            #expect(config.rankPattern.map(\.pattern) == ["z.*", "a"])
            #expect(config.alphaPattern.map(\.pattern) == ["q_proj", "layers.0.q_proj"])
            let rules = try PEFTRules(config)
            #expect(try rules.alpha(ofModule: "model.layers.0.q_proj") == 1.5)
            #expect(try rules.rank(ofModule: "model.layers.0.q_proj") == 4)
            #expect(try rules.rank(ofModule: "model.a") == 3)
            #expect(try rules.rank(ofModule: "model.aa") == 4)
        }
    }

    static let matching: [(config: String, path: String, targeted: Bool)] = [
        (#""target_modules":["q_proj"]"#, "model.layers.0.self_attn.q_proj", true),
        (#""target_modules":["q_proj"]"#, "q_proj", true),
        (#""target_modules":["q_proj"]"#, "model.layers.0.self_attn.xq_proj", false),
        (#""target_modules":["self_attn.q_proj"]"#, "model.layers.0.self_attn.q_proj", true),
        (#""target_modules":["self.attn"]"#, "model.self_attn", false),
        (#""target_modules":".*q_proj""#, "model.layers.0.self_attn.q_proj", true),
        (#""target_modules":"q_proj""#, "model.layers.0.self_attn.q_proj", false),
        (#""target_modules":".*q""#, "model.q_proj", false),
        (#""target_modules":"all-linear""#, "model.q_proj", true),
        (#""target_modules":["q_proj"],"exclude_modules":["layers.1.q_proj"]"#, "model.layers.1.q_proj", false),
        (#""target_modules":["q_proj"],"exclude_modules":["layers.1.q_proj"]"#, "model.layers.11.q_proj", true),
        (#""target_modules":["q_proj"],"exclude_modules":".*\\.1\\..*""#, "model.layers.1.q_proj", false),
        (#""target_modules":["head"],"modules_to_save":["head"]"#, "model.head", false),
        (#""target_modules":["dense"],"modules_to_save":["head"]"#, "model.head.dense", false),
        (#""target_modules":["dense"],"modules_to_save":["hea"]"#, "model.head.dense", true),
        (#""target_modules":["q"],"layers_to_transform":[0,2]"#, "model.layers.2.q", true),
        (#""target_modules":["q"],"layers_to_transform":[0,2]"#, "model.layers.1.q", false),
        (#""target_modules":["q"],"layers_to_transform":1"#, "model.layers.1.attn.q", true),
        (#""target_modules":["q"],"layers_to_transform":[1],"layers_pattern":"blocks""#, "model.layers.1.q", false),
        (
            #""target_modules":["q"],"layers_to_transform":[1],"layers_pattern":["h","layers"]"#, "model.layers.1.q",
            true
        ),
        (#""target_modules":["q"],"layers_to_transform":[1]"#, "model.q", false),
        (#""target_modules":["q"],"layers_to_transform":[]"#, "model.layers.7.q", true),
        (#""target_modules":["é"]"#, "model.e\u{301}", false),
    ]

    @Test(arguments: matching.indices) func targetsAreChosenByPEFTsRules(_ index: Int) throws {
        let (members, path, targeted) = Self.matching[index]
        let text = #"{"peft_type":"LORA","r":4,"lora_alpha":8,\#(members)}"#
        let rules = try PEFTRules(PEFTConfig(JSONValue(parsing: text)))
        #expect(try rules.targets(module: path) == targeted, "\(members) \(path)")
    }

    static let badMembers: [(rule: String, member: String)] = [
        ("r 0", #""r":0"#), ("r -1", #""r":-1"#), ("r 1e9", #""r":1000000000"#), ("r float", #""r":4.5"#),
        ("r 4.0", #""r":4.0"#), ("r text", #""r":"4""#), ("r null", #""r":null"#), ("r missing", #""x":null"#),
        ("alpha NaN", #""lora_alpha":NaN"#), ("alpha 0", #""lora_alpha":0"#), ("alpha -8", #""lora_alpha":-8"#),
        ("alpha text", #""lora_alpha":"8""#), ("alpha 1e400", #""lora_alpha":1e400"#),
        ("dropout 1", #""lora_dropout":1"#), ("dropout -0.1", #""lora_dropout":-0.1"#),
        ("no targets", #""target_modules":[]"#), ("null targets", #""target_modules":null"#),
        ("empty target", #""target_modules":"""#), ("empty name", #""target_modules":[""]"#),
        ("number as target", #""target_modules":[3]"#), ("bad regex", #""target_modules":"(q""#),
        ("bad exclusion", #""exclude_modules":"[a""#),
        ("long regex", #""target_modules":""# + String(repeating: "a", count: 9000) + "\""),
        ("bias yes", #""bias":"yes""#), ("bias true", #""bias":true"#), ("peft_type", #""peft_type":"IA3""#),
        ("peft_type null", #""peft_type":null"#), ("dora text", #""use_dora":"true""#),
        ("rslora number", #""use_rslora":1"#), ("rank pattern 0", #""rank_pattern":{"q":0}"#),
        ("rank pattern float", #""rank_pattern":{"q":1.5}"#), ("rank pattern list", #""rank_pattern":[]"#),
        ("rank pattern regex", #""rank_pattern":{"(q":4}"#), ("alpha pattern 0", #""alpha_pattern":{"q":0}"#),
        ("alpha pattern text", #""alpha_pattern":{"q":"1"}"#), ("layers text", #""layers_to_transform":"0""#),
        ("layers negative", #""layers_to_transform":[-1]"#), ("layers float", #""layers_to_transform":[0.5]"#),
        ("layers pattern", #""layers_pattern":"(""#), ("saved text", #""modules_to_save":"head""#),
        ("tokens negative", #""trainable_token_indices":[-1]"#), ("init list", #""init_lora_weights":[]"#),
        ("unknown key", #""frobnicate":1"#), ("unknown key true", #""use_frobnication":true"#),
        ("qalora", #""use_qalora":true"#), ("group size", #""qalora_group_size":32"#),
        ("replication", #""layer_replication":[[0,4],[2,6]]"#), ("loftq", #""loftq_config":{"loftq_bits":4}"#),
        ("corda", #""corda_config":{"a":1}"#), ("alora", #""alora_invocation_tokens":[1,2]"#),
    ]

    @Test(arguments: badMembers.indices) func aWrongValueIsRefusedByItsKey(_ index: Int) throws {
        let (rule, member) = Self.badMembers[index]
        var members = [#""peft_type":"LORA""#, #""r":4"#, #""lora_alpha":8"#, #""target_modules":["q"]"#]
        let key = member.prefix { $0 != ":" }
        members.removeAll { $0.hasPrefix(key) || rule == "r missing" && $0 == #""r":4"# }
        let scratch = try ScratchFolder()
        let path = try scratch.write("{" + (members + [member]).joined(separator: ",") + "}", as: "adapter_config.json")
        let error = try failure { () throws(Diagnostic) in _ = try PEFTConfig(contentsOf: path) }
        #expect(error.code.exit == .badData && error.file == path, "\(rule): \(error)")
    }

    @Test func unknownKeysThatSayNothingAreKept() throws {
        let text = #"""
            {"peft_type":"LORA","r":4,"lora_alpha":8,"target_modules":["q"],"new_a":null,"new_b":false,"new_c":[],
             "new_d":{},"new_e":"","qalora_group_size":16,"auto_mapping":{"base_model_class":"X"}}
            """#
        let config = try PEFTConfig(JSONValue(parsing: text))
        let written = try #require(config.json.object)
        for key in ["new_a", "new_b", "new_c", "new_d", "new_e"] { #expect(written[key] != nil, "\(key)") }
        #expect(written["auto_mapping"]?["base_model_class"] == .string("X"))
    }

    @Test func anExpressionThatNeverEndsIsStopped() throws {
        let rules = try PEFTRules(
            PEFTConfig(JSONValue(parsing: #"{"peft_type":"LORA","r":4,"lora_alpha":8,"target_modules":"(a+)+$"}"#)))
        let path = String(repeating: "a", count: 60) + "b"
        #expect(code { () throws(Diagnostic) in _ = try rules.targets(module: path) } == "E-ADAPTER-PATTERN")
    }
}
