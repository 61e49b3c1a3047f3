import Synchronization

/// What one thread needs while it encodes: a matcher, the cache of words, and scratch space.
final class Workspace: @unchecked Sendable {
    // Unchecked: a workspace is in one place at a time, in its pool or with the call that took it out.
    let matcher = PatternMatcher()
    var words = WordCache()
    var symbols: [Int32] = []
}

/// Workspaces to take out for the time of a call, so that the caches outlive it and threads do not share them.
final class WorkspacePool: Sendable {
    private let free = Mutex<[Workspace]>([])
    /// More are made when more threads encode at once, but not kept.
    private let capacity = 64

    func withWorkspace<R>(_ body: (Workspace) -> R) -> R {
        let workspace = free.withLock { $0.popLast() } ?? Workspace()
        defer {
            free.withLock { if $0.count < capacity { $0.append(workspace) } }
        }
        return body(workspace)
    }
}
