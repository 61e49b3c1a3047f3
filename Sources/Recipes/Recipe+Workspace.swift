package import Autograd
package import Diagnostics

extension Recipe {
    /// The workspace that the recipe is computed in: `auto` takes bf16 where the processor has it, and the provider that
    /// is best there.
    ///
    /// - Throws: `RecipeCode.conflict` if precision and provider do not go together, `RecipeCode.machine` if this machine
    ///   has not got what the recipe asks for.
    package func workspace(
        threads: Int, on instructionSet: InstructionSet = .selected
    ) throws(Diagnostic) -> Workspace {
        let provider = ProductProvider(rawValue: train.provider.rawValue)
        let precision = try precision(of: provider)
        let workspace = Workspace(
            threadCount: threads, instructionSet: instructionSet, precision: precision, provider: provider)
        if train.compute == .bf16, workspace.precision != .bf16 {
            throw Diagnostic(
                RecipeCode.machine, at: "train.compute", found: "bf16",
                expected: "f32, because kernels for \(instructionSet.rawValue) have no bf16", fix: "Use auto or f32")
        }
        if let provider, workspace.productProvider != provider {
            throw Diagnostic(
                RecipeCode.machine, at: "train.provider", found: provider.rawValue,
                expected: "\(workspace.productProvider.rawValue): \(Self.lack(of: provider, on: instructionSet))",
                fix: "Use auto; espalier doctor shows what this machine has")
        }
        return workspace
    }

    /// What `compute` means with a provider that has one precision only.
    private func precision(of provider: ProductProvider?) throws(Diagnostic) -> Precision {
        switch (provider, train.compute) {
        case (.openBLAS, .bf16), (.oneDNN, .f32):
            throw Diagnostic(
                RecipeCode.conflict, at: "train.provider",
                found: "\(train.provider.rawValue) with train.compute: \(train.compute.rawValue)",
                expected: "train.compute: \(provider == .openBLAS ? "f32" : "bf16"), or auto", fix: "Change one of them"
            )
        case (.openBLAS, _), (_, .f32): return .f32
        default: return .bf16
        }
    }

    private static func lack(of provider: ProductProvider, on instructionSet: InstructionSet) -> String {
        if provider == .oneDNN, instructionSet == .avx512BF16 { return ProductProvider.oneDNNStatus }
        return "there are no products of that kind for \(instructionSet.rawValue)"
    }
}
