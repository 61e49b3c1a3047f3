import Glibc

/// The memory of this process, as the kernel counts it.
package enum ProcessMemory {
    /// The largest resident set so far, in bytes, mapped pages included; 0 where the system does not say.
    package static var peakResidentBytes: Int { value("VmHWM:") }

    /// The resident set now, in bytes.
    package static var residentBytes: Int { value("VmRSS:") }

    /// What this process can still get without swapping: what the system has available, or what is left of its control
    /// group's limit if that is less.
    package static var obtainableBytes: Int {
        let system = value("MemAvailable:", in: "/proc/meminfo")
        guard let limit = number(in: "/sys/fs/cgroup/memory.max"),
            let used = number(in: "/sys/fs/cgroup/memory.current")
        else { return system == 0 ? Int.max / 2 : system }
        return min(system == 0 ? Int.max / 2 : system, max(0, limit - used))
    }

    private static func number(in file: String) -> Int? { Int(text(of: file).split(separator: "\n").first ?? "") }

    private static func value(_ key: String, in file: String = "/proc/self/status") -> Int {
        for line in text(of: file).split(separator: "\n") where line.hasPrefix(key) {
            let fields = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
            return fields.count > 1 ? (Int(fields[1]) ?? 0) * 1024 : 0
        }
        return 0
    }

    private static func text(of file: String) -> String {
        let descriptor = open(file, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return "" }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 8192)
        let count = read(descriptor, &bytes, bytes.count)
        return count > 0 ? String(decoding: bytes[..<count], as: UTF8.self) : ""
    }
}
