import ArgumentParser
import Diagnostics
import Formats
import Models

/// An adapter that goes on a base, and whether it must be the base that it was trained on.
struct AdapterOptions: ParsableArguments {
    @Option(help: "An adapter folder.")
    var adapter: String?

    @Flag(help: "Use the adapter although the base is not, to the byte, the one that it was trained on.")
    var allowOtherBase = false

    /// Opens the adapter in the folder `path` for `base`; one from elsewhere says nothing of its base.
    ///
    /// - Throws: `ModelsCode.otherBase` with what differs, and what reading the folder throws.
    func open(_ path: String, for base: BaseFiles) throws(Diagnostic) -> PEFTAdapter {
        let saved = try PEFTAdapter(path)
        guard let origin = try AdapterOrigin(folder: path) else { return saved }
        do throws(Diagnostic) {
            try origin.check(base, adapter: path)
        } catch {
            guard allowOtherBase, error.code as? ModelsCode == .otherBase else { throw error }
            Console.note("warning: \(error.found); answers may be worse than measured.")
        }
        return saved
    }

    /// How the adapter's base was kept in training.
    func encoding() throws(Diagnostic) -> BaseEncoding {
        guard let adapter else { return .automatic }
        return try AdapterOrigin(folder: adapter)?.baseEncoding ?? .automatic
    }
}
