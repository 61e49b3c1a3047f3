/// Rows to optimiser steps: which examples make up each step of an epoch.
package enum StepPacking {
    /// How many of the rows next in line may jump the queue to fill a step up.
    private static let window = 64

    /// Tokens that are computed at once if nothing else is asked for: enough for products to be fast, few enough to
    /// keep the activations small.
    package static let defaultMicroTokens = 1024

    /// The steps of one epoch, each a list of indices into `lengths`; every example is in exactly one step.
    ///
    /// The rows are shuffled and laid into steps in that order. When the next row no longer fits, the longest of the
    /// next 64 that does goes in instead; the row that was passed over opens the next step. So steps are full, nearly as
    /// random as without, and no longer than shuffled rows would make them.
    ///
    /// - Parameters:
    ///   - lengths: the tokens of every example before any prefix is shared.
    ///   - batchTokens: the most tokens in a step; a longer example gets a step of its own.
    package static func steps(lengths: [Int], batchTokens: Int, seed: UInt64, epoch: Int) -> [[Int]] {
        var rowRandom = KeyedRandom(seed: seed, purpose: .rowOrder, epoch: UInt64(epoch))
        let order = rowRandom.permutation(lengths.count)
        var steps: [[Int]] = []
        var queue: [Int] = []
        var next = 0
        while true {
            while queue.count < window, next < order.count {
                queue.append(order[next])
                next += 1
            }
            guard let first = queue.first else { break }
            queue.removeFirst()
            var step = [first]
            var room = batchTokens - lengths[first]
            while let place = bestFit(queue, lengths, room) {
                let row = queue.remove(at: place)
                step.append(row)
                room -= lengths[row]
                if next < order.count {
                    queue.append(order[next])
                    next += 1
                }
            }
            steps.append(step)
        }
        var stepRandom = KeyedRandom(seed: seed, purpose: .stepOrder, epoch: UInt64(epoch))
        return stepRandom.permutation(steps.count).map { steps[$0] }
    }

    /// The place in the queue of the row to take: the first if it fits, else the longest that fits.
    private static func bestFit(_ queue: [Int], _ lengths: [Int], _ room: Int) -> Int? {
        guard let first = queue.first else { return nil }
        if lengths[first] <= room { return 0 }
        var best: Int?
        for (place, row) in queue.enumerated() where lengths[row] <= room {
            if best.map({ lengths[queue[$0]] < lengths[row] }) ?? true { best = place }
        }
        return best
    }

    /// The step cut into `count` parts of about equally many tokens, in order; none of them is empty.
    package static func parts(of step: [Int], lengths: [Int], count: Int) -> [ArraySlice<Int>] {
        precondition((1...max(1, step.count)).contains(count), "\(step.count) rows in \(count) parts")
        let total = step.reduce(0) { $0 + lengths[$1] }
        var parts: [ArraySlice<Int>] = []
        var (start, tokens) = (0, 0)
        for (place, row) in step.enumerated() {
            tokens += lengths[row]
            let isFull = tokens * count >= total * (parts.count + 1)
            let mustEnd = step.count - place - 1 == count - parts.count - 1
            guard parts.count < count - 1, isFull || mustEnd else { continue }
            parts.append(step[start...place])
            start = place + 1
        }
        if start < step.count { parts.append(step[start...]) }
        return parts
    }

    /// The step cut into parts of at most `tokens` tokens each (a longer example is a part of its own), in order.
    package static func parts(of step: [Int], lengths: [Int], tokens: Int) -> [[Int]] {
        var parts: [[Int]] = []
        var room = 0
        for row in step {
            if parts.isEmpty || lengths[row] > room {
                parts.append([])
                room = tokens
            }
            parts[parts.count - 1].append(row)
            room -= lengths[row]
        }
        return parts
    }
}
