import ArgumentParser
import Autograd
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
        if output.json {
            try Console.write(
                .object([
                    "version": .string(Version.current), "processor": .string(processorName()),
                    "processors": .integer(availableProcessors()), "threads": .integer(workspace.threads.count),
                    "instruction_sets": .array(available.map { .string($0.rawValue) }),
                    "instruction_set": .string(selected.rawValue), "blas": .string(blasConfiguration()),
                    "memory_bytes": .integer(memory), "free_memory_bytes": .integer(free), "missing": .array([]),
                ]))
            return
        }
        try Console.write(
            """
            espalier \(Version.current)
            processor          \(processorName()), \(availableProcessors()) available
            threads            \(workspace.threads.count)
            instruction sets   \(available.map(\.rawValue).joined(separator: ", "))
            kernels chosen     \(selected.rawValue)\(environmentNote(selected))
            f32 products       \(blasConfiguration())
            memory             \(bytesText(memory)), \(bytesText(free)) free
            missing            nothing
            """)
    }

    private func environmentNote(_ selected: InstructionSet) -> String {
        guard let wanted = getenv("ESPALIER_ISA").map({ String(cString: $0) }) else { return "" }
        return wanted == selected.rawValue
            ? " (ESPALIER_ISA)" : " (ESPALIER_ISA asks for \(escaped(wanted)), which this processor lacks)"
    }

    private func processorName() -> String {
        guard let text = try? String(decoding: readPseudoFile("/proc/cpuinfo"), as: UTF8.self) else { return "unknown" }
        let line = text.split(separator: "\n").first { $0.hasPrefix("model name") }
        return line?.split(separator: ":").last.map { $0.drop { $0 == " " }.description } ?? "unknown"
    }

    private func readPseudoFile(_ path: String) throws(Diagnostic) -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Diagnostic(FormatsCode.fileRead, file: path, found: "nothing") }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 1 << 16)
        let count = read(descriptor, &bytes, bytes.count)
        return Array(bytes.prefix(max(0, count)))
    }
}
