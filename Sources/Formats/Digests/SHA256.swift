import COpenSSL
package import Diagnostics

/// A SHA-256 digest: 32 bytes.
package struct SHA256Digest: Hashable, Sendable, CustomStringConvertible {
    package let bytes: [UInt8]

    fileprivate init(bytes: [UInt8]) { self.bytes = bytes }

    /// The digest with these 64 hexadecimal digits, in lower case as `hex` writes them; nil for anything else.
    package init?(hex: String) {
        let digits = Array(hex.utf8)
        guard digits.count == 64 else { return nil }
        var bytes: [UInt8] = []
        for pair in stride(from: 0, to: 64, by: 2) {
            guard let high = Self.value(digits[pair]), let low = Self.value(digits[pair + 1]) else { return nil }
            bytes.append(high << 4 | low)
        }
        self.bytes = bytes
    }

    /// 64 lower-case hexadecimal digits.
    package var hex: String {
        let digits = Array("0123456789abcdef".utf8)
        return String(decoding: bytes.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }

    package var description: String { hex }

    private static func value(_ digit: UInt8) -> UInt8? {
        switch digit {
        case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
        case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
        default: nil
        }
    }
}

/// Computes a SHA-256 digest from pieces.
package struct SHA256: ~Copyable {
    private let context: OpaquePointer

    package init() {
        // Fails only where memory for a few hundred bytes, or the algorithm itself, is missing.
        guard let context = EVP_MD_CTX_new(), EVP_DigestInit_ex(context, EVP_sha256(), nil) == 1 else {
            preconditionFailure("libcrypto has no SHA-256")
        }
        self.context = context
    }

    deinit { EVP_MD_CTX_free(context) }

    package mutating func update(_ bytes: UnsafeRawBufferPointer) {
        guard let start = bytes.baseAddress else { return }
        EVP_DigestUpdate(context, start, bytes.count)
    }

    package mutating func update(_ bytes: [UInt8]) {
        bytes.withUnsafeBytes { buffer in
            guard let start = buffer.baseAddress else { return }
            EVP_DigestUpdate(context, start, buffer.count)
        }
    }

    package consuming func finish() -> SHA256Digest {
        var digest = [UInt8](repeating: 0, count: 32)
        EVP_DigestFinal_ex(context, &digest, nil)
        return SHA256Digest(bytes: digest)
    }

    /// The digest of `bytes`.
    package static func digest(_ bytes: UnsafeRawBufferPointer) -> SHA256Digest {
        var hash = SHA256()
        hash.update(bytes)
        return hash.finish()
    }

    package static func digest(_ bytes: [UInt8]) -> SHA256Digest {
        var hash = SHA256()
        hash.update(bytes)
        return hash.finish()
    }

    package static func digest(_ text: String) -> SHA256Digest { digest(Array(text.utf8)) }

    /// The digest of a file's bytes.
    ///
    /// - Throws: `fileMissing`, `fileKind`, `fileRead`, and `fileChanged` if it is written meanwhile.
    package static func digest(ofFile path: String) throws(Diagnostic) -> SHA256Digest {
        let file = try MappedFile(path)
        file.advise(.sequential)
        let digest = digest(file.bytes)
        try file.verifyUnchanged()
        return digest
    }
}
