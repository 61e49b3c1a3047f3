package import Diagnostics
import Glibc
import StrictJSON
import Synchronization

/// The digest of a model's content: the same for one file and for shards, for any order of tensors and any metadata.
///
/// It is the SHA-256 of the bytes `espalier weights 1\n` followed by one record for each tensor, in bytewise order of
/// their names. A record is, with all numbers as unsigned 64-bit little endian:
///
/// 1. the number of bytes of the name in UTF-8, and the name
/// 2. the number of bytes of the element type's name (`F32`, `BF16`, `Q4_K` ...), and that name
/// 3. the number of dimensions, and each of them, slowest first
/// 4. the number of bytes of the tensor's data
/// 5. the 32 bytes of the SHA-256 of its data as stored
package enum WeightsDigest {
    /// - Parameter threads: how many tensors are read at once; the result does not depend on it.
    /// - Throws: `fileChanged` if a file is written meanwhile.
    package static func compute(
        _ source: WeightSource, threads: Int = availableProcessors()
    ) throws(Diagnostic) -> SHA256Digest {
        let tensors = source.tensors.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
        // The largest first, so that no thread is left alone with one at the end.
        let order = tensors.indices.sorted { tensors[$0].bytes.count > tensors[$1].bytes.count }
        let results = Results(count: tensors.count)
        forEachInParallel(tensors.count, threads: threads) { index in
            let position = order[index]
            let digest = SHA256.digest(tensors[position].bytes)
            results.digests.withLock { $0[position] = digest }
        }
        try source.verifyUnchanged()
        return results.digests.withLock { combine(tensors, $0) }
    }

    private static func combine(_ tensors: [WeightTensor], _ digests: [SHA256Digest?]) -> SHA256Digest {
        var hash = SHA256()
        hash.update(Array("espalier weights 1\n".utf8))
        for (tensor, digest) in zip(tensors, digests) {
            var record: [UInt8] = []
            for text in [tensor.name, tensor.type.rawValue] {
                record.appendLittleEndian(UInt64(text.utf8.count))
                record.append(contentsOf: text.utf8)
            }
            record.appendLittleEndian(UInt64(tensor.shape.count))
            for dimension in tensor.shape { record.appendLittleEndian(UInt64(dimension)) }
            record.appendLittleEndian(UInt64(tensor.bytes.count))
            record.append(contentsOf: digest?.bytes ?? [])
            hash.update(record)
        }
        return hash.finish()
    }
}

private final class Results: Sendable {
    let digests: Mutex<[SHA256Digest?]>

    init(count: Int) { digests = Mutex(Array(repeating: nil, count: count)) }
}
