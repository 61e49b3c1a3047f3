import StrictJSON
import Testing

@testable import Recipes

/// What the watchdog takes for a loss that goes wrong, and what it does not.
@Suite struct LossWatchdogTests {
    /// The step of the first alarm; the state goes through a checkpoint after every step.
    private func alarm(
        _ steps: Int, after warmup: Int = 0, _ loss: (Int) -> Double
    ) throws -> (Int, LossWatchdog.Reason)? {
        var watchdog = LossWatchdog()
        for step in 1...steps {
            if let reason = watchdog.look(at: loss(step), step: step, after: warmup) { return (step, reason) }
            watchdog = LossWatchdog(try JSONValue(parsing: watchdog.json.serialized()))
        }
        return nil
    }

    @Test func aLossThatGrowsIsFoundOut() throws {
        let grown = try #require(try alarm(1000) { $0 < 400 ? 2 - 0.004 * Double($0) : 3 })
        #expect((400...500).contains(grown.0) && grown.1.found.contains("grew") && grown.1.fix.contains("Lower"))
    }

    @Test func aLossThatDoesNotMoveIsFoundOut() throws {
        let stuck = try #require(try alarm(1000, after: 20) { 0.7 + ($0 % 2 == 0 ? 0.1 : -0.1) })
        #expect(stuck.0 == 120 && stuck.1.found.contains("has not moved") && stuck.1.fix.contains("Raise"))
    }

    private static func falling(_ step: Int) -> Double { 3 / Double(step).squareRoot() }
    private static func toNothing(_ step: Int) -> Double { step < 300 ? 1 - Double(step) / 300 : 0 }
    private static func noisy(_ step: Int) -> Double {
        let noise = Double(step * 7919 % 100) / 100
        return 2 + noise - 0.0005 * Double(step)
    }
    private static func plateau(_ step: Int) -> Double { step < 60 ? 3 : 1 }
    private static func smallAndNoisy(_ step: Int) -> Double {
        let noise = Double(step % 60) / 200
        return step < 100 ? 1 : 0.01 + noise
    }

    @Test func whatIsInOrderIsLeftAlone() throws {
        for loss in [Self.falling, Self.toNothing, Self.noisy, Self.plateau, Self.smallAndNoisy] {
            #expect(try alarm(2000, loss) == nil)
        }
    }
}
