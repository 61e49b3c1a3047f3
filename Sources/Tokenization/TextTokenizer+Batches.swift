import Dispatch
import Foundation
import Synchronization

extension TextTokenizer {
    /// The ids of each text, computed by several threads; the result does not depend on how many.
    ///
    /// - Parameter threads: nil for one per processor.
    package func encodeAll(
        _ texts: [String], addingSpecialTokens: Bool, recognizingSpecialTokens: Bool, threads: Int? = nil
    ) -> [[Int32]] {
        let parts = Self.parts(of: texts)
        let results = Mutex<[[[Int32]]]>(Array(repeating: [], count: parts.count))
        let next = Atomic<Int>(0)
        let workers = min(max(1, threads ?? ProcessInfo.processInfo.activeProcessorCount), parts.count)
        DispatchQueue.concurrentPerform(iterations: workers) { _ in
            while true {
                let part = next.wrappingAdd(1, ordering: .relaxed).oldValue
                guard part < parts.count else { return }
                let ids = texts[parts[part]].map {
                    encode(
                        $0, addingSpecialTokens: addingSpecialTokens, recognizingSpecialTokens: recognizingSpecialTokens
                    )
                }
                results.withLock { $0[part] = ids }
            }
        }
        return results.withLock { $0.flatMap { $0 } }
    }

    /// Ranges of about a quarter megabyte of text: small enough to share out, large enough not to wait for each other.
    private static func parts(of texts: [String]) -> [Range<Int>] {
        var parts: [Range<Int>] = []
        var start = 0
        var bytes = 0
        for (index, text) in texts.enumerated() {
            bytes += text.utf8.count + 64
            if bytes >= 1 << 18 || index == texts.count - 1 {
                parts.append(start..<index + 1)
                (start, bytes) = (index + 1, 0)
            }
        }
        return parts
    }
}
