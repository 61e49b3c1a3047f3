import ArgumentParser
import Autograd
import Benchmarks
import Diagnostics
import Formats
import Glibc
import Recipes
import StrictJSON

struct DoctorCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor", abstract: "Say what this machine has and what a run will use.",
        discussion: """
            Example:
              espalier doctor --json
            """)

    @OptionGroup var threads: ThreadOptions
    @OptionGroup var output: JSONOption

    func run() throws {
        let selected = InstructionSet.selected
        let available = InstructionSet.allCases.filter(\.isAvailable)
        let workspace = threads.workspace()
        let memory = sysconf(Int32(_SC_PHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE))
        let free = sysconf(Int32(_SC_AVPHYS_PAGES)) * sysconf(Int32(_SC_PAGESIZE))
        let processors = Processors.current
        let products = measureProducts(threads: workspace.threads.count)
        if output.json {
            try Console.write(
                .object([
                    "version": .string(Version.current), "processor": .string(processorName()),
                    "processors": .integer(processors.allowed), "cores": .integer(processors.cores),
                    "processor_quota": processors.quota.map { .number($0) } ?? .null,
                    "memory_nodes": .integer(processors.memoryNodes), "threads": .integer(workspace.threads.count),
                    "instruction_sets": .array(available.map { .string($0.rawValue) }),
                    "instruction_set": .string(selected.rawValue), "blas": .string(blasConfiguration()),
                    "onednn": .string(ProductProvider.oneDNNStatus),
                    "products": .array(products.map(\.json)),
                    "memory_bytes": .integer(memory), "free_memory_bytes": .integer(free), "missing": .array([]),
                ]))
            return
        }
        let quota = processors.quota.map { ", \(decimal($0, 1)) granted by control groups" } ?? ""
        try Console.write(
            """
            espalier \(Version.current)
            processor          \(processorName())
            processors         \(processors.allowed) on \(processors.cores) cores\(quota)
            threads            \(workspace.threads.count)\(threads.threads == nil ? "" : " (--threads)")
            instruction sets   \(available.map(\.rawValue).joined(separator: ", "))
            kernels chosen     \(selected.rawValue)\(environmentNote(selected))
            \(products.map(\.line).joined(separator: "\n"))
            OpenBLAS           \(blasConfiguration())
            oneDNN             \(ProductProvider.oneDNNStatus)
            memory             \(bytesText(memory)), \(bytesText(free)) free\(nodesNote(processors))
            missing            nothing
            """)
    }

    /// A short product of typical shape by everyone who can multiply here, in every precision.
    private func measureProducts(threads: Int) -> [MeasuredProduct] {
        let shape = ProductShape(rows: 512, outputs: 2048, inputs: 2048)
        let selected = InstructionSet.selected
        let hasBF16 = ProductProvider.best(for: .bf16, on: selected) != nil
        return [Precision.bf16, .f32].flatMap { precision in
            ProductProvider.allCases.compactMap { provider in
                guard provider.multiplies(in: precision, on: selected) else { return nil }
                let workspace = Workspace(threadCount: threads, precision: precision, provider: provider)
                let isTaken = provider == ProductProvider.best(for: precision, on: selected)
                return MeasuredProduct(
                    precision: precision, provider: provider, isTaken: isTaken && (precision == .bf16 || !hasBF16),
                    why: reason(provider, precision, isTaken: isTaken, hasBF16: hasBF16),
                    operationsPerSecond: shape.operations / secondsOfProduct(shape, for: 0.1, in: workspace))
            }
        }
    }

    /// Why a run takes this provider, or what a recipe says to get it.
    private func reason(_ provider: ProductProvider, _ precision: Precision, isTaken: Bool, hasBF16: Bool) -> String {
        let force = "train.provider: \(provider.rawValue)"
        switch (isTaken, precision) {
        case (true, .bf16) where provider == .oneDNN:
            return "taken: it multiplies in tiles (AMX), which our own kernels do not"
        case (true, .bf16): return "taken: this processor has bf16 and our own kernels are made for it"
        case (true, .f32) where hasBF16: return "with train.compute: f32"
        case (true, .f32): return "taken: this processor has no bf16 products"
        case (false, .bf16): return "with \(force); not taken by itself without AMX"
        case (false, .f32): return "with \(force)\(hasBF16 && provider == .own ? " and train.compute: f32" : "")"
        }
    }

    private func nodesNote(_ processors: Processors) -> String {
        guard processors.memoryNodes > 1 else { return "" }
        return " on \(processors.memoryNodes) nodes; a run on one of them (numactl --cpunodebind=0 --membind=0) "
            + "does not wait for the others"
    }

    private func environmentNote(_ selected: InstructionSet) -> String {
        guard let wanted = getenv("ESPALIER_ISA").map({ String(cString: $0) }) else { return "" }
        return wanted == selected.rawValue
            ? " (ESPALIER_ISA)" : " (ESPALIER_ISA asks for \(escaped(wanted)), which this processor lacks)"
    }

    private func processorName() -> String {
        let line = readPseudoFile("/proc/cpuinfo")?.split(separator: "\n").first { $0.hasPrefix("model name") }
        return line?.split(separator: ":").last.map { $0.drop { $0 == " " }.description } ?? "unknown"
    }
}

/// What multiplies in a precision, and how fast.
private struct MeasuredProduct {
    let precision: Precision
    let provider: ProductProvider
    let isTaken: Bool
    let why: String
    let operationsPerSecond: Double

    var json: JSONValue {
        .object([
            "precision": .string(precision.rawValue), "provider": .string(provider.rawValue),
            "taken": .bool(isTaken), "why": .string(why),
            "operations_per_second": .number(operationsPerSecond),
        ])
    }

    var line: String {
        let name =
            switch provider {
            case .own: "own kernels"
            case .openBLAS: "OpenBLAS"
            case .oneDNN: "oneDNN"
            }
        let label = "\(precision.rawValue) products"
        return label + String(repeating: " ", count: 19 - label.count)
            + "\(name), \(decimal(operationsPerSecond / 1e9, 0)) GFLOP/s; \(why)"
    }
}
