import Datasets
import Diagnostics
import Foundation
import Recipes
import StrictJSON
import TestSupport
import Testing

@Suite struct ShippedRecipesTests {
    static let root = Fixture.root.deletingLastPathComponent().deletingLastPathComponent()
    static let names = [
        "finance/banking77-intents", "finance/banking77-quickstart", "healthcare/mts-dialog-section",
        "finance/banking77-preferences",
    ]

    private func recipe(_ name: String) throws -> Recipe {
        try Recipe(path: Self.root.appending(path: "recipes/\(name).yaml").path)
    }

    @Test(arguments: names)
    func readsWithItsData(_ name: String) throws {
        let recipe = try recipe(name)
        let training = try ConversationSet(
            files: try recipe.data.train.map { try RecordFile(path: $0.resolved) }, mapping: recipe.data.mapping,
            filter: recipe.data.filter, requiringEveryValue: true)
        let evaluate = try #require(recipe.evaluate)
        let held = try ConversationSet(
            files: try evaluate.data.map { try RecordFile(path: $0.resolved) }, mapping: recipe.data.mapping,
            filter: evaluate.filter, requiringEveryValue: true)
        let rows = [(10_003, 1540), (1769, 200), (1201, 214), (1540, 308)][Self.names.firstIndex(of: name)!]
        #expect(training.conversations.count == rows.0 && held.conversations.count == rows.1)
        #expect(
            recipe.base.resolved.hasSuffix("/recipes/finance/../../models/smollm2-135m-instruct/model.gguf")
                || name.hasPrefix("healthcare"))
    }

    /// A run's record can be read as a recipe again.
    @Test(arguments: names)
    func whatIsRecordedOfARecipeIsTheRecipe(_ name: String) throws {
        let recipe = try recipe(name)
        let text = try JSONValue(parsing: recipe.json.serialized()).withoutNulls.serialized()
        let again = try Recipe(bytes: Array(text.utf8), folder: recipe.folder)
        #expect(again == recipe && again.json == recipe.json)
    }

    @Test func theQuickstartListsExactlyItsLabels() throws {
        let recipe = try recipe("finance/banking77-quickstart")
        guard case .texts(let system?, _, _) = recipe.data.mapping.form else {
            Issue.record("no instruction")
            return
        }
        let listed = system.source.split(separator: ":")[1].dropLast().split(separator: ",")
            .map { $0.trimmingCharacters(in: .whitespaces) }
        #expect(listed == recipe.data.filter.conditions[0].values)
    }
}
