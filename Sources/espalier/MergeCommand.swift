import ArgumentParser
import Diagnostics
import Formats
import Models
import StrictJSON

struct MergeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "merge", abstract: "Fold adapters into the weights of their base.",
        discussion: """
            Examples:
              espalier merge --base models/base --adapter runs/banking77/adapter --out models/banking77
              espalier merge --base models/base --adapter finance/adapter=0.7 --adapter style/adapter=0.3 \\
                --dtype f32 --out models/both

            A model folder gives a model folder, a GGUF file gives a GGUF file: the same tensors under the same names, the
            adapted ones merged. Several adapters are added up, each times its weight. What rounding to the stored type
            loses of the update is measured and printed, as is how far the logits are from those of base and adapter.
            """)

    @Option(help: "The base: a model folder or a GGUF file.")
    var base: String

    @Option(help: "An adapter folder, PATH or PATH=WEIGHT; may be given again.")
    var adapter: [AdapterShare]

    @Option(help: "The new model: a folder, or for a GGUF base a .gguf file. It must not exist.")
    var out: String

    @Option(help: "Type of the floating-point weights; if not given, as the base has them, and f16 for blocks.")
    var dtype: WeightType?

    @Option(
        help: """
            How the base was kept in training: stored, int8, nf4 or nf4-double; if not given, what the adapter's \
            espalier.json says.
            """)
    var baseEncoding: BaseEncoding?

    @Flag(help: "Merge although the base is not, to the byte, the one that the adapter was trained on.")
    var allowOtherBase = false

    @OptionGroup var threads: ThreadOptions
    @OptionGroup var output: JSONOption

    private var binding: AdapterOptions {
        var options = AdapterOptions()
        options.allowOtherBase = allowOtherBase
        return options
    }

    func validate() throws {
        if adapter.isEmpty { throw ValidationError("merge takes at least one --adapter") }
    }

    func run() throws {
        guard FileIdentity(ofFileAt: out) == nil else {
            throw Diagnostic(
                FormatsCode.fileCreate, file: out, found: "the name is taken", expected: "a new name",
                fix: "Choose another name, or remove what is there")
        }
        let files = try BaseFiles(base)
        var adapters: [(adapter: PEFTAdapter, weight: Float)] = []
        for share in adapter { adapters.append((try binding.open(share.path, for: files), share.weight)) }
        let model = try MergedModel(
            files, adapters: adapters, encoding: try encoding(), in: threads.workspace())
        let report = try model.write(to: out, as: dtype?.elementType)
        if output.json { return try Console.write(report.json) }
        try Console.write("merged    \(report.changed) parameters of \(escaped(base)) into \(escaped(out))")
        if let share = report.roundingShare, let worst = report.worst {
            let most = share > 0 ? ", at most \(percent(worst.share)) (\(escaped(worst.path)))" : ""
            try Console.write("rounding  loses \(percent(share)) of the update's length\(most)")
            if share > 0.05 { try Console.write("          --dtype f32 keeps it; so does the adapter beside its base") }
        }
        if let logits = report.logits {
            try Console.write(
                """
                logits    differ by at most \(decimal(logits.largest, 5)) from base and adapter, which differ from the base \
                by \(decimal(logits.adapterLargest, 5)); same best token for \(logits.agreeing) of \(logits.count)
                """)
        }
    }

    /// How the adapters' base was kept: they must agree.
    private func encoding() throws -> BaseEncoding {
        if let baseEncoding { return baseEncoding }
        var found: [BaseEncoding] = []
        for share in adapter { found.append(try AdapterOrigin(folder: share.path)?.baseEncoding ?? .automatic) }
        let lowBit = Set(found.map { $0 == .automatic ? .stored : $0 })
        guard lowBit.count <= 1 else {
            throw Diagnostic(
                ModelsCode.merge,
                found: "adapters trained against \(lowBit.map(\.rawValue).sorted().joined(separator: " and "))",
                expected: "one encoding of the base", fix: "Say which with --base-encoding")
        }
        return lowBit.first ?? .stored
    }

    private func percent(_ share: Double) -> String { decimal(100 * share, 3) + " %" }
}

/// `PATH` or `PATH=WEIGHT`.
struct AdapterShare: ExpressibleByArgument {
    let path: String
    let weight: Float

    init?(argument: String) {
        let parts = argument.split(separator: "=", omittingEmptySubsequences: false)
        guard parts.count > 1, let last = parts.last, let weight = Float(last) else {
            (path, weight) = (argument, 1)
            return
        }
        guard weight.isFinite else { return nil }
        (path, self.weight) = (parts.dropLast().joined(separator: "="), weight)
    }
}

enum WeightType: String, ExpressibleByArgument, CaseIterable {
    case f32, f16, bf16

    var elementType: ElementType {
        switch self {
        case .f32: .f32
        case .f16: .f16
        case .bf16: .bf16
        }
    }
}

extension BaseEncoding: ExpressibleByArgument {}
