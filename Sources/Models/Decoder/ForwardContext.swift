import Autograd
import Batches
import Glibc

/// What all layers of one forward pass share: who sees whom, the rotary angles, the dropout key, the cache.
struct ForwardContext {
    let plan: AttentionPlan
    /// Of every row the row of the table of positions, where positions are learned.
    let positionRows: [Int32]
    /// Of every row the part of the text that it belongs to.
    let tokenTypes: [Int32]
    let dropoutKey: UInt64?
    /// Whether layers keep only their input for the backward pass.
    let recomputesLayers: Bool
    let cache: KeyValueCache?
    /// The rows of the cache that the new keys and values go to.
    let cacheRows: [Int]
    private let tables: [RotaryTable?]

    /// For a packed batch.
    ///
    /// - Parameter paddedLength: what rotary embeddings that depend on the length go by; nil: each sequence's length.
    init(
        batch: PackedBatch, spec: DecoderSpec, workspace: Workspace, dropoutKey: UInt64?,
        recomputesLayers: Bool = false, cache: KeyValueCache? = nil, paddedLength: Int? = nil
    ) {
        let segments = batch.segments.map {
            AttentionPlan.Segment(start: $0.start, count: $0.count, parent: $0.parent)
        }
        plan = AttentionPlan(segments: segments, isCausal: spec.isCausal)
        positionRows = spec.positionRows(of: batch)
        tokenTypes = batch.tokenTypes ?? Array(repeating: 0, count: batch.tokens.count)
        self.dropoutKey = dropoutKey
        self.recomputesLayers = recomputesLayers
        self.cache = cache
        cacheRows = cache == nil ? [] : Array(batch.tokens.indices)
        let lengths = paddedLength.map { length in batch.tokens.map { _ in length } }
        tables = Self.tables(
            positions: batch.positions, lengths: lengths ?? Self.treeLengths(batch), spec: spec, workspace: workspace)
    }

    /// For new tokens of sequences whose past is in `cache`.
    init(
        plan: AttentionPlan, positions: [Int32], cache: KeyValueCache, cacheRows: [Int], spec: DecoderSpec,
        workspace: Workspace
    ) {
        self.plan = plan
        positionRows = positions
        tokenTypes = Array(repeating: 0, count: positions.count)
        dropoutKey = nil
        recomputesLayers = false
        self.cache = cache
        self.cacheRows = cacheRows
        tables = Self.tables(
            positions: positions, lengths: positions.map { Int($0) + 1 }, spec: spec, workspace: workspace)
    }

    /// nil for a layer without positions.
    func rotaryTable(layer: Int) -> RotaryTable? { tables[layer] }

    /// For every row the longest position of its tree plus one: the length that dynamic scaling goes by.
    private static func treeLengths(_ batch: PackedBatch) -> [Int] {
        var root: [Int] = []
        var length: [Int: Int] = [:]
        for (index, segment) in batch.segments.enumerated() {
            root.append(segment.parent.map { root[$0] } ?? index)
            let end = Int(batch.positions[segment.start + segment.count - 1]) + 1
            length[root[index]] = max(length[root[index]] ?? 0, end)
        }
        return zip(batch.segments, root).flatMap { Array(repeating: length[$1] ?? 0, count: $0.count) }
    }

    /// One table for each distinct rotary spec, shared by its layers.
    private static func tables(
        positions: [Int32], lengths: [Int], spec: DecoderSpec, workspace: Workspace
    ) -> [RotaryTable?] {
        var made: [(spec: RotarySpec, table: RotaryTable)] = []
        return spec.layers.map { layer in
            guard let rotary = layer.rotary else { return nil }
            if let known = made.first(where: { $0.spec == rotary }) { return known.table }
            let table = RotaryTable(rotary, positions: positions, lengths: lengths, in: workspace)
            made.append((rotary, table))
            return table
        }
    }
}

extension RotaryTable {
    /// cos and sin of position · frequency for every row.
    fileprivate init(_ spec: RotarySpec, positions: [Int32], lengths: [Int], in workspace: Workspace) {
        let half = spec.rotatedDim / 2
        var frequencies: [Int: [Float]] = [:]
        let usedLengths = spec.dependsOnLength ? lengths : Array(repeating: 0, count: positions.count)
        for length in Set(usedLengths) { frequencies[length] = spec.frequencies(length: length) }
        let amplitude = spec.amplitude
        var sines = Tensor(Shape(positions.count, half), in: workspace) { _ in }  // written with the cosines
        var cosines = Tensor(Shape(positions.count, half), in: workspace) { _ in }
        let perRow = usedLengths.map { frequencies[$0] ?? [] }
        sines.update(in: workspace) { sines in
            cosines.update(in: workspace) { cosines in
                workspace.threads.forEachRange(positions.count, grain: 64) { rows, _ in
                    for row in rows {
                        for (pair, frequency) in perRow[row].enumerated() {
                            // The product in f32, as the reference has it.
                            let angle = Double(Float(positions[row]) * frequency)
                            cosines[row * half + pair] = Float(cos(angle) * amplitude)
                            sines[row * half + pair] = Float(sin(angle) * amplitude)
                        }
                    }
                }
            }
        }
        self.init(cosines: cosines, sines: sines, pairing: spec.pairing)
    }
}
