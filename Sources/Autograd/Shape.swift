/// The extents of a tensor of rank 1 to 4, stored inline so that making a tensor does not also allocate its shape.
package struct Shape: Sendable, Equatable, CustomStringConvertible {
    package let rank: Int
    private let extents: (Int, Int, Int, Int)

    package init(_ dims: Int...) {
        precondition((1...4).contains(dims.count) && dims.allSatisfy { $0 >= 0 }, "bad shape \(dims)")
        rank = dims.count
        extents = (dims[0], dims.count > 1 ? dims[1] : 1, dims.count > 2 ? dims[2] : 1, dims.count > 3 ? dims[3] : 1)
    }

    package subscript(axis: Int) -> Int {
        switch axis {
        case 0: extents.0
        case 1: extents.1
        case 2: extents.2
        default: extents.3
        }
    }

    package var count: Int { extents.0 * extents.1 * extents.2 * extents.3 }
    package var description: String { "[" + (0..<rank).map { "\(self[$0])" }.joined(separator: ", ") + "]" }

    package static func == (a: Shape, b: Shape) -> Bool { a.rank == b.rank && a.extents == b.extents }
}
