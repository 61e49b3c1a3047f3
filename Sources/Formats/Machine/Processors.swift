import Glibc

/// The processors that this process may use, and how much of them.
package struct Processors: Sendable, Equatable {
    /// Logical processors of the affinity mask.
    package let allowed: Int
    /// Physical cores among them: two threads of one core share its arithmetic units.
    package let cores: Int
    /// Processors' worth of time that control groups grant, the tightest of them; nil: no limit.
    package let quota: Double?
    /// Memory nodes of the machine.
    package let memoryNodes: Int

    /// Threads to compute with: one a core, but no more than the quota grants in full. A thread beyond it would be
    /// stopped for a part of every period while the others wait for it.
    package var threads: Int { max(1, min(cores, quota.map { Int(min($0, 4096)) } ?? cores)) }

    /// Those of this process, looked up once.
    package static let current = Processors(root: "")

    /// - Parameter root: the folder under which `proc` and `sys` stand; empty for the machine's own.
    package init(root: String) {
        let online = max(1, Int(sysconf(Int32(_SC_NPROCESSORS_ONLN))))
        let status = readPseudoFile(root + "/proc/self/status") ?? ""
        let mask = status.split(separator: "\n").first { $0.hasPrefix("Cpus_allowed_list:") }
        let indices =
            mask.flatMap { processorList($0.dropFirst("Cpus_allowed_list:".count)) } ?? Array(0..<online)
        allowed = indices.count
        let topology = root + "/sys/devices/system/cpu/cpu"
        cores =
            Set(
                indices.map { index in
                    readPseudoFile("\(topology)\(index)/topology/core_cpus_list")
                        ?? readPseudoFile("\(topology)\(index)/topology/thread_siblings_list") ?? "alone \(index)"
                }
            ).count
        quota = Self.quota(root: root)
        let nodes = readPseudoFile(root + "/sys/devices/system/node/online").flatMap { processorList($0[...]) }
        memoryNodes = nodes?.count ?? 1
    }

    /// The tightest quota of the process's group and those above it, in version 2 and version 1 of control groups.
    ///
    /// Inside a container the path is often the host's and not there; its root then stands for the container.
    private static func quota(root: String) -> Double? {
        var tightest: Double?
        for line in (readPseudoFile(root + "/proc/self/cgroup") ?? "").split(separator: "\n") {
            let fields = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
            guard fields.count == 3 else { continue }
            let mounts: [String]
            if fields[1].isEmpty {
                mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            } else if fields[1].split(separator: ",").contains("cpu") {
                mounts = ["/sys/fs/cgroup/\(fields[1])", "/sys/fs/cgroup/cpu"]
            } else {
                continue
            }
            var path = fields[2].split(separator: "/").filter { $0 != ".." && $0 != "." }
            while true {
                for mount in mounts {
                    let group = root + mount + path.map { "/" + $0 }.joined()
                    guard let granted = fields[1].isEmpty ? version2(group) : version1(group) else { continue }
                    tightest = min(tightest ?? granted, granted)
                }
                if path.popLast() == nil { break }
            }
        }
        return tightest
    }

    /// `cpu.max`: quota and period in microseconds, or `max`.
    private static func version2(_ group: String) -> Double? {
        let fields = readPseudoFile(group + "/cpu.max")?.split(whereSeparator: \.isWhitespace) ?? []
        guard let quota = fields.first.flatMap({ Int($0) }), quota > 0 else { return nil }
        let period = fields.count > 1 ? Int(fields[1]) ?? 0 : 100_000
        return period > 0 ? Double(quota) / Double(period) : nil
    }

    private static func version1(_ group: String) -> Double? {
        func number(_ name: String) -> Int? {
            readPseudoFile(group + "/" + name)?.split(whereSeparator: \.isWhitespace).first.flatMap { Int($0) }
        }
        // A quota of -1 is none.
        guard let quota = number("cpu.cfs_quota_us"), quota > 0, let period = number("cpu.cfs_period_us"), period > 0
        else { return nil }
        return Double(quota) / Double(period)
    }
}

/// The numbers of a list as the kernel writes it, `0-3,8`; nil if it is none.
private func processorList(_ text: Substring) -> [Int]? {
    var numbers: [Int] = []
    for part in text.split(whereSeparator: { $0 == "," || $0.isWhitespace }) {
        let bounds = part.split(separator: "-", omittingEmptySubsequences: false).map { Int($0) }
        guard (1...2).contains(bounds.count), let first = bounds[0], let last = bounds[bounds.count - 1],
            first >= 0, first <= last, last < 65_536
        else { return nil }
        numbers += first...last
    }
    return numbers.isEmpty ? nil : numbers
}

/// The threads that a run uses if it is not told how many; see `Processors`.
package func availableProcessors() -> Int { Processors.current.threads }
