import Autograd
import Batches
import Diagnostics
import Formats
import Foundation
import Models
import TestSupport
import Testing

/// The names that encoders' tensors have on the hub, and what a folder may hold besides.
@Suite struct EncoderCheckpointTests {
    let workspace = Workspace(threadCount: 1)

    /// The folder of a fixture with its tensors renamed, left out (nil) or joined by others, and its config changed.
    func folder(
        _ name: String, adding: [String: [Int]] = [:], config: ((String) -> String)? = nil,
        renaming: (String) -> String? = { $0 }
    ) throws -> (folder: TemporaryFolder, path: String) {
        let folder = try TemporaryFolder()
        let source = Fixture.path("models/\(name)")
        let text = try String(contentsOfFile: source + "/config.json", encoding: .utf8)
        _ = try folder.write(config?(text) ?? text, to: "model/config.json")
        let tensors = try SafetensorsFile(source + "/model.safetensors").source.tensors.compactMap { tensor in
            renaming(tensor.name).map { OutgoingTensor(tensor, name: $0) }
        }
        let others = adding.map { name, shape in
            OutgoingTensor(name: name, shape: shape, values: Array(repeating: 0.5, count: shape.reduce(1, *)))
        }
        try SafetensorsFile.write(tensors + others, to: folder.path("model/model.safetensors"))
        return (folder, folder.path("model"))
    }

    func expectSame(_ path: String, as name: String) throws {
        let model = try BaseFiles(path).makeModel(in: workspace)
        let report = try final(model)
        #expect(report == (try final(BaseFiles(Fixture.path("models/\(name)")).makeModel(in: workspace))))
    }

    func final(_ model: any LanguageModel) throws -> [Float] {
        let batch = PackedBatch(labelled: [LabelledExample(tokens: [5, 9, 17, 90, 3])])
        let trace = model.trace(batch, paddedLength: nil, in: workspace)
        return trace.final.elements + (trace.logits?.elements ?? [])
    }

    @Test func tensorsWithoutThePrefixOfTheBodyAndWithOlderNames() throws {
        let old = try folder(
            "bert_tokcls",
            renaming: {
                $0.replacing("LayerNorm.weight", with: "LayerNorm.gamma").replacing(
                    "LayerNorm.bias", with: "LayerNorm.beta")
            })
        try expectSame(old.path, as: "bert_tokcls")
        for (name, prefix) in [("bert_tokcls", "bert."), ("modernbert_cls", "model."), ("eurobert_mean", "model.")] {
            let bare = try folder(name, renaming: { $0.hasPrefix(prefix) ? String($0.dropFirst(prefix.count)) : $0 })
            try expectSame(bare.path, as: name)
        }
        let whole = try folder("xlm_roberta_states", renaming: { "roberta." + $0 })
        try expectSame(whole.path, as: "xlm_roberta_states")
    }

    @Test func headsOfOtherTasksAndCopiesAreLeftAlone() throws {
        let bert = try folder(
            "bert_mlm_tanh",
            adding: [
                "bert.pooler.dense.weight": [32, 32], "bert.pooler.dense.bias": [32],
                "cls.seq_relationship.weight": [2, 32], "cls.seq_relationship.bias": [2],
                "bert.embeddings.position_ids": [1, 64], "cls.predictions.decoder.weight": [96, 32],
                "cls.predictions.decoder.bias": [96],
            ])
        try expectSame(bert.path, as: "bert_mlm_tanh")
        let states = try folder(
            "bert_mlm_tanh", config: { $0.replacing("BertForMaskedLM", with: "BertModel") })
        let model = try BaseFiles(states.path).makeModel(in: workspace)
        #expect(model.spec.task?.kind == .states)
        let whole = try final(BaseFiles(Fixture.path("models/bert_mlm_tanh")).makeModel(in: workspace))
        #expect(try final(model) == Array(whole.prefix(5 * 32)))
    }

    @Test func aTensorThatHasNoPlaceOrIsMissingIsRefused() throws {
        for (added, left) in [
            ("bert.encoder.layer.2.output.dense.weight", nil), ("classifier.dense.weight", nil),
            (nil, "classifier.bias"), (nil, "bert.embeddings.LayerNorm.bias"),
        ] as [(String?, String?)] {
            let other = try folder(
                "bert_tokcls", adding: added.map { [$0: [32, 32]] } ?? [:], renaming: { $0 == left ? nil : $0 })
            do {
                _ = try BaseFiles(other.path).makeModel(in: workspace)
                Issue.record("\(added ?? left ?? "") was overlooked")
            } catch let error as Diagnostic {
                #expect(error.code as? ModelsCode == .tensor && error.description.contains(added ?? left ?? ""))
            }
        }
    }
}
