import Synchronization

/// Buffers that are used again: a training step asks for the same sizes every time, and fresh pages cost more than the
/// arithmetic on them.
///
/// Sizes are rounded up to four classes an octave; a request also takes a free buffer of the next classes, up to twice
/// its size, before a new one is allocated. Steps of changing sizes would leave buffers of every size behind: before a
/// new buffer is allocated, free ones are given back, largest first, until the pool would hold no more than a quarter
/// above the most that was ever in use.
package final class BufferPool: Sendable {
    private struct State {
        var free: [[UInt]] = Array(repeating: [], count: 256)
        var statistics = Statistics()

        /// Gives free buffers back to the system, largest first, until `bytes` more fit under `limit`.
        mutating func release(toHoldAtMost limit: Int, after bytes: Int) {
            for sizeClass in free.indices.reversed() {
                while statistics.bytesHeld + bytes > limit, let address = free[sizeClass].popLast() {
                    UnsafeMutableRawPointer(bitPattern: address)?.deallocate()
                    statistics.bytesHeld -= BufferPool.bytes(inClass: sizeClass)
                }
            }
        }
    }

    /// What the pool has done so far.
    package struct Statistics: Sendable, Equatable {
        /// Buffers that had to be allocated.
        package var allocations = 0
        /// Bytes in buffers that are in use, and the most that ever were.
        package var bytesInUse = 0
        package var peakBytesInUse = 0
        /// Bytes in all buffers, free ones included.
        package var bytesHeld = 0
    }

    private let state = Mutex(State())

    package init() {}

    deinit {
        for list in state.withLock({ $0.free }) {
            for address in list { UnsafeMutableRawPointer(bitPattern: address)?.deallocate() }
        }
    }

    package var statistics: Statistics { state.withLock { $0.statistics } }

    /// A buffer of at least `byteCount` bytes, 64-byte-aligned, with arbitrary contents, and its size class.
    func take(_ byteCount: Int) -> (base: UnsafeMutableRawPointer, sizeClass: Int) {
        let wanted = Self.sizeClass(of: byteCount)
        let found: (UInt, Int)? = state.withLock { state in
            for candidate in wanted...(wanted + 4) {
                guard let address = state.free[candidate].popLast() else { continue }
                state.statistics.use(Self.bytes(inClass: candidate))
                return (address, candidate)
            }
            let bytes = Self.bytes(inClass: wanted)
            state.release(toHoldAtMost: state.statistics.limit, after: bytes)
            state.statistics.allocations += 1
            state.statistics.bytesHeld += bytes
            state.statistics.use(bytes)
            return nil
        }
        if let (address, candidate) = found, let base = UnsafeMutableRawPointer(bitPattern: address) {
            return (base, candidate)
        }
        return (.allocate(byteCount: Self.bytes(inClass: wanted), alignment: 64), wanted)
    }

    func giveBack(_ base: UnsafeMutableRawPointer, sizeClass: Int) {
        state.withLock { state in
            state.free[sizeClass].append(UInt(bitPattern: base))
            state.statistics.bytesInUse -= Self.bytes(inClass: sizeClass)
        }
    }

    /// Classes 4e ... 4e+3 hold 1, 1.25, 1.5 and 1.75 times 2^(e+8) bytes.
    private static func sizeClass(of byteCount: Int) -> Int {
        var sizeClass = 0
        if byteCount > 256 {
            let exponent = Int.bitWidth - 1 - (byteCount - 1).leadingZeroBitCount
            sizeClass = max(0, (exponent - 8) * 4)
        }
        while bytes(inClass: sizeClass) < byteCount { sizeClass += 1 }
        return sizeClass
    }

    fileprivate static func bytes(inClass sizeClass: Int) -> Int { (4 + sizeClass & 3) << (6 + sizeClass >> 2) }
}

extension BufferPool.Statistics {
    fileprivate var limit: Int { peakBytesInUse + peakBytesInUse / 4 }

    fileprivate mutating func use(_ bytes: Int) {
        bytesInUse += bytes
        peakBytesInUse = max(peakBytesInUse, bytesInUse)
    }
}
