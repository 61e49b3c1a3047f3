import Autograd
import CKernels
import Formats
import NN

/// A parameter of a base as one adapter changes it.
struct AdaptedWeight: Sendable {
    /// Left · right is added, [rows, r] · [r, columns], the scale in the left one.
    var factors: [(left: Tensor, right: Tensor)] = []
    /// Then each row is stretched to this length (DoRA): [rows].
    var magnitudes: Tensor?
    /// Added in the end: [rows, columns].
    var offset: Tensor?
    /// In place of the base's values.
    var replacement: Tensor?
    /// In place of single rows of the base: the row of `values` for each.
    var rows: (places: [Int: Int], values: Tensor)?

    /// Writes rows `range`, of which `base` has the base's values, to `out`.
    func write(
        rows range: Range<Int>, columns: Int, base: UnsafePointer<Float>, to out: UnsafeMutablePointer<Float>,
        _ kernels: ek_kernels
    ) {
        let count = range.count * columns
        out.update(from: replacement.map { $0.pointer + range.lowerBound * columns } ?? base, count: count)
        for (left, right) in factors {
            let rank = left.shape[1]
            kernels.gemm_small(
                range.count, columns, rank, left.pointer + range.lowerBound * rank, rank, 1, right.pointer, columns,
                out, columns, 1)
        }
        if let magnitudes {
            for row in range {
                let start = out + (row - range.lowerBound) * columns
                let length = Float(kernels.squared_norm(start, columns).squareRoot())
                let factor = length > 0 ? magnitudes.pointer[row] / length : 0
                for column in 0..<columns { start[column] *= factor }
            }
        }
        if let offset {
            for index in 0..<count { out[index] += offset.pointer[range.lowerBound * columns + index] }
        }
        if let rows {
            for row in range {
                guard let place = rows.places[row] else { continue }
                (out + (row - range.lowerBound) * columns).update(
                    from: rows.values.pointer + place * columns, count: columns)
            }
        }
    }
}

/// What one adapter changes in a base, by the paths of its parameters, and how much of it counts.
struct WeightUpdate {
    let weight: Float
    private(set) var weights: [String: AdaptedWeight] = [:]

    /// - Parameter adapter: as it is attached to `model`.
    init(_ adapter: AttachedAdapter, of model: any LanguageModel, weight: Float, in workspace: Workspace) {
        self.weight = weight
        let sites = Dictionary(
            (model.linearSites + model.vocabularySites
                + model.parameterSites(adapter.config.targetParameters ?? [])).map { ($0.path, $0) },
            uniquingKeysWith: { first, _ in first })
        for module in adapter.modules {
            guard let site = sites[module.path] else { continue }
            add(module.adapter, at: site, in: workspace)
        }
        for (path, parameter) in adapter.saved { weights[path, default: .init()].replacement = parameter.floats }
        for (path, rows) in adapter.tokens {
            guard let values = rows.values.floats else { continue }
            let places = Dictionary(uniqueKeysWithValues: zip(rows.ids, rows.ids.indices))
            weights[path + ".weight", default: .init()].rows = (places, values)
            // A tied head follows the embedding.
            if model.spec.isTied {
                weights[model.spec.names.head + ".weight", default: .init()].rows = (places, values)
            }
        }
    }

    private mutating func add(_ adapter: LowRankAdapter, at site: AdapterSite, in workspace: Workspace) {
        for part in site.parts {
            for term in adapter.terms {
                weights[part.path, default: .init()].factors.append(site.factors(of: term, part, in: workspace))
            }
            if let magnitude = adapter.magnitude?.floats { weights[part.path]?.magnitudes = magnitude }
        }
        if let bias = adapter.bias?.floats {
            let scaled = Tensor(bias.shape, bias.elements.map { $0 * adapter.scale }, in: workspace)
            weights[site.path + ".bias", default: .init()].offset = scaled
        }
    }
}

extension AdapterSite {
    /// The parameters that the site's factors change: rows of B, and which expert's.
    var parts: [(path: String, rows: Range<Int>, expert: Int)] {
        switch kind {
        case .linear, .embedding: [(path + ".weight", 0..<outputs, 0)]
        case .parameter: parameterParts
        }
    }

    /// B and A of a part, the scale in the first, so that their product has the parameter's shape.
    func factors(
        of term: LowRankTerm, _ part: (path: String, rows: Range<Int>, expert: Int), in workspace: Workspace
    ) -> (left: Tensor, right: Tensor) {
        let (a, b) = (term.a.floats?.elements ?? [], term.b.floats?.elements ?? [])
        let all = term.a.shape[0]
        guard kind != .embedding else {
            // The table is the transpose of what B·A is: its rows are A's columns.
            let left = (0..<inputs * all).map { term.scale * a[$0 % all * inputs + $0 / all] }
            let right = (0..<all * outputs).map { b[$0 % outputs * all + $0 / outputs] }
            return (
                Tensor(Shape(inputs, all), left, in: workspace), Tensor(Shape(all, outputs), right, in: workspace)
            )
        }
        let rank = all / experts
        var left: [Float] = []
        left.reserveCapacity(part.rows.count * rank)
        for row in part.rows {
            for k in 0..<rank { left.append(term.scale * b[row * all + k * experts + part.expert]) }
        }
        let right = Array(a[part.expert * rank * inputs..<(part.expert + 1) * rank * inputs])
        return (
            Tensor(Shape(part.rows.count, rank), left, in: workspace), Tensor(Shape(rank, inputs), right, in: workspace)
        )
    }
}
