import Glibc
import Synchronization

/// Calls `body` once for each index below `count`, on up to `threads` threads, in any order; returns when all are done.
///
/// Threads of its own and not the cooperative pool: the work reads files, and blocks.
func forEachInParallel(_ count: Int, threads: Int, _ body: @escaping @Sendable (Int) -> Void) {
    let work = ParallelWork(count: count, body: body)
    var started: [pthread_t] = []
    for _ in 1..<max(1, min(threads, count)) {
        var thread = pthread_t()
        let argument = Unmanaged.passRetained(work)
        let status = pthread_create(
            &thread, nil,
            { raw in
                if let raw { Unmanaged<ParallelWork>.fromOpaque(raw).takeRetainedValue().run() }
                return nil
            }, argument.toOpaque())
        // Without another thread the present ones do it all.
        guard status == 0 else {
            argument.release()
            break
        }
        started.append(thread)
    }
    work.run()
    for thread in started { pthread_join(thread, nil) }
}

private final class ParallelWork: Sendable {
    private let count: Int
    private let body: @Sendable (Int) -> Void
    private let next = Atomic<Int>(0)

    init(count: Int, body: @escaping @Sendable (Int) -> Void) {
        self.count = count
        self.body = body
    }

    func run() {
        while true {
            let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
            guard index < count else { return }
            body(index)
        }
    }
}
