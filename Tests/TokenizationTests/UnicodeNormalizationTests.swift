import Testing

@testable import Tokenization

@Suite struct UnicodeNormalizationTests {
    private func normalized(_ text: String, _ form: UnicodeNormalization) -> [UInt32] {
        let bytes = Array(text.utf8)
        let result = bytes.withUnsafeBufferPointer { form.apply(to: $0) } ?? bytes
        return String(decoding: result, as: UTF8.self).unicodeScalars.map(\.value)
    }

    /// Text, then NFC, NFD, NFKC and NFKD as Unicode's normalisation test has them.
    static let cases: [(String, [UInt32], [UInt32], [UInt32], [UInt32])] = [
        ("abc", [0x61, 0x62, 0x63], [0x61, 0x62, 0x63], [0x61, 0x62, 0x63], [0x61, 0x62, 0x63]),
        ("e\u{301}", [0xE9], [0x65, 0x301], [0xE9], [0x65, 0x301]),
        ("\u{1E9B}\u{323}", [0x1E9B, 0x323], [0x17F, 0x323, 0x307], [0x1E69], [0x73, 0x323, 0x307]),
        ("\u{FB01}", [0xFB01], [0xFB01], [0x66, 0x69], [0x66, 0x69]),
        ("\u{212B}", [0xC5], [0x41, 0x30A], [0xC5], [0x41, 0x30A]),
        ("\u{D55C}", [0xD55C], [0x1112, 0x1161, 0x11AB], [0xD55C], [0x1112, 0x1161, 0x11AB]),
        ("\u{958}", [0x915, 0x93C], [0x915, 0x93C], [0x915, 0x93C], [0x915, 0x93C]),
        (
            "a\u{315}\u{300}\u{5AE}b", [0xE0, 0x5AE, 0x315, 0x62], [0x61, 0x5AE, 0x300, 0x315, 0x62],
            [0xE0, 0x5AE, 0x315, 0x62],
            [0x61, 0x5AE, 0x300, 0x315, 0x62]
        ),
        ("\u{20D7}\u{FF9E}", [0x20D7, 0xFF9E], [0x20D7, 0xFF9E], [0x3099, 0x20D7], [0x3099, 0x20D7]),
        (
            "Z\u{0F73}\u{0F74}", [0x5A, 0xF71, 0xF72, 0xF74], [0x5A, 0xF71, 0xF72, 0xF74], [0x5A, 0xF71, 0xF72, 0xF74],
            [0x5A, 0xF71, 0xF72, 0xF74]
        ),
        // A letter that came with Unicode 15 and decomposes: the reference's tables do not know it.
        ("\u{1E030}", [0x1E030], [0x1E030], [0x1E030], [0x1E030]),
    ]

    @Test(arguments: cases)
    func givesEachForm(_ text: String, nfc: [UInt32], nfd: [UInt32], nfkc: [UInt32], nfkd: [UInt32]) {
        #expect(normalized(text, .nfc) == nfc)
        #expect(normalized(text, .nfd) == nfd)
        #expect(normalized(text, .nfkc) == nfkc)
        #expect(normalized(text, .nfkd) == nfkd)
        // Between letters that stay as they are, and twice.
        #expect(normalized("x\u{430}" + text + "\u{4E2D}", .nfc) == [0x78, 0x430] + nfc + [0x4E2D])
        #expect(normalized(String(String.UnicodeScalarView(nfkc.compactMap(Unicode.Scalar.init))), .nfkc) == nfkc)
    }

    @Test func saysWhenNothingChanges() {
        let bytes = Array("Straße, où, Ελλάδα? 東京".utf8)
        #expect(bytes.withUnsafeBufferPointer { UnicodeNormalization.nfc.apply(to: $0) } == nil)
    }
}
