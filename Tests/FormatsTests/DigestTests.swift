import Diagnostics
import Formats
import Foundation
import TestSupport
import Testing

@Suite struct DigestTests {
    @Test func knownAnswersOfSHA256() throws {
        // FIPS 180-4, and the empty string.
        #expect(SHA256.digest("abc").hex == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(SHA256.digest("").hex == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        let million = [UInt8](repeating: UInt8(ascii: "a"), count: 1_000_000)
        var hash = SHA256()
        for start in stride(from: 0, to: million.count, by: 777) { hash.update(Array(million[start...].prefix(777))) }
        #expect(hash.finish().hex == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
        let digest = SHA256.digest("abc")
        #expect(SHA256Digest(hex: digest.hex) == digest)
        #expect(SHA256Digest(hex: digest.hex.uppercased()) == nil && SHA256Digest(hex: "00") == nil)
    }

    @Test func theDigestIsThatOfItsDefinition() throws {
        let source = WeightSource([
            WeightTensor(name: "b", shape: [2, 1], values: [1, 2]), WeightTensor(name: "a", shape: [], values: [3]),
        ])
        var bytes = Array("espalier weights 1\n".utf8)
        let add = { (number: Int) in bytes += withUnsafeBytes(of: UInt64(number).littleEndian, Array.init) }
        for (name, shape, values) in [("a", [], [3]), ("b", [2, 1], [1, 2])] as [(String, [Int], [Float])] {
            add(1)
            bytes += Array(name.utf8)
            add(3)
            bytes += Array("F32".utf8)
            add(shape.count)
            for dimension in shape { add(dimension) }
            add(4 * values.count)
            bytes += SHA256.digest(values.withUnsafeBytes(Array.init)).bytes
        }
        #expect(try WeightsDigest.compute(source) == SHA256.digest(bytes))
    }

    @Test func oneFileAndShardsHaveTheSameDigest() throws {
        let scratch = try ScratchFolder()
        let sharded = try WeightSource.open(Fixture.path("models/qwen2_sharded"))
        try SafetensorsFile.write(
            sharded.tensors.map { OutgoingTensor($0) }, metadata: [("x", "y")], to: scratch.file("one.safetensors"))
        let one = try SafetensorsFile(scratch.file("one.safetensors")).source
        let digest = try WeightsDigest.compute(sharded, threads: 1)
        for threads in [1, 2, 3, 7, 64] { #expect(try WeightsDigest.compute(one, threads: threads) == digest) }
    }

    @Test func everyPartOfATensorCounts() throws {
        let digest = { (tensors: [WeightTensor]) in try WeightsDigest.compute(WeightSource(tensors)) }
        let base = [WeightTensor(name: "a", shape: [2, 3], values: [0, 1, 2, 3, 4, 5])]
        let others: [[WeightTensor]] = [
            [], [base[0].renamed("b")], [base[0].reshaped([3, 2])], [base[0].reshaped([6])],
            [WeightTensor(name: "a", shape: [2, 3], values: [0, 1, 2, 3, 4, 6])], [base[0], base[0].renamed("b")],
        ]
        var digests = Set([try digest(base)])
        for other in others { digests.insert(try digest(other)) }
        #expect(digests.count == others.count + 1)
    }

    @Test func theCacheAnswersOnlyForAnUnchangedFile() throws {
        let scratch = try ScratchFolder()
        let cache = DigestCache(path: scratch.file("cache/digests.json"))
        let path = scratch.file("w.safetensors")
        let write = { (value: Float) in
            try SafetensorsFile.write([OutgoingTensor(name: "x", shape: [1], values: [value])], to: path)
        }
        try write(1)
        let source = try SafetensorsFile(path).source
        let first = try cache.weightsDigest(of: source)
        #expect(try first == WeightsDigest.compute(source))
        // A forged answer shows that the second question is answered from the cache.
        let forged = SHA256.digest("forged")
        let stored = try String(contentsOfFile: scratch.file("cache/digests.json"), encoding: .utf8)
        try scratch.write(stored.replacingOccurrences(of: first.hex, with: forged.hex), as: "cache/digests.json")
        #expect(try cache.weightsDigest(of: SafetensorsFile(path).source) == forged)
        #expect(try cache.fileDigest(of: MappedFile(path)) == SHA256.digest(ofFile: path))
        try write(2)
        let second = try SafetensorsFile(path).source
        #expect(try cache.weightsDigest(of: second) == WeightsDigest.compute(second))
    }

    @Test(arguments: ["", "{", "[]", #"{"version":1}"#, #"{"version":2,"entries":{}}"#, #"{"version":1,"entries":[]}"#])
    func aDamagedCacheIsReplaced(_ text: String) throws {
        let scratch = try ScratchFolder()
        try scratch.write(text, as: "digests.json")
        let cache = DigestCache(path: scratch.file("digests.json"))
        let file = try MappedFile(try scratch.write("content", as: "file"))
        #expect(try cache.fileDigest(of: file) == SHA256.digest("content"))
        let now = try String(contentsOfFile: scratch.file("digests.json"), encoding: .utf8)
        #expect(now.contains(SHA256.digest("content").hex))
    }

    @Test func whereNoCacheCanBeThereIsNoError() throws {
        let scratch = try ScratchFolder()
        let file = try MappedFile(try scratch.write("content", as: "file"))
        for path in [nil, "/proc/none/digests.json", file.path + "/below"] {
            #expect(try DigestCache(path: path).fileDigest(of: file) == SHA256.digest("content"))
        }
    }

    @Test func thePlaceOfTheCacheFollowsTheEnvironment() {
        #expect(DigestCache { ["XDG_CACHE_HOME": "/c", "HOME": "/h"][$0] }.path == "/c/espalier/digests.json")
        #expect(DigestCache { ["HOME": "/h"][$0] }.path == "/h/.cache/espalier/digests.json")
        #expect(
            DigestCache { ["XDG_CACHE_HOME": "relative", "HOME": "/h"][$0] }.path == "/h/.cache/espalier/digests.json")
        #expect(DigestCache { _ in nil }.path == nil)
    }
}
