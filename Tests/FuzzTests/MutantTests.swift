import Diagnostics
import Foundation
import FuzzInputs
import TestSupport
import Testing

/// Files that were changed at random with a fixed seed: each is read or refused, soon, and nothing traps.
/// ESPALIER_MUTANTS says how many in all; 10,000 if it is not set.
@Suite(.serialized) struct MutantTests {
    static let total = ProcessInfo.processInfo.environment["ESPALIER_MUTANTS"].flatMap(Int.init) ?? 10_000

    @Test(arguments: FuzzInput.all) func isReadOrRefusedSoon(_ input: FuzzInput) throws {
        let folder = try TemporaryFolder()
        try input.prepare(folder)
        let seed = try input.seedBytes()
        // The seed itself is good.
        try input.run(seed, in: folder)
        var random = SplitMix(state: UInt64(input.name.utf8.reduce(0) { $0 &* 31 &+ Int($1) } & 0xFFFF))
        var refused = 0
        let count = Self.total / FuzzInput.all.count
        for round in 0..<count {
            let mutant = seed.mutated(head: input.head, &random)
            // 2 s a megabyte where the code is optimised; the rest of the folder is read too.
            let limit = _isDebugAssertConfiguration() ? 20.0 : 2.0
            let seconds = processorSeconds {
                do throws(Diagnostic) {
                    try input.run(mutant, in: folder)
                } catch {
                    refused += 1
                    let expected: [Diagnostics.ExitStatus] = [.badData, .missingInput, .badRecipe]
                    #expect(expected.contains(error.code.exit), "\(round): \(error)")
                }
            }
            #expect(seconds < limit, "mutant \(round) took \(seconds) s")
        }
        #expect(refused > count / 20, "\(refused) of \(count)")
    }
}
