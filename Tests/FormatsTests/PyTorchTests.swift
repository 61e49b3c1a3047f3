import Diagnostics
import Formats
import Foundation
import TestSupport
import Testing

@Suite struct PyTorchTests {
    @Test(arguments: ["protocol2.bin", "protocol3.bin", "protocol4.bin", "protocol5.bin", "training.ckpt"])
    func readsWhatPythonsPickleWrites(_ name: String) throws {
        let checkpoint = try PyTorchCheckpoint(Fixture.path("pytorch/\(name)"))
        let expected = try SafetensorsFile(Fixture.path("pytorch/expected.safetensors")).source
        #expect(checkpoint.tensors.count == expected.tensors.count)
        for wanted in expected.tensors {
            let tensor = try #require(checkpoint.source[wanted.name], "\(wanted.name)")
            #expect(tensor.shape == wanted.shape && tensor.type == wanted.type, "\(wanted.name)")
            #expect(tensor.bytes.elementsEqual(wanted.bytes), "\(wanted.name)")
        }
    }

    @Test func aCheckpointIsRecognisedAndOpened() throws {
        #expect(try PathKind(ofPath: Fixture.path("pytorch/protocol2.bin")) == .pytorch)
        #expect(try WeightSource.open(Fixture.path("pytorch/protocol2.bin"))["half"]?.type == .f16)
    }

    private static let good = Pickle.dictionary([
        ("w", Pickle.tensor(Pickle.storage(count: 6), shape: [2, 3], strides: [3, 1]))
    ])

    static let programs: [(rule: String, pickle: [UInt8], code: String?)] = {
        let storage = Pickle.storage(count: 6)
        let one = { (tensor: [UInt8]) in Pickle.dictionary([("w", tensor)]) }
        let tensor = { (offset: Int, shape: [Int], strides: [Int]) in
            one(Pickle.tensor(storage, offset: offset, shape: shape, strides: strides))
        }
        return [
            ("a tensor", good, nil),
            (
                "os.system", [0x80, 2] + Pickle.global("os", "system") + Pickle.text("id") + [0x85] + Pickle.op("R."),
                "E-PYTORCH-GLOBAL"
            ),
            ("eval", [0x80, 2] + Pickle.global("builtins", "eval") + Pickle.op("."), "E-PYTORCH-GLOBAL"),
            ("torch.load", one(Pickle.global("torch", "load")), "E-PYTORCH-GLOBAL"),
            ("another rebuild", one(Pickle.global("torch._utils", "_rebuild_sparse_tensor")), "E-PYTORCH-GLOBAL"),
            ("by stack", [0x80, 4] + Pickle.text("posix") + Pickle.text("system") + [0x93, 0x2E], "E-PYTORCH-GLOBAL"),
            ("STACK_GLOBAL of numbers", [0x80, 4] + Pickle.op("K\u{1}K\u{1}") + [0x93, 0x2E], "E-PYTORCH-PICKLE"),
            ("INST", [0x80, 2] + Pickle.op("(ios\nsystem\n."), "E-PYTORCH-PICKLE"),
            (
                "OBJ", [0x80, 2] + Pickle.op("(") + Pickle.global("collections", "OrderedDict") + Pickle.op("o."),
                "E-PYTORCH-PICKLE"
            ),
            (
                "NEWOBJ", [0x80, 2] + Pickle.global("collections", "OrderedDict") + Pickle.op(")") + [0x81, 0x2E],
                "E-PYTORCH-PICKLE"
            ),
            ("EXT1", [0x80, 2, 0x82, 1, 0x2E], "E-PYTORCH-PICKLE"),
            ("protocol 0", Pickle.op("(dp0\n."), "E-PYTORCH-PICKLE"),
            ("protocol 6", [0x80, 6, 0x2E], "E-PYTORCH-PICKLE"), ("empty", [], "E-PYTORCH-PICKLE"),
            ("only STOP", Pickle.op("."), "E-PYTORCH-PICKLE"),
            ("no STOP", [0x80, 2] + Pickle.op("}"), "E-PYTORCH-PICKLE"),
            ("a list", [0x80, 2] + Pickle.op("]."), "E-PYTORCH-PICKLE"),
            ("a number", [0x80, 2] + Pickle.op("K\u{1}."), "E-PYTORCH-PICKLE"),
            ("pop past a mark", [0x80, 2] + Pickle.op("}(0s."), "E-PYTORCH-PICKLE"),
            ("unknown memo", [0x80, 2] + Pickle.op("h\u{7}."), "E-PYTORCH-PICKLE"),
            ("memo of nothing", [0x80, 2] + Pickle.op("q\u{0}."), "E-PYTORCH-PICKLE"),
            ("no mark", [0x80, 2] + Pickle.op("}u."), "E-PYTORCH-PICKLE"),
            ("odd items", [0x80, 2] + Pickle.op("}(K\u{1}u."), "E-PYTORCH-PICKLE"),
            ("append to a dictionary", [0x80, 2] + Pickle.op("}K\u{1}a."), "E-PYTORCH-PICKLE"),
            ("string past the end", [0x80, 2, 0x58, 0xFF, 0xFF, 0xFF, 0xFF, 0x2E], "E-PYTORCH-PICKLE"),
            ("string of 2^64 - 1", [0x80, 4, 0x8D] + [UInt8](repeating: 0xFF, count: 8) + [0x2E], "E-PYTORCH-PICKLE"),
            ("string that is not UTF-8", [0x80, 2, 0x58, 1, 0, 0, 0, 0xFF, 0x2E], "E-PYTORCH-PICKLE"),
            ("integer of 9 bytes", [0x80, 2, 0x8A, 9] + [UInt8](repeating: 1, count: 9) + [0x2E], "E-PYTORCH-PICKLE"),
            ("number as key", [0x80, 2] + Pickle.op("}K\u{1}K\u{2}s."), "E-PYTORCH-PICKLE"),
            ("list as value", one(Pickle.op("]")), "E-PYTORCH-TENSOR"),
            ("nested dictionary", one(Pickle.op("}")), "E-PYTORCH-TENSOR"),
            ("type as value", one(Pickle.global("torch", "FloatStorage")), "E-PYTORCH-TENSOR"),
            ("counter", one(Pickle.integer(-5)), nil),
            ("storage without type", one(Pickle.tuple([Pickle.text("storage")]) + Pickle.op("Q")), "E-PYTORCH-PICKLE"),
            ("reference to something else", one(Pickle.text("x") + Pickle.op("Q")), "E-PYTORCH-PICKLE"),
            ("call of a string", one(Pickle.text("x") + Pickle.op(")R")), "E-PYTORCH-PICKLE"),
            ("call of a type", one(Pickle.global("torch", "FloatStorage") + Pickle.op(")R")), "E-PYTORCH-PICKLE"),
            (
                "no storage of this key",
                one(Pickle.tensor(Pickle.storage(key: "1", count: 6), shape: [6], strides: [1])), "E-PYTORCH-TENSOR"
            ),
            (
                "climbing key",
                one(Pickle.tensor(Pickle.storage(key: "../data/0", count: 6), shape: [6], strides: [1])),
                "E-PYTORCH-TENSOR"
            ),
            (
                "storage too long", one(Pickle.tensor(Pickle.storage(count: 7), shape: [6], strides: [1])),
                "E-PYTORCH-TENSOR"
            ),
            (
                "storage too short", one(Pickle.tensor(Pickle.storage(count: 5), shape: [5], strides: [1])),
                "E-PYTORCH-TENSOR"
            ),
            (
                "storage of 2^62", one(Pickle.tensor(Pickle.storage(count: 1 << 62), shape: [6], strides: [1])),
                "E-PYTORCH-TENSOR"
            ),
            ("past the end", tensor(0, [7], [1]), "E-PYTORCH-TENSOR"),
            ("past by offset", tensor(1, [6], [1]), "E-PYTORCH-TENSOR"),
            ("past by stride", tensor(0, [2, 3], [4, 1]), "E-PYTORCH-TENSOR"),
            ("offset -1", tensor(-1, [2], [1]), "E-PYTORCH-PICKLE"),
            ("size -1", tensor(0, [-1], [1]), "E-PYTORCH-PICKLE"),
            ("stride -1", tensor(5, [6], [-1]), "E-PYTORCH-PICKLE"),
            ("two sizes, one stride", tensor(0, [2, 3], [1]), "E-PYTORCH-PICKLE"),
            (
                "nine dimensions", tensor(0, Array(repeating: 1, count: 9), Array(repeating: 1, count: 9)),
                "E-PYTORCH-PICKLE"
            ),
            ("elements over 2^63", tensor(0, [1 << 32, 1 << 32], [0, 0]), "E-PYTORCH-TENSOR"),
            ("distance over 2^63", tensor(0, [3], [Int.max]), "E-PYTORCH-TENSOR"),
            ("offset near 2^63", tensor(Int.max, [2], [1]), "E-PYTORCH-TENSOR"),
            ("expanded", tensor(0, [1_000_000_000], [0]), "E-PYTORCH-TENSOR"),
            ("expanded by one", tensor(0, [7], [0]), "E-PYTORCH-TENSOR"),
            ("huge stride of a dimension of 1", tensor(0, [3, 1, 2], [1, Int.max, 3]), nil),
            (
                "empty name", Pickle.dictionary([("", Pickle.tensor(storage, shape: [6], strides: [1]))]),
                "E-PYTORCH-TENSOR"
            ),
            (
                "name twice",
                Pickle.dictionary([
                    ("w", Pickle.tensor(storage, shape: [6], strides: [1])),
                    ("w", Pickle.tensor(storage, shape: [6], strides: [1])),
                ]), "E-PYTORCH-TENSOR"
            ),
        ]
    }()

    @Test(arguments: programs.indices) func aPickleBuildsTensorsOrNothing(_ index: Int) throws {
        let (rule, pickle, expected) = Self.programs[index]
        let scratch = try ScratchFolder()
        let path = try scratch.write(Pickle.archive(pickle), as: "pytorch_model.bin")
        let found = code { () throws(Diagnostic) in _ = try PyTorchCheckpoint(path) }
        #expect(found == expected, "\(rule)")
    }

    @Test func copiesNeverTakeMoreThanTheFile() throws {
        let scratch = try ScratchFolder()
        let storage = Pickle.storage(count: 6000)
        let pickle = Pickle.dictionary(
            (0..<100).map { ("w\($0)", Pickle.tensor(storage, shape: [3, 2000], strides: [1, 3])) })
        let zip = ZipBuilder(entries: [
            .init(name: "a/data.pkl", data: pickle), .init(name: "a/data/0", data: [UInt8](repeating: 0, count: 24000)),
        ])
        let path = try scratch.write(zip.build(), as: "pytorch_model.bin")
        #expect(code { () throws(Diagnostic) in _ = try PyTorchCheckpoint(path) } == "E-PYTORCH-TENSOR")
    }

    @Test func aMillionNestedValuesAreFreedWithoutRecursion() throws {
        let scratch = try ScratchFolder()
        let nested = [0x80, 2] + [UInt8](repeating: 0x5D, count: 400_000) + [UInt8](repeating: 0x61, count: 399_999)
        let path = try scratch.write(Pickle.archive(nested + [0x2E]), as: "pytorch_model.bin")
        #expect(code { () throws(Diagnostic) in _ = try PyTorchCheckpoint(path) } == "E-PYTORCH-PICKLE")
        let many = [0x80, 2] + [UInt8](repeating: 0x5D, count: 3_000_000) + [0x2E]
        try scratch.write(Pickle.archive(many), as: "pytorch_model.bin")
        #expect(code { () throws(Diagnostic) in _ = try PyTorchCheckpoint(path) } == "E-PYTORCH-PICKLE")
    }

    static let archives: [(rule: String, zip: ZipBuilder, good: Bool)] = {
        let floats: [Float] = [0, 1, 2, 3, 4, 5]
        let pickle = ZipBuilder.Entry(name: "a/data.pkl", data: good)
        let storage = ZipBuilder.Entry(name: "a/data/0", data: floats.withUnsafeBytes(Array.init))
        let with = { (change: (inout ZipBuilder) -> Void) in
            var zip = ZipBuilder(entries: [pickle, storage])
            change(&zip)
            return zip
        }
        return [
            ("plain", with { _ in }, true), ("comment", with { $0.comment = Array("hello".utf8) }, true),
            ("zip64", with { $0.zip64 = true }, true),
            (
                "zip64 sizes",
                with {
                    $0.entries[1].size = .max; $0.entries[1].zip64 = [24, 24]
                }, true
            ),
            (
                "zip64 offset",
                with {
                    $0.entries[0].offset = .max; $0.entries[0].zip64 = [0]
                }, true
            ),
            ("little-endian", with { $0.entries.append(.init(name: "a/byteorder", data: Array("little".utf8))) }, true),
            ("big-endian", with { $0.entries.append(.init(name: "a/byteorder", data: Array("big".utf8))) }, false),
            ("no pickle", with { $0.entries.removeFirst() }, false),
            ("no storage", with { $0.entries.removeLast() }, false),
            ("two pickles", with { $0.entries.append(.init(name: "b/data.pkl", data: good)) }, false),
            ("entry twice", with { $0.entries.append(storage) }, false),
            ("compressed", with { $0.entries[1].method = 8 }, false),
            ("encrypted", with { $0.entries[1].flags = 1 }, false),
            ("another local name", with { $0.entries[1].localName = "a/data/1" }, false),
            ("size past the end", with { $0.entries[1].size = 1 << 30 }, false),
            ("size into the directory", with { $0.entries[1].size = 40 }, false),
            ("offset past the end", with { $0.entries[1].offset = 1 << 30 }, false),
            (
                "shared bytes",
                with {
                    $0.entries[1].offset = 0; $0.entries[1].localName = "a/data/0"
                }, false
            ),
            ("zip64 without numbers", with { $0.entries[1].size = .max }, false),
            (
                "zip64 with one of two",
                with {
                    $0.entries[1].size = .max; $0.entries[1].zip64 = [24]
                }, false
            ),
            (
                "zip64 size of 2^64 - 1",
                with {
                    $0.entries[1].size = .max; $0.entries[1].zip64 = [.max, .max]
                }, false
            ),
            (
                "zip64 record elsewhere",
                with {
                    $0.zip64 = true; $0.zip64Place = 0
                }, false
            ),
            (
                "zip64 record past the end",
                with {
                    $0.zip64 = true; $0.zip64Place = .max
                }, false
            ),
            ("count too large", with { $0.count = 3 }, false),
            ("directory past the end", with { $0.directoryOffset = 1 << 30 }, false),
            ("directory too long", with { $0.directorySize = 1 << 20 }, false),
            ("directory elsewhere", with { $0.directoryOffset = 0 }, false),
            ("empty archive", ZipBuilder(), false),
        ]
    }()

    @Test(arguments: archives.indices) func anArchiveIsReadOrRefused(_ index: Int) throws {
        let (rule, zip, good) = Self.archives[index]
        let scratch = try ScratchFolder()
        let path = try scratch.write(zip.build(), as: "pytorch_model.bin")
        if good {
            #expect(try PyTorchCheckpoint(path).source["w"]?.floats() == [0, 1, 2, 3, 4, 5], "\(rule)")
        } else {
            let error = try failure { () throws(Diagnostic) in _ = try PyTorchCheckpoint(path) }
            #expect(error.code.exit == .badData && error.code.rawValue.hasPrefix("E-PYTORCH"), "\(rule): \(error)")
        }
    }

    @Test func noMutantOfACheckpointTraps() throws {
        let bytes = [UInt8](try Fixture.data("pytorch/protocol2.bin"))
        let scratch = try ScratchFolder()
        var random = SplitMix(state: 3)
        for end in stride(from: 0, to: bytes.count, by: 1) {
            let path = try scratch.write(Array(bytes[..<end]), as: "cut")
            #expect(code { () throws(Diagnostic) in _ = try PyTorchCheckpoint(path) }?.hasPrefix("E-PYTORCH") == true)
        }
        for _ in 0..<3000 {
            var mutant = bytes
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                mutant[Int.random(in: 0..<mutant.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            let path = try scratch.write(mutant, as: "mutant")
            do {
                for tensor in try PyTorchCheckpoint(path).tensors where tensor.type.isConvertible {
                    _ = try tensor.floats()
                }
            } catch { #expect(error.code.exit == .badData) }
        }
    }
}
