import Formats
import Foundation
import TestSupport
import Testing

/// What the kernel's files say about processors, with files made up.
@Suite struct ProcessorsTests {
    /// A machine whose files have these texts.
    func machine(_ files: [String: String]) throws -> Processors {
        let folder = try TemporaryFolder()
        for (path, text) in files {
            let url = folder.url.appending(path: path)
            try FileManager.default.createDirectory(
                at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
            try text.write(to: url, atomically: true, encoding: .utf8)
        }
        return Processors(root: folder.url.path)
    }

    /// Eight logical processors, pairs of which share a core.
    let pairs = Dictionary(
        uniqueKeysWithValues: (0..<8).map {
            ("sys/devices/system/cpu/cpu\($0)/topology/core_cpus_list", "\($0 % 4),\($0 % 4 + 4)\n")
        })

    func status(_ list: String) -> [String: String] {
        ["proc/self/status": "Name:\tespalier\nCpus_allowed:\tff\nCpus_allowed_list:\t\(list)\nThreads:\t1\n"]
    }

    @Test func oneThreadForEachCoreOfTheMask() throws {
        let whole = try machine(pairs.merging(status("0-7")) { $1 })
        #expect(whole.allowed == 8 && whole.cores == 4 && whole.threads == 4 && whole.quota == nil)
        let part = try machine(pairs.merging(status("0,4-6")) { $1 })
        #expect(part.allowed == 4 && part.cores == 3 && part.threads == 3)
        let unknown = try machine(status("0-2"))
        #expect(unknown.cores == 3 && unknown.memoryNodes == 1)
    }

    @Test func theTightestQuotaOfVersion2Counts() throws {
        var files = pairs.merging(status("0-7")) { $1 }
        files["proc/self/cgroup"] = "0::/system.slice/job.scope\n"
        files["sys/fs/cgroup/cpu.max"] = "max 100000\n"
        files["sys/fs/cgroup/system.slice/cpu.max"] = "250000 100000\n"
        files["sys/fs/cgroup/system.slice/job.scope/cpu.max"] = "600000 100000\n"
        let machine = try machine(files)
        #expect(machine.quota == 2.5 && machine.threads == 2)
        files["sys/fs/cgroup/system.slice/job.scope/cpu.max"] = "50000 100000\n"
        #expect(try self.machine(files).threads == 1)
    }

    @Test func aPathOfTheHostLeavesTheContainersRoot() throws {
        var files = pairs.merging(status("0-7")) { $1 }
        files["proc/self/cgroup"] = "0::/../../docker/0123\n"
        files["sys/fs/cgroup/cpu.max"] = "300000 100000\n"
        #expect(try machine(files).threads == 3)
    }

    @Test func version1IsRead() throws {
        var files = pairs.merging(status("0-7")) { $1 }
        files["proc/self/cgroup"] = "5:memory:/job\n4:cpu,cpuacct:/job\n"
        files["sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us"] = "-1\n"
        files["sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us"] = "100000\n"
        #expect(try machine(files).quota == nil)
        files["sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us"] = "75000\n"
        files["sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us"] = "50000\n"
        let machine = try machine(files)
        #expect(machine.quota == 1.5 && machine.threads == 1)
    }

    @Test func nonsenseMeansNoLimit() throws {
        for text in ["", "max", "-5 100000", "7 0", "99999999999999999999 100000", "a b c", "\0\0"] {
            var files = pairs.merging(status("0-7")) { $1 }
            files["proc/self/cgroup"] = "0::/\nnothing\n::::\n"
            files["sys/fs/cgroup/cpu.max"] = text
            #expect(try machine(files).quota == nil, "\(text)")
        }
        for list in ["", "7-", "5-3", "-1", "0-9999999999", "x"] {
            #expect(try machine(status(list)).allowed >= 1, "\(list)")
        }
    }

    @Test func thisMachineHasAtLeastOneThread() {
        let machine = Processors.current
        #expect(machine.threads >= 1 && machine.cores <= machine.allowed && machine.memoryNodes >= 1)
        #expect(availableProcessors() == machine.threads)
    }
}
