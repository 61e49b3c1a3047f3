import Diagnostics
import Foundation
import FuzzInputs
import TestSupport

// libFuzzer changes the bytes of a file and watches what they reach: `make fuzz`. ESPALIER_FUZZ_INPUT names the kind of
// file.

private let input: FuzzInput = {
    let name = ProcessInfo.processInfo.environment["ESPALIER_FUZZ_INPUT"] ?? "gguf-model"
    guard let input = FuzzInput.all.first(where: { $0.name == name }) else {
        let names = FuzzInput.all.map(\.name).joined(separator: ", ")
        FileHandle.standardError.write(Data("ESPALIER_FUZZ_INPUT is none of \(names)\n".utf8))
        _exit(64)
    }
    return input
}()

nonisolated(unsafe) private let folder: TemporaryFolder = {
    guard let folder = try? TemporaryFolder(), (try? input.prepare(folder)) != nil else { _exit(73) }
    return folder
}()

/// libFuzzer's own loop.
@_silgen_name("LLVMFuzzerRunDriver")
private func runDriver(
    _ count: UnsafeMutablePointer<CInt>, _ arguments: UnsafeMutableRawPointer,
    _ test: @convention(c) (UnsafePointer<UInt8>?, Int) -> CInt
) -> CInt

/// What SwiftPM has the program begin with. The good file of the kind becomes the first of the corpus.
@_cdecl("espalier_fuzzer_main")
public func start(_ count: CInt, _ arguments: UnsafeMutableRawPointer) -> CInt {
    let bytes = try? input.seedBytes()
    if let corpus = ProcessInfo.processInfo.environment["ESPALIER_FUZZ_CORPUS"], let bytes {
        try? Data(bytes).write(to: URL(fileURLWithPath: corpus).appending(path: "seed"))
    }
    var (count, arguments) = (count, arguments)
    return runDriver(&count, &arguments) { start, count in
        try? input.run(Array(UnsafeBufferPointer(start: start, count: count)), in: folder)
        return 0
    }
}
