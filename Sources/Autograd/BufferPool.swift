import Glibc
import Synchronization

/// Buffers that are used again: a training step asks for the same sizes every time, and fresh pages cost more than the
/// arithmetic on them.
///
/// Sizes are rounded up to four classes an octave; a request also takes a free buffer of the next class before a new one
/// is allocated, but none that is much larger, since what is kept from layer to layer would then hold memory for
/// nothing. Steps of changing sizes would leave buffers of every size behind: before a new buffer is allocated, free
/// ones are given back, largest first, until the pool would hold no more than a quarter above the most that was ever in
/// use.
package final class BufferPool: Sendable {
    /// A piece of memory, with arbitrary contents.
    struct Buffer: @unchecked Sendable {
        /// 64-byte-aligned.
        let base: UnsafeMutableRawPointer
        fileprivate let sizeClass: Int
        fileprivate let isMapped: Bool
        /// The most bytes that were ever asked of it: the pages behind them are never touched.
        fileprivate var usedBytes: Int
    }

    private struct State {
        var free: [[Buffer]] = Array(repeating: [], count: 256)
        var statistics = Statistics()

        /// Gives free buffers back to the system, largest first, until `bytes` more fit under the limit.
        mutating func release(after bytes: Int) {
            for sizeClass in free.indices.reversed() {
                while statistics.bytesHeld + bytes > statistics.limit, let buffer = free[sizeClass].popLast() {
                    buffer.deallocate()
                    statistics.bytesHeld -= BufferPool.bytes(inClass: sizeClass)
                    statistics.residentBytes -= buffer.usedBytes
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
        /// Bytes in all buffers that were asked for at some time, which is what takes memory, and the most so far.
        package var residentBytes = 0
        package var peakResidentBytes = 0
    }

    private let state = Mutex(State())

    package init() {}

    deinit {
        for list in state.withLock({ $0.free }) {
            for buffer in list { buffer.deallocate() }
        }
    }

    package var statistics: Statistics { state.withLock { $0.statistics } }

    /// A buffer of at least `byteCount` bytes.
    func take(_ byteCount: Int) -> Buffer {
        let wanted = Self.sizeClass(of: byteCount)
        return state.withLock { state in
            for candidate in wanted...(wanted + 1) {
                guard var buffer = state.free[candidate].popLast() else { continue }
                state.statistics.use(Self.bytes(inClass: candidate), resident: max(0, byteCount - buffer.usedBytes))
                buffer.usedBytes = max(buffer.usedBytes, byteCount)
                return buffer
            }
            let bytes = Self.bytes(inClass: wanted)
            state.release(after: bytes)
            state.statistics.allocations += 1
            state.statistics.bytesHeld += bytes
            state.statistics.use(bytes, resident: byteCount)
            return Buffer(sizeClass: wanted, usedBytes: byteCount)
        }
    }

    func giveBack(_ buffer: Buffer) {
        state.withLock { state in
            state.free[buffer.sizeClass].append(buffer)
            state.statistics.bytesInUse -= Self.bytes(inClass: buffer.sizeClass)
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

extension BufferPool.Buffer {
    /// From this size on a buffer is a mapping of its own: given back, its pages return to the system at once.
    private static let mappedBytes = 256 << 10

    fileprivate init(sizeClass: Int, usedBytes: Int) {
        let bytes = BufferPool.bytes(inClass: sizeClass)
        self.sizeClass = sizeClass
        self.usedBytes = usedBytes
        if bytes >= Self.mappedBytes,
            let mapped = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0),
            mapped != MAP_FAILED
        {
            base = mapped
            isMapped = true
        } else {
            base = .allocate(byteCount: bytes, alignment: 64)
            isMapped = false
        }
    }

    fileprivate func deallocate() {
        if isMapped { munmap(base, BufferPool.bytes(inClass: sizeClass)) } else { base.deallocate() }
    }
}

extension BufferPool.Statistics {
    fileprivate var limit: Int { peakBytesInUse + peakBytesInUse / 4 }

    fileprivate mutating func use(_ bytes: Int, resident: Int) {
        bytesInUse += bytes
        peakBytesInUse = max(peakBytesInUse, bytesInUse)
        residentBytes += resident
        peakResidentBytes = max(peakResidentBytes, residentBytes)
    }
}
