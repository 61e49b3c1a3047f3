import Glibc

/// The memory of this process, as the kernel counts it.
package enum ProcessMemory {
    /// The largest resident set so far, in bytes, mapped pages included; 0 where the system does not say.
    package static var peakResidentBytes: Int { value("VmHWM:") }

    /// The resident set now, in bytes.
    package static var residentBytes: Int { value("VmRSS:") }

    private static func value(_ key: String) -> Int {
        let descriptor = open("/proc/self/status", O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { return 0 }
        defer { close(descriptor) }
        var bytes = [UInt8](repeating: 0, count: 8192)
        let count = read(descriptor, &bytes, bytes.count)
        guard count > 0 else { return 0 }
        for line in String(decoding: bytes[..<count], as: UTF8.self).split(separator: "\n") where line.hasPrefix(key) {
            let fields = line.split(whereSeparator: { $0 == " " || $0 == "\t" })
            return fields.count > 1 ? (Int(fields[1]) ?? 0) * 1024 : 0
        }
        return 0
    }
}
