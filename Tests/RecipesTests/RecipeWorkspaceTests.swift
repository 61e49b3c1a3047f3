import Autograd
import Diagnostics
import Recipes
import Testing

/// What `train.compute` and `train.provider` mean on a machine.
@Suite struct RecipeWorkspaceTests {
    private func makeWorkspace(_ train: String, on instructionSet: InstructionSet) throws -> Workspace {
        let text = "base: b\ndata: { train: t.csv, completion: \"{a}\" }\ntrain: { \(train) }\nout: o\n"
        return try Recipe(bytes: Array(text.utf8), folder: "").workspace(threads: 1, on: instructionSet)
    }

    @Test(arguments: InstructionSet.allCases.filter(\.isAvailable))
    func autoTakesTheBestOfTheMachine(_ instructionSet: InstructionSet) throws {
        let workspace = try makeWorkspace("seed: 1", on: instructionSet)
        #expect(workspace.precision == (instructionSet == .avx512BF16 ? .bf16 : .f32))
        let best = ProductProvider.best(for: workspace.precision, on: instructionSet)
        #expect(workspace.productProvider == best)
        #expect(best == .openBLAS || ![.generic, .avx2].contains(instructionSet))
    }

    @Test(arguments: InstructionSet.allCases.filter(\.isAvailable))
    func aForcedProviderIsTakenOrRefused(_ instructionSet: InstructionSet) throws {
        for provider in ProductProvider.allCases {
            let train = "provider: \(provider.rawValue)"
            let precisions = Precision.allCases.filter { provider.multiplies(in: $0, on: instructionSet) }
            guard let precision = precisions.last else {
                #expect(throws: Diagnostic.self) { try makeWorkspace(train, on: instructionSet) }
                continue
            }
            let workspace = try makeWorkspace(train, on: instructionSet)
            #expect(workspace.productProvider == provider && workspace.precision == precision)
        }
    }

    @Test(arguments: ["provider: openblas, compute: bf16", "provider: onednn, compute: f32"])
    func aProviderOfAnotherPrecisionIsAConflict(_ train: String) throws {
        let error = #expect(throws: Diagnostic.self) { try makeWorkspace(train, on: .selected) }
        #expect(error?.code.rawValue == RecipeCode.conflict.rawValue)
    }

    @Test func bf16ThatTheProcessorLacksIsRefused() throws {
        let error = #expect(throws: Diagnostic.self) { try makeWorkspace("compute: bf16", on: .generic) }
        #expect(error?.code.rawValue == RecipeCode.machine.rawValue && error?.code.exit == .unavailable)
    }
}
