package import Autograd

/// A part of a model that owns weights, under the names that its checkpoint uses.
package protocol Module: AnyObject {
    /// A name may be a path of several parts; an empty one adds none.
    var children: [(name: String, module: any Module)] { get }
    var parameters: [(name: String, parameter: Parameter)] { get }
}

extension Module {
    package var children: [(name: String, module: any Module)] { [] }
    package var parameters: [(name: String, parameter: Parameter)] { [] }

    /// The modules of type `M` in this one, itself included, with their dotted paths.
    package func descendants<M>(ofType type: M.Type, at path: String = "") -> [(path: String, module: M)] {
        var found: [(path: String, module: M)] = []
        if let match = self as? M { found.append((path, match)) }
        for child in children { found += child.module.descendants(ofType: type, at: joined(path, child.name)) }
        return found
    }

    /// All parameters with their dotted paths, in the order of the modules.
    package func allParameters(at path: String = "") -> [(path: String, parameter: Parameter)] {
        parameters.map { (joined(path, $0.name), $0.parameter) }
            + children.flatMap { $0.module.allParameters(at: joined(path, $0.name)) }
    }
}

/// The path of `name` in what is at `path`; either may be empty.
private func joined(_ path: String, _ name: String) -> String {
    path.isEmpty || name.isEmpty ? path + name : path + "." + name
}
