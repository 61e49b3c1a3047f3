#include "dequantize.h"
#include <string.h>

#pragma STDC FP_CONTRACT OFF

enum { SHORT_BLOCK = 32, LONG_BLOCK = 256 };

static inline float float_from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t bits_of_float(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Selects instead of branches, so that loops over it become vector code. */
static inline float float_from_half(uint16_t half) {
    uint32_t magnitude = half & 0x7FFFu;
    uint32_t normal = (magnitude << 13) + (112u << 23);
    /* 0.5 + m * 2^-24 is exact, and taking 0.5 off again leaves the subnormal. */
    uint32_t subnormal = bits_of_float(float_from_bits(magnitude + 0x3F000000u) - 0.5f);
    uint32_t special = (magnitude << 13) | 0x7F800000u;
    uint32_t bits = magnitude < 0x0400u ? subnormal : magnitude < 0x7C00u ? normal : special;
    return float_from_bits(bits | (uint32_t)(half & 0x8000u) << 16);
}

static inline uint16_t load_u16(const uint8_t *bytes) {
    uint16_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static inline uint32_t load_u32(const uint8_t *bytes) {
    uint32_t value;
    memcpy(&value, bytes, sizeof value);
    return value;
}

static inline float load_half(const uint8_t *bytes) { return float_from_half(load_u16(bytes)); }

/* Plain element types */

void ek_convert_f32(const void *source, float *out, ptrdiff_t count) {
    memcpy(out, source, (size_t)count * sizeof(float));
}

#define CONVERT(name, type, expression)                                                                               \
    void ek_convert_##name(const void *source, float *restrict out, ptrdiff_t count) {                                \
        const uint8_t *restrict bytes = source;                                                                       \
        for (ptrdiff_t i = 0; i < count; i++) {                                                                       \
            type x;                                                                                                   \
            memcpy(&x, bytes + i * (ptrdiff_t)sizeof x, sizeof x);                                                    \
            out[i] = expression;                                                                                      \
        }                                                                                                             \
    }

CONVERT(f16, uint16_t, float_from_half(x))
CONVERT(bf16, uint16_t, float_from_bits((uint32_t)x << 16))
CONVERT(f64, double, (float)x)
CONVERT(i8, int8_t, (float)x)
CONVERT(i16, int16_t, (float)x)
CONVERT(i32, int32_t, (float)x)
CONVERT(i64, int64_t, (float)x)
CONVERT(u8, uint8_t, (float)x)
CONVERT(u16, uint16_t, (float)x)
CONVERT(u32, uint32_t, (float)x)
CONVERT(u64, uint64_t, (float)x)
CONVERT(bool, uint8_t, x ? 1.0f : 0.0f)

/* Blocks of 32 */

void ek_dequantize_q4_0(const void *blocks, float *restrict out, ptrdiff_t count) {
    const uint8_t *restrict b = blocks;
    for (ptrdiff_t i = 0; i < count; i += SHORT_BLOCK, b += 18) {
        float d = load_half(b);
        const uint8_t *qs = b + 2;
        for (int j = 0; j < 16; j++) {
            out[i + j] = d * (float)((qs[j] & 15) - 8);
            out[i + j + 16] = d * (float)((qs[j] >> 4) - 8);
        }
    }
}

void ek_dequantize_q4_1(const void *blocks, float *restrict out, ptrdiff_t count) {
    const uint8_t *restrict b = blocks;
    for (ptrdiff_t i = 0; i < count; i += SHORT_BLOCK, b += 20) {
        float d = load_half(b), m = load_half(b + 2);
        const uint8_t *qs = b + 4;
        for (int j = 0; j < 16; j++) {
            out[i + j] = d * (float)(qs[j] & 15) + m;
            out[i + j + 16] = d * (float)(qs[j] >> 4) + m;
        }
    }
}

void ek_dequantize_q5_0(const void *blocks, float *restrict out, ptrdiff_t count) {
    const uint8_t *restrict b = blocks;
    for (ptrdiff_t i = 0; i < count; i += SHORT_BLOCK, b += 22) {
        float d = load_half(b);
        uint32_t high = load_u32(b + 2);
        const uint8_t *qs = b + 6;
        for (int j = 0; j < 16; j++) {
            int low = (qs[j] & 15) | (int)((high >> j) & 1) << 4;
            int upper = (qs[j] >> 4) | (int)((high >> (j + 16)) & 1) << 4;
            out[i + j] = d * (float)(low - 16);
            out[i + j + 16] = d * (float)(upper - 16);
        }
    }
}

void ek_dequantize_q5_1(const void *blocks, float *restrict out, ptrdiff_t count) {
    const uint8_t *restrict b = blocks;
    for (ptrdiff_t i = 0; i < count; i += SHORT_BLOCK, b += 24) {
        float d = load_half(b), m = load_half(b + 2);
        uint32_t high = load_u32(b + 4);
        const uint8_t *qs = b + 8;
        for (int j = 0; j < 16; j++) {
            int low = (qs[j] & 15) | (int)((high >> j) & 1) << 4;
            int upper = (qs[j] >> 4) | (int)((high >> (j + 16)) & 1) << 4;
            out[i + j] = d * (float)low + m;
            out[i + j + 16] = d * (float)upper + m;
        }
    }
}

void ek_dequantize_q8_0(const void *blocks, float *restrict out, ptrdiff_t count) {
    const uint8_t *restrict b = blocks;
    for (ptrdiff_t i = 0; i < count; i += SHORT_BLOCK, b += 34) {
        float d = load_half(b);
        const int8_t *qs = (const int8_t *)(b + 2);
        for (int j = 0; j < SHORT_BLOCK; j++) out[i + j] = d * (float)qs[j];
    }
}

static const float nonlinear_levels[16] = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
};

void ek_dequantize_iq4_nl(const void *blocks, float *restrict out, ptrdiff_t count) {
    const uint8_t *restrict b = blocks;
    for (ptrdiff_t i = 0; i < count; i += SHORT_BLOCK, b += 18) {
        float d = load_half(b);
        const uint8_t *qs = b + 2;
        for (int j = 0; j < 16; j++) {
            out[i + j] = d * nonlinear_levels[qs[j] & 15];
            out[i + j + 16] = d * nonlinear_levels[qs[j] >> 4];
        }
    }
}

/* Blocks of 256 */

void ek_dequantize_q2_k(const void *blocks, float *restrict out, ptrdiff_t count) {
    const uint8_t *restrict b = blocks;
    for (ptrdiff_t i = 0; i < count; i += LONG_BLOCK, b += 84) {
        const uint8_t *scales = b, *qs = b + 16;
        float d = load_half(b + 80), dmin = load_half(b + 82);
        /* Sub-block s of 16: half s / 8 of the bytes, shift (s / 2) % 4, and s % 2 picks its 16 of the 32 bytes. */
        for (int s = 0; s < 16; s++) {
            const uint8_t *q = qs + 32 * (s / 8) + 16 * (s % 2);
            int shift = 2 * ((s / 2) % 4);
            float scale = d * (float)(scales[s] & 15), minimum = dmin * (float)(scales[s] >> 4);
            for (int l = 0; l < 16; l++) out[i + 16 * s + l] = scale * (float)((q[l] >> shift) & 3) - minimum;
        }
    }
}

void ek_dequantize_q3_k(const void *blocks, float *restrict out, ptrdiff_t count) {
    const uint8_t *restrict b = blocks;
    for (ptrdiff_t i = 0; i < count; i += LONG_BLOCK, b += 110) {
        const uint8_t *high = b, *qs = b + 32, *scales = b + 96;
        float d = load_half(b + 108);
        for (int s = 0; s < 16; s++) {
            int low4 = s < 8 ? scales[s] & 15 : scales[s - 8] >> 4;
            int high2 = (scales[8 + s % 4] >> (2 * (s / 4))) & 3;
            float scale = d * (float)((low4 | high2 << 4) - 32);
            const uint8_t *q = qs + 32 * (s / 8) + 16 * (s % 2), *h = high + 16 * (s % 2);
            int shift = 2 * ((s / 2) % 4), bit = s / 2;
            for (int l = 0; l < 16; l++) {
                int value = ((q[l] >> shift) & 3) - (((h[l] >> bit) & 1) ? 0 : 4);
                out[i + 16 * s + l] = scale * (float)value;
            }
        }
    }
}

/* The 6-bit scale and minimum of sub-block j of Q4_K and Q5_K, packed in 12 bytes. */
static inline void unpack_scale(const uint8_t *s, int j, int *scale, int *minimum) {
    if (j < 4) {
        *scale = s[j] & 63;
        *minimum = s[j + 4] & 63;
    } else {
        *scale = (s[j + 4] & 15) | (s[j - 4] >> 6) << 4;
        *minimum = (s[j + 4] >> 4) | (s[j] >> 6) << 4;
    }
}

void ek_dequantize_q4_k(const void *blocks, float *restrict out, ptrdiff_t count) {
    const uint8_t *restrict b = blocks;
    for (ptrdiff_t i = 0; i < count; i += LONG_BLOCK, b += 144) {
        float d = load_half(b), dmin = load_half(b + 2);
        for (int s = 0; s < 8; s++) {
            int scale, minimum;
            unpack_scale(b + 4, s, &scale, &minimum);
            float ds = d * (float)scale, dm = dmin * (float)minimum;
            const uint8_t *q = b + 16 + 32 * (s / 2);
            int shift = 4 * (s % 2);
            for (int l = 0; l < 32; l++) out[i + 32 * s + l] = ds * (float)((q[l] >> shift) & 15) - dm;
        }
    }
}

void ek_dequantize_q5_k(const void *blocks, float *restrict out, ptrdiff_t count) {
    const uint8_t *restrict b = blocks;
    for (ptrdiff_t i = 0; i < count; i += LONG_BLOCK, b += 176) {
        float d = load_half(b), dmin = load_half(b + 2);
        const uint8_t *high = b + 16;
        for (int s = 0; s < 8; s++) {
            int scale, minimum;
            unpack_scale(b + 4, s, &scale, &minimum);
            float ds = d * (float)scale, dm = dmin * (float)minimum;
            const uint8_t *q = b + 48 + 32 * (s / 2);
            int shift = 4 * (s % 2);
            for (int l = 0; l < 32; l++) {
                int value = ((q[l] >> shift) & 15) | ((high[l] >> s) & 1) << 4;
                out[i + 32 * s + l] = ds * (float)value - dm;
            }
        }
    }
}

void ek_dequantize_q6_k(const void *blocks, float *restrict out, ptrdiff_t count) {
    const uint8_t *restrict b = blocks;
    for (ptrdiff_t i = 0; i < count; i += LONG_BLOCK, b += 210) {
        const int8_t *scales = (const int8_t *)(b + 192);
        float d = load_half(b + 208);
        for (int s = 0; s < 16; s++) {
            int half = s / 8, quarter = (s / 2) % 4, offset = 16 * (s % 2);
            const uint8_t *low = b + 64 * half + 32 * (quarter % 2) + offset;
            const uint8_t *high = b + 128 + 32 * half + offset;
            int lowShift = 4 * (quarter / 2), highShift = 2 * quarter;
            float scale = d * (float)scales[s];
            for (int l = 0; l < 16; l++) {
                int value = ((low[l] >> lowShift) & 15) | ((high[l] >> highShift) & 3) << 4;
                out[i + 16 * s + l] = scale * (float)(value - 32);
            }
        }
    }
}

void ek_dequantize_iq4_xs(const void *blocks, float *restrict out, ptrdiff_t count) {
    const uint8_t *restrict b = blocks;
    for (ptrdiff_t i = 0; i < count; i += LONG_BLOCK, b += 136) {
        float d = load_half(b);
        int scalesHigh = load_u16(b + 2);
        for (int s = 0; s < 8; s++) {
            int low = (b[4 + s / 2] >> (4 * (s % 2))) & 15, high = (scalesHigh >> (2 * s)) & 3;
            float scale = d * (float)((low | high << 4) - 32);
            const uint8_t *q = b + 8 + 16 * s;
            for (int l = 0; l < 16; l++) {
                out[i + 32 * s + l] = scale * nonlinear_levels[q[l] & 15];
                out[i + 32 * s + l + 16] = scale * nonlinear_levels[q[l] >> 4];
            }
        }
    }
}

/* The table. Numbers that are missing were removed from the format. */

static const ek_block_type types[] = {
    {0, 1, 4, "F32", ek_convert_f32},
    {1, 1, 2, "F16", ek_convert_f16},
    {2, 32, 18, "Q4_0", ek_dequantize_q4_0},
    {3, 32, 20, "Q4_1", ek_dequantize_q4_1},
    {6, 32, 22, "Q5_0", ek_dequantize_q5_0},
    {7, 32, 24, "Q5_1", ek_dequantize_q5_1},
    {8, 32, 34, "Q8_0", ek_dequantize_q8_0},
    {9, 32, 36, "Q8_1", NULL},
    {10, 256, 84, "Q2_K", ek_dequantize_q2_k},
    {11, 256, 110, "Q3_K", ek_dequantize_q3_k},
    {12, 256, 144, "Q4_K", ek_dequantize_q4_k},
    {13, 256, 176, "Q5_K", ek_dequantize_q5_k},
    {14, 256, 210, "Q6_K", ek_dequantize_q6_k},
    {15, 256, 292, "Q8_K", NULL},
    {16, 256, 66, "IQ2_XXS", NULL},
    {17, 256, 74, "IQ2_XS", NULL},
    {18, 256, 98, "IQ3_XXS", NULL},
    {19, 256, 50, "IQ1_S", NULL},
    {20, 32, 18, "IQ4_NL", ek_dequantize_iq4_nl},
    {21, 256, 110, "IQ3_S", NULL},
    {22, 256, 82, "IQ2_S", NULL},
    {23, 256, 136, "IQ4_XS", ek_dequantize_iq4_xs},
    {24, 1, 1, "I8", ek_convert_i8},
    {25, 1, 2, "I16", ek_convert_i16},
    {26, 1, 4, "I32", ek_convert_i32},
    {27, 1, 8, "I64", ek_convert_i64},
    {28, 1, 8, "F64", ek_convert_f64},
    {29, 256, 56, "IQ1_M", NULL},
    {30, 1, 2, "BF16", ek_convert_bf16},
    {34, 256, 54, "TQ1_0", NULL},
    {35, 256, 66, "TQ2_0", NULL},
    {39, 32, 17, "MXFP4", NULL},
};

ptrdiff_t ek_block_type_count(void) { return (ptrdiff_t)(sizeof types / sizeof types[0]); }

const ek_block_type *ek_block_type_at(ptrdiff_t index) { return &types[index]; }

const ek_block_type *ek_find_block_type(uint32_t ggml_type) {
    for (ptrdiff_t i = 0; i < ek_block_type_count(); i++) {
        if (types[i].ggml_type == ggml_type) return &types[i];
    }
    return NULL;
}

/* Floats to shorter types */

static inline uint16_t half_from_float(float value) {
    uint32_t bits = bits_of_float(value), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7FFFFFFFu;
    /* Half a unit in the last place, less one where the bit kept is even. */
    uint32_t normal = (magnitude - (112u << 23) + 0x0FFFu + ((magnitude >> 13) & 1)) >> 13;
    /* Adding 0.5 makes the processor round to multiples of 2^-24, the subnormal step. */
    uint32_t subnormal = bits_of_float(float_from_bits(magnitude) + 0.5f) - 0x3F000000u;
    uint32_t special = magnitude > 0x7F800000u ? 0x7E00u : 0x7C00u;
    uint32_t half = magnitude >= 0x47800000u ? special : magnitude < 0x38800000u ? subnormal : normal;
    return (uint16_t)(sign | half);
}

static inline uint16_t bfloat_from_float(float value) {
    uint32_t bits = bits_of_float(value);
    uint32_t rounded = (bits + 0x7FFFu + ((bits >> 16) & 1)) >> 16;
    uint32_t nan = (bits >> 16) | 0x40u;
    return (uint16_t)((bits & 0x7FFFFFFFu) > 0x7F800000u ? nan : rounded);
}

void ek_encode_f16(const float *restrict source, void *out, ptrdiff_t count) {
    uint8_t *restrict bytes = out;
    for (ptrdiff_t i = 0; i < count; i++) {
        uint16_t half = half_from_float(source[i]);
        memcpy(bytes + 2 * i, &half, sizeof half);
    }
}

void ek_encode_bf16(const float *restrict source, void *out, ptrdiff_t count) {
    uint8_t *restrict bytes = out;
    for (ptrdiff_t i = 0; i < count; i++) {
        uint16_t half = bfloat_from_float(source[i]);
        memcpy(bytes + 2 * i, &half, sizeof half);
    }
}

ptrdiff_t ek_count_nonfinite(const float *values, ptrdiff_t count) {
    ptrdiff_t found = 0;
    for (ptrdiff_t i = 0; i < count; i++) found += (bits_of_float(values[i]) & 0x7F800000u) == 0x7F800000u;
    return found;
}
