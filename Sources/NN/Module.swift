package import Autograd

/// A part of a model that owns weights, under the names that its checkpoint uses.
package protocol Module: AnyObject {
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
        for child in children {
            found += child.module.descendants(ofType: type, at: path.isEmpty ? child.name : path + "." + child.name)
        }
        return found
    }

    /// All parameters with their dotted paths, in the order of the modules.
    package func allParameters(at path: String = "") -> [(path: String, parameter: Parameter)] {
        let prefix = path.isEmpty ? "" : path + "."
        return parameters.map { (prefix + $0.name, $0.parameter) }
            + children.flatMap { $0.module.allParameters(at: prefix + $0.name) }
    }
}
