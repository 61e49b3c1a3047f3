import Autograd
import TestSupport
import Testing

@Suite struct BufferPoolTests {
    @Test func aBufferIsUsedAgain() {
        let workspace = Workspace(threadCount: 1)
        for _ in 0..<5 { _ = Tensor(zeros: Shape(1000, 10), in: workspace) }
        #expect(workspace.buffers.statistics.allocations == 1)
        #expect(workspace.buffers.statistics.bytesInUse == 0)
    }

    @Test func changingSizesDoNotPileUp() {
        let workspace = Workspace(threadCount: 1)
        for step in 1...60 {
            let tensors = (0..<8).map { Tensor(zeros: Shape(step * 1000 + $0 * 300), in: workspace) }
            withExtendedLifetime(tensors) {}
        }
        let statistics = workspace.buffers.statistics
        #expect(statistics.bytesHeld <= statistics.peakBytesInUse + statistics.peakBytesInUse / 4)
    }
}
