import CKernels

/// A fixed set of threads that share out the indices of a loop.
package final class ThreadPool: @unchecked Sendable {
    /// nil: tasks are not run.
    private let handle: OpaquePointer?
    package let count: Int

    /// A pool that runs nothing, of `count` threads as far as anyone can see.
    init(rehearsing count: Int) {
        handle = nil
        self.count = count
    }

    /// A pool of `count` threads, the caller's included; fewer if the system refuses them.
    init(count: Int) {
        var wanted = max(1, count)
        var pool = ek_pool_create(Int32(wanted))
        while pool == nil, wanted > 1 {
            wanted /= 2
            pool = ek_pool_create(Int32(wanted))
        }
        guard let pool else { preconditionFailure("no memory for a pool of one thread") }
        handle = pool
        self.count = wanted
    }

    deinit { if let handle { ek_pool_destroy(handle) } }

    /// Calls `body(index, worker)` for every index below `count`, in any order, on any thread.
    ///
    /// `body` must compute the same whoever runs it: results then do not depend on the number of threads.
    package func forEach(_ count: Int, _ body: (_ index: Int, _ worker: Int) -> Void) {
        guard let handle else { return }
        if count == 1 { return body(0, 0) }
        withoutActuallyEscaping(body) { body in
            var task = body
            withUnsafeMutablePointer(to: &task) { pointer in
                ek_pool_run(
                    handle, count,
                    { context, index, worker in
                        context!.assumingMemoryBound(to: ((Int, Int) -> Void).self).pointee(index, Int(worker))
                    }, pointer)
            }
        }
    }

    /// Calls `body` with consecutive ranges that cover `0..<count`, about `grain` each; the cut depends on the data
    /// alone.
    package func forEachRange(_ count: Int, grain: Int, _ body: (_ range: Range<Int>, _ worker: Int) -> Void) {
        guard count > 0 else { return }
        let pieces = (count + grain - 1) / grain
        forEach(pieces) { piece, worker in
            body(piece * count / pieces..<(piece + 1) * count / pieces, worker)
        }
    }
}
