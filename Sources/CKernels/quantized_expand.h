// Blocks of ggml's types as bytes in registers, 32 elements at a time, and the factors that make values of them:
// value = scale * byte + offset. For each type FACTORS_name says how many elements share a scale, OFFSET_name whether
// there is an offset. Layouts as in dequantize.c.

/// The factors of a block, in the order of its elements.
typedef struct {
    float scales[16], offsets[16];
} factors;

typedef struct {
    float first, second;
} pair;

/// Two halves that follow each other.
EK_INLINE pair pair_at(const uint8_t *p) {
    uint32_t both;
    memcpy(&both, p, sizeof both);
    __m128i bits = _mm_cvtsi32_si128((int)both);
    // Keeps the compiler from loading one half alone: it would be put into a register whose last use it then waits for.
    __asm__("" : "+x"(bits));
    __m128 values = _mm_cvtph_ps(bits);
    return (pair){_mm_cvtss_f32(values), _mm_cvtss_f32(_mm_movehdup_ps(values))};
}

EK_INLINE __m256i bytes_at(const uint8_t *p) { return _mm256_loadu_si256((const __m256i *)p); }

/// Low nibbles of 16 bytes, then their high ones.
EK_INLINE __m256i nibbles_at(const uint8_t *p) {
    __m128i bytes = _mm_loadu_si128((const __m128i *)p);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(bytes, 4), bytes), _mm256_set1_epi8(15));
}

/// `width` bits of each byte, from bit `shift` on.
EK_INLINE __m256i bits_of(__m256i bytes, int shift, int width) {
    return _mm256_and_si256(_mm256_srli_epi16(bytes, shift), _mm256_set1_epi8((char)((1 << width) - 1)));
}

/// 16 in byte i where bit i of `bits` is set, otherwise 0.
EK_INLINE __m256i fifth_bits(const uint8_t *p) {
    uint32_t bits;
    memcpy(&bits, p, sizeof bits);
    const __m256i byte_of = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3,
                                             3, 3, 3, 3, 3, 3, 3);
    const __m256i bit_of = _mm256_set1_epi64x((long long)0x8040201008040201ull);
    __m256i spread = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), byte_of), bit_of);
    return _mm256_and_si256(_mm256_cmpeq_epi8(spread, bit_of), _mm256_set1_epi8(16));
}

/// The levels of IQ4_NL and IQ4_XS for 32 nibbles.
EK_INLINE __m256i levels_of(__m256i nibbles) {
    const __m128i levels = _mm_setr_epi8(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(levels), nibbles);
}

// Blocks of 32

enum { FACTORS_q4_0 = 32, OFFSET_q4_0 = 0, FACTORS_q4_1 = 32, OFFSET_q4_1 = 1, FACTORS_q5_0 = 32, OFFSET_q5_0 = 0 };
enum { FACTORS_q5_1 = 32, OFFSET_q5_1 = 1, FACTORS_q8_0 = 32, OFFSET_q8_0 = 0, FACTORS_iq4_nl = 32, OFFSET_iq4_nl = 0 };

EK_INLINE void factors_q4_0(const uint8_t *b, factors *f) { f->scales[0] = pair_at(b).first; }
EK_INLINE void factors_q5_0(const uint8_t *b, factors *f) { f->scales[0] = pair_at(b).first; }
EK_INLINE void factors_q8_0(const uint8_t *b, factors *f) { f->scales[0] = pair_at(b).first; }
EK_INLINE void factors_iq4_nl(const uint8_t *b, factors *f) { f->scales[0] = pair_at(b).first; }

EK_INLINE void factors_q4_1(const uint8_t *b, factors *f) {
    pair halves = pair_at(b);
    f->scales[0] = halves.first, f->offsets[0] = halves.second;
}

EK_INLINE void factors_q5_1(const uint8_t *b, factors *f) { factors_q4_1(b, f); }

EK_INLINE __m256i group_q4_0(const uint8_t *b, int s) {
    (void)s;
    return _mm256_sub_epi8(nibbles_at(b + 2), _mm256_set1_epi8(8));
}

EK_INLINE __m256i group_q4_1(const uint8_t *b, int s) {
    (void)s;
    return nibbles_at(b + 4);
}

EK_INLINE __m256i group_q5_0(const uint8_t *b, int s) {
    (void)s;
    return _mm256_sub_epi8(_mm256_or_si256(nibbles_at(b + 6), fifth_bits(b + 2)), _mm256_set1_epi8(16));
}

EK_INLINE __m256i group_q5_1(const uint8_t *b, int s) {
    (void)s;
    return _mm256_or_si256(nibbles_at(b + 8), fifth_bits(b + 4));
}

EK_INLINE __m256i group_q8_0(const uint8_t *b, int s) {
    (void)s;
    return bytes_at(b + 2);
}

EK_INLINE __m256i group_iq4_nl(const uint8_t *b, int s) {
    (void)s;
    return levels_of(nibbles_at(b + 2));
}

// Blocks of 256

enum { FACTORS_q2_k = 16, OFFSET_q2_k = 1, FACTORS_q3_k = 16, OFFSET_q3_k = 0, FACTORS_q4_k = 32, OFFSET_q4_k = 1 };
enum { FACTORS_q5_k = 32, OFFSET_q5_k = 1, FACTORS_q6_k = 16, OFFSET_q6_k = 0, FACTORS_iq4_xs = 32, OFFSET_iq4_xs = 0 };

/// out = factor * bytes, 8 of them.
EK_INLINE void scale_bytes(float *out, float factor, __m128i bytes) {
    _mm256_storeu_ps(out, _mm256_mul_ps(_mm256_set1_ps(factor), _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes))));
}

EK_INLINE void scale_16_bytes(float *out, float factor, __m128i bytes) {
    scale_bytes(out, factor, bytes);
    scale_bytes(out + 8, factor, _mm_srli_si128(bytes, 8));
}

EK_INLINE void factors_q2_k(const uint8_t *b, factors *f) {
    __m128i both = _mm_loadu_si128((const __m128i *)b), low = _mm_set1_epi8(15);
    pair halves = pair_at(b + 80);
    scale_16_bytes(f->scales, halves.first, _mm_and_si128(both, low));
    scale_16_bytes(f->offsets, -halves.second, _mm_and_si128(_mm_srli_epi16(both, 4), low));
}

EK_INLINE __m256i group_q2_k(const uint8_t *b, int s) {
    return bits_of(bytes_at(b + 16 + 32 * (s / 4)), 2 * (s % 4), 2);
}

EK_INLINE void factors_q3_k(const uint8_t *b, factors *f) {
    // Four low bits of scales 0 ... 7 and 8 ... 15 in nibbles, then two high bits of scales i, i + 4, i + 8, i + 12.
    uint32_t packed[3], scales[4];
    memcpy(packed, b + 96, sizeof packed);
    for (int i = 0; i < 4; i++) {
        uint32_t low = (packed[i % 2] >> (4 * (i / 2))) & 0x0f0f0f0fu, high = (packed[2] >> (2 * i)) & 0x03030303u;
        scales[i] = low | high << 4;
    }
    __m128i bytes = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)scales), _mm_set1_epi8(32));
    scale_16_bytes(f->scales, pair_at(b + 106).second, bytes);
}

EK_INLINE __m256i group_q3_k(const uint8_t *b, int s) {
    __m256i low = bits_of(bytes_at(b + 32 + 32 * (s / 4)), 2 * (s % 4), 2), high = bits_of(bytes_at(b), s, 1);
    return _mm256_sub_epi8(_mm256_or_si256(low, _mm256_slli_epi16(high, 2)), _mm256_set1_epi8(4));
}

EK_INLINE void factors_q4_k(const uint8_t *b, factors *f) {
    // Six bits each: as they are for 0 ... 3; for 4 ... 7 low nibbles in the third word, high bits atop the others.
    uint32_t packed[3], scales[2], minima[2];
    memcpy(packed, b + 4, sizeof packed);
    scales[0] = packed[0] & 0x3f3f3f3fu;
    minima[0] = packed[1] & 0x3f3f3f3fu;
    scales[1] = (packed[2] & 0x0f0f0f0fu) | ((packed[0] >> 6) & 0x03030303u) << 4;
    minima[1] = ((packed[2] >> 4) & 0x0f0f0f0fu) | ((packed[1] >> 6) & 0x03030303u) << 4;
    pair halves = pair_at(b);
    scale_bytes(f->scales, halves.first, _mm_loadl_epi64((const __m128i *)scales));
    scale_bytes(f->offsets, -halves.second, _mm_loadl_epi64((const __m128i *)minima));
}

EK_INLINE __m256i group_q4_k(const uint8_t *b, int s) {
    return bits_of(bytes_at(b + 16 + 32 * (s / 2)), 4 * (s % 2), 4);
}

EK_INLINE void factors_q5_k(const uint8_t *b, factors *f) { factors_q4_k(b, f); }

EK_INLINE __m256i group_q5_k(const uint8_t *b, int s) {
    __m256i low = bits_of(bytes_at(b + 48 + 32 * (s / 2)), 4 * (s % 2), 4), high = bits_of(bytes_at(b + 16), s, 1);
    return _mm256_or_si256(low, _mm256_slli_epi16(high, 4));
}

EK_INLINE void factors_q6_k(const uint8_t *b, factors *f) {
    scale_16_bytes(f->scales, pair_at(b + 206).second, _mm_loadu_si128((const __m128i *)(b + 192)));
}

EK_INLINE __m256i group_q6_k(const uint8_t *b, int s) {
    int half = s / 4, quarter = s % 4;
    __m256i low = bits_of(bytes_at(b + 64 * half + 32 * (quarter % 2)), 4 * (quarter / 2), 4);
    __m256i high = bits_of(bytes_at(b + 128 + 32 * half), 2 * quarter, 2);
    return _mm256_sub_epi8(_mm256_or_si256(low, _mm256_slli_epi16(high, 4)), _mm256_set1_epi8(32));
}

EK_INLINE void factors_iq4_xs(const uint8_t *b, factors *f) {
    uint16_t high;
    memcpy(&high, b + 2, sizeof high);
    int8_t scales[16] = {0};
    for (int s = 0; s < 8; s++) {
        scales[s] = (int8_t)((((b[4 + s / 2] >> (4 * (s % 2))) & 15) | ((high >> (2 * s)) & 3) << 4) - 32);
    }
    scale_bytes(f->scales, pair_at(b).first, _mm_loadl_epi64((const __m128i *)scales));
}

EK_INLINE __m256i group_iq4_xs(const uint8_t *b, int s) { return levels_of(nibbles_at(b + 8 + 16 * s)); }
