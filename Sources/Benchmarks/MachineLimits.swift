package import Autograd
import CKernels

/// What the processor and the memory reach at most, measured by loops that do nothing else.
package struct MachineLimits: Sendable {
    package let threads: Int
    /// Floating-point operations a second, of multiply-adds on f32.
    package let f32: Double
    /// The same on pairs of bf16; nil where the instruction set has none.
    package let bf16: Double?
    /// Bytes a second, reading.
    package let read: Double
    /// Bytes a second, reading two arrays and writing a third past the caches.
    package let triad: Double

    /// The limit of products of this precision.
    package func operations(_ precision: Precision) -> Double { precision == .bf16 ? bf16 ?? f32 : f32 }

    /// Measures for some tenths of a second, with all threads at once.
    package init(threads: Int, instructionSet: InstructionSet = .selected) {
        let workspace = Workspace(threadCount: threads, instructionSet: instructionSet)
        self.threads = workspace.threads.count
        let set = instructionSet.kernelSet
        f32 = Self.operations(in: workspace) { ek_limit_f32(set, $0) }
        let pairs = Self.operations(in: workspace) { ek_limit_bf16(set, $0) }
        bf16 = pairs > 0 ? pairs : nil
        (read, triad) = Self.bandwidth(in: workspace)
    }

    /// The best of several runs of some milliseconds.
    private static func operations(in workspace: Workspace, _ loop: (Int) -> Double) -> Double {
        let (rounds, threads) = (50_000, workspace.threads)
        let seconds = bestTime(samples: 12) { threads.forEach(threads.count) { _, _ in _ = loop(rounds) } }
        return loop(1) * Double(rounds * threads.count) / seconds
    }

    private static func bandwidth(in workspace: Workspace) -> (read: Double, triad: Double) {
        // Three arrays of 64 MiB: more than the caches of a core's neighbourhood hold.
        let (pieces, piece) = (256, 1 << 16)
        let count = pieces * piece
        let (a, b) = (Tensor(zeros: Shape(count), in: workspace), Tensor(zeros: Shape(count), in: workspace))
        var out = Tensor(zeros: Shape(count), in: workspace)
        let read = bestTime(samples: 5) {
            workspace.threads.forEach(pieces) { index, _ in _ = ek_limit_read(a.pointer + index * piece, piece) }
        }
        var triad = Double.infinity
        out.update(in: workspace) { out in
            triad = bestTime(samples: 5) {
                workspace.threads.forEach(pieces) { index, _ in
                    let start = index * piece
                    ek_limit_triad(out + start, a.pointer + start, b.pointer + start, 0.5, piece)
                }
            }
        }
        return (Double(count * 4) / read, Double(count * 12) / triad)
    }
}

/// Seconds of the fastest of `samples` runs, by the clock on the wall.
func bestTime(samples: Int, _ body: () -> Void) -> Double {
    let clock = ContinuousClock()
    var best = Double.infinity
    for _ in 0..<samples { best = min(best, clock.measure(body) / .seconds(1)) }
    return best
}
