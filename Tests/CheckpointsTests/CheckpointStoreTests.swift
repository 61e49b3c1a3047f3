import Checkpoints
import Diagnostics
import Formats
import Foundation
import StrictJSON
import TestSupport
import Testing

/// Publishing, finding and keeping checkpoints.
@Suite struct CheckpointStoreTests {
    private let run: TemporaryFolder
    private let store: CheckpointStore

    init() throws {
        run = try TemporaryFolder()
        store = CheckpointStore(inRun: run.path(""), keeping: 2)
    }

    private var folder: String { run.path("checkpoints") }

    private func publish(_ step: Int, best: Int? = nil) throws {
        let tensors = [
            OutgoingTensor(name: "a", shape: [2, 3], values: (0..<6).map { Float($0 + step) }),
            OutgoingTensor(name: "b", shape: [1], values: [Float(step)]),
        ]
        try store.publish(step: step, tensors: tensors, state: .object(["step": .integer(step)]), best: best)
    }

    private func names() throws -> [String] { try listFolder(folder) }

    private func newest() throws -> (step: Int?, damaged: [String]) {
        var damaged: [String] = []
        let found = try store.newest { name, _ in damaged.append(name) }
        return (found?.step, damaged)
    }

    @Test func nothingPublishedIsNoError() throws {
        #expect(try newest().step == nil)
    }

    @Test func theNewestComesBackWhole() throws {
        try publish(9)
        try publish(10)
        let found = try #require(try store.newest { _, _ in })
        #expect(found.step == 10 && found.state["step"]?.integer == 10)
        let values = try found.tensors().tensors.map { try $0.floats() }
        #expect(values.sorted { $0.count < $1.count } == [[10], (0..<6).map { Float($0 + 10) }])
    }

    @Test func theLastTwoAndTheBestStay() throws {
        for step in 1...6 { try publish(step, best: step >= 3 ? 3 : nil) }
        #expect(try names() == ["step-000003", "step-000005", "step-000006"])
    }

    @Test func onlyTheOwnerMayReadThem() throws {
        try publish(1)
        func mode(_ name: String) throws -> Int? {
            try FileManager.default.attributesOfItem(atPath: folder + name)[.posixPermissions] as? Int
        }
        #expect(try mode("/step-000001") == 0o700)
        for file in ["manifest.json", "state.json", "state.safetensors"] {
            #expect(try mode("/step-000001/" + file) == 0o600)
        }
    }

    @Test func leftoversOfAKilledProcessGo() throws {
        try publish(4)
        for name in [".step-000005.tmp-abc", ".trash-step-000001"] {
            try FileManager.default.createDirectory(atPath: folder + "/" + name, withIntermediateDirectories: false)
            try "x".write(toFile: folder + "/" + name + "/state.json", atomically: false, encoding: .utf8)
        }
        #expect(try newest().step == 4)
        #expect(try names() == ["step-000004"])
    }

    @Test func whatCouldNotBeRemovedGoesWithTheNextSave() throws {
        try publish(4)
        try FileManager.default.createDirectory(
            atPath: folder + "/.trash-step-000001", withIntermediateDirectories: false)
        try publish(5)
        #expect(try names() == ["step-000004", "step-000005"])
    }

    /// Every way in which a checkpoint's files can be other than they were written.
    enum Damage: String, CaseIterable {
        case missing, empty, oneByte, half, lastByteMissing, bitFlipped, zeroFilled, otherStep, linked, extraFile
    }

    private func inflict(_ damage: Damage, on file: String, of step: String, other: String) throws {
        let path = "\(folder)/\(step)/\(file)"
        var bytes = try Data(contentsOf: URL(fileURLWithPath: path))
        switch damage {
        case .missing: return try FileManager.default.removeItem(atPath: path)
        case .empty: bytes = Data()
        case .oneByte: bytes = bytes.prefix(1)
        case .half: bytes = bytes.prefix(bytes.count / 2)
        case .lastByteMissing: bytes = bytes.dropLast()
        case .bitFlipped: bytes[bytes.count / 2] ^= 4
        case .zeroFilled: bytes = Data(count: bytes.count)
        case .otherStep: bytes = try Data(contentsOf: URL(fileURLWithPath: "\(folder)/\(other)/\(file)"))
        case .linked:
            try FileManager.default.removeItem(atPath: path)
            return try FileManager.default.createSymbolicLink(
                atPath: path, withDestinationPath: "../\(other)/\(file)")
        case .extraFile: return try Data().write(to: URL(fileURLWithPath: "\(folder)/\(step)/extra"))
        }
        try bytes.write(to: URL(fileURLWithPath: path))
    }

    @Test(arguments: Damage.allCases, ["manifest.json", "state.json", "state.safetensors"])
    func whatIsDamagedIsSetAsideAndTheOneBeforeIsTaken(_ damage: Damage, file: String) throws {
        try publish(7)
        try publish(8)
        try inflict(damage, on: file, of: "step-000008", other: "step-000007")
        let found = try newest()
        #expect(found.step == 7 && found.damaged == ["step-000008"])
        #expect(try names() == ["damaged-step-000008-1", "step-000007"])
        // The name is free again.
        try publish(8)
        #expect(try newest().step == 8)
    }

    @Test func whenNothingIsWholeItIsAnErrorEveryTime() throws {
        try publish(1)
        try publish(2)
        for step in ["step-000001", "step-000002"] { try inflict(.half, on: "state.json", of: step, other: step) }
        for _ in 0..<2 {
            let error = #expect(throws: Diagnostic.self) { try newest() }
            #expect(error?.code.rawValue == CheckpointCode.damaged.rawValue && error?.code.exit == .badData)
        }
    }

    @Test(arguments: ["step-7", "step-0000007", "step-000000", "step-00000x", "LATEST", "step-"])
    func namesThatAreNoCheckpointsAreLeftAlone(_ name: String) throws {
        try publish(3)
        try FileManager.default.createDirectory(atPath: folder + "/" + name, withIntermediateDirectories: false)
        #expect(try newest().step == 3)
        #expect(try names().contains(name))
    }

    @Test func everyFlippedBitOfTheManifestIsSeen() throws {
        try publish(1)
        try publish(2)
        let path = folder + "/step-000002/manifest.json"
        let whole = try Data(contentsOf: URL(fileURLWithPath: path))
        for position in whole.indices {
            for bit in 0..<8 {
                var bytes = whole
                bytes[position] ^= 1 << bit
                try bytes.write(to: URL(fileURLWithPath: path))
                #expect(try newest().step == 1, "byte \(position), bit \(bit)")
                for name in try names() where name.hasPrefix("damaged-") {
                    try FileManager.default.moveItem(
                        atPath: folder + "/" + name, toPath: folder + "/step-000002")
                }
            }
        }
    }
}

@Suite struct RunLockTests {
    @Test func aSecondHolderIsToldWhoTheFirstIs() throws {
        let folder = try TemporaryFolder()
        let first = try RunLock(folder.path(""))
        let error = #expect(throws: Diagnostic.self) { _ = try RunLock(folder.path("")) }
        #expect(error?.code.exit == .busy)
        #expect(error?.found.contains("process \(ProcessInfo.processInfo.processIdentifier) ") == true)
        withExtendedLifetime(first) {}
    }

    @Test func whatAKilledProcessLeftLocksNothing() throws {
        let folder = try TemporaryFolder()
        _ = try folder.write("{\"pid\": 1, \"host\": \"elsewhere\", \"started\": 0}\n", to: "run.lock")
        do { _ = try RunLock(folder.path("")) }
        _ = try RunLock(folder.path(""))
    }

    @Test(arguments: ["", "no json", "{\"pid\": \"x\"}", "{\"pid\": 1, \"host\": \"a\\u001b[2Jb\", \"started\": 5}"])
    func aStrangeLockFileIsNoTrouble(_ text: String) throws {
        let folder = try TemporaryFolder()
        let lock = try RunLock(folder.path(""))
        // In place: another file of that name would not be locked.
        let file = try #require(FileHandle(forWritingAtPath: folder.path("run.lock")))
        try file.truncate(atOffset: 0)
        try file.write(contentsOf: Data(text.utf8))
        try file.close()
        let error = #expect(throws: Diagnostic.self) { _ = try RunLock(folder.path("")) }
        #expect(error?.code.exit == .busy)
        #expect(error?.description.contains("\u{1b}") == false)
        withExtendedLifetime(lock) {}
    }
}
