import CKernels

/// How the elements of a stored tensor are written; the raw value is the name that safetensors and ggml use.
package enum ElementType: String, Sendable, Hashable, CaseIterable {
    case f64 = "F64"
    case f32 = "F32"
    case f16 = "F16"
    case bf16 = "BF16"
    case i64 = "I64"
    case i32 = "I32"
    case i16 = "I16"
    case i8 = "I8"
    case u64 = "U64"
    case u32 = "U32"
    case u16 = "U16"
    case u8 = "U8"
    case bool = "BOOL"

    // Known to safetensors; only their size is.
    case c64 = "C64"
    case f8e4m3 = "F8_E4M3"
    case f8e5m2 = "F8_E5M2"
    case f8e8m0 = "F8_E8M0"
    case f8e4m3fnuz = "F8_E4M3FNUZ"
    case f8e5m2fnuz = "F8_E5M2FNUZ"
    case f6e2m3 = "F6_E2M3"
    case f6e3m2 = "F6_E3M2"
    case f4 = "F4"

    // Blocks of ggml.
    case q4_0 = "Q4_0"
    case q4_1 = "Q4_1"
    case q5_0 = "Q5_0"
    case q5_1 = "Q5_1"
    case q8_0 = "Q8_0"
    case q2_k = "Q2_K"
    case q3_k = "Q3_K"
    case q4_k = "Q4_K"
    case q5_k = "Q5_K"
    case q6_k = "Q6_K"
    case iq4_nl = "IQ4_NL"
    case iq4_xs = "IQ4_XS"
    // Only their size is known.
    case q8_1 = "Q8_1"
    case q8_k = "Q8_K"
    case iq1_s = "IQ1_S"
    case iq1_m = "IQ1_M"
    case iq2_xxs = "IQ2_XXS"
    case iq2_xs = "IQ2_XS"
    case iq2_s = "IQ2_S"
    case iq3_xxs = "IQ3_XXS"
    case iq3_s = "IQ3_S"
    case tq1_0 = "TQ1_0"
    case tq2_0 = "TQ2_0"
    case mxfp4 = "MXFP4"

    /// The type with this number in a GGUF file; nil if it is unknown or was removed from the format.
    package init?(ggmlNumber: UInt32) {
        guard let entry = ek_find_block_type(ggmlNumber) else { return nil }
        self.init(rawValue: String(cString: entry.pointee.name))
    }

    /// Its number in a GGUF file, for the types that have one.
    package var ggmlNumber: UInt32? { ggmlEntry?.ggml_type }

    /// Elements in a block; 1 for types without blocks.
    package var blockElements: Int {
        switch self {
        case .f4: 2
        case .f6e2m3, .f6e3m2: 4
        default: ggmlEntry.map { Int($0.block_elements) } ?? 1
        }
    }

    /// Bytes of a block.
    package var blockBytes: Int {
        switch self {
        case .f64, .i64, .u64, .c64: 8
        case .f32, .i32, .u32: 4
        case .f16, .bf16, .i16, .u16: 2
        case .i8, .u8, .bool, .f4, .f8e4m3, .f8e5m2, .f8e8m0, .f8e4m3fnuz, .f8e5m2fnuz: 1
        case .f6e2m3, .f6e3m2: 3
        default: ggmlEntry.map { Int($0.block_bytes) } ?? 1
        }
    }

    /// Whether elements share a scale in blocks.
    package var isQuantized: Bool { blockElements > 1 }

    /// Whether it is a floating-point type that values can be written as.
    package var isFloatingPoint: Bool { [.f32, .f16, .bf16, .f64].contains(self) }

    /// Whether the values can be read as floats.
    package var isConvertible: Bool { converter != nil }

    /// Bytes of `count` elements; nil if they do not fill whole blocks or the size overflows.
    package func byteCount(of count: Int) -> Int? {
        guard count >= 0, count % blockElements == 0 else { return nil }
        let (bytes, overflow) = (count / blockElements).multipliedReportingOverflow(by: blockBytes)
        return overflow ? nil : bytes
    }

    /// Writes `count` elements as floats; nil for a type whose values cannot be read.
    var converter: ek_dequantize_function? {
        switch self {
        case .u8: ek_convert_u8
        case .u16: ek_convert_u16
        case .u32: ek_convert_u32
        case .u64: ek_convert_u64
        case .bool: ek_convert_bool
        default: ggmlEntry?.dequantize
        }
    }

    private var ggmlEntry: ek_block_type? { ggmlEntries[self] }
}

// Unsafe only in the eyes of the compiler: constants of C, which point to other constants.
nonisolated(unsafe) private let ggmlEntries: [ElementType: ek_block_type] = {
    var entries: [ElementType: ek_block_type] = [:]
    for index in 0..<ek_block_type_count() {
        guard let entry = ek_block_type_at(index)?.pointee else { continue }
        guard let type = ElementType(rawValue: String(cString: entry.name)) else { continue }
        entries[type] = entry
    }
    return entries
}()
