import Autograd

/// Keys and values of all layers for a fixed number of rows; which rows make a sequence is the caller's business.
package final class KeyValueCache {
    private var layers: [(keys: Tensor, values: Tensor)]
    private let width: Int
    let capacity: Int
    private let workspace: Workspace

    init(spec: DecoderSpec, capacity: Int, workspace: Workspace) {
        width = spec.keyValueHeads * spec.headDim
        self.capacity = capacity
        self.workspace = workspace
        let shape = Shape(capacity, width)
        layers = spec.layers.map { _ in
            // Rows are read only after they were stored.
            (Tensor(shape, in: workspace) { _ in }, Tensor(shape, in: workspace) { _ in })
        }
    }

    func store(_ k: Tensor, _ v: Tensor, layer: Int, at rows: [Int]) {
        precondition(rows.allSatisfy { $0 >= 0 && $0 < capacity }, "rows beyond the cache's \(capacity)")
        let width = width
        for (from, isKey) in [(k, true), (v, false)] {
            let copy = { (to: UnsafeMutablePointer<Float>) in
                for (index, row) in rows.enumerated() {
                    (to + row * width).update(from: from.pointer + index * width, count: width)
                }
            }
            if isKey {
                layers[layer].keys.update(in: workspace, copy)
            } else {
                layers[layer].values.update(in: workspace, copy)
            }
        }
    }

    func keys(layer: Int) -> UnsafePointer<Float> { layers[layer].keys.pointer }
    func values(layer: Int) -> UnsafePointer<Float> { layers[layer].values.pointer }
}
