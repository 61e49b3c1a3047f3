// Words of bf16 pairs: how they are made, and the instruction that multiplies and adds them.

#define EK_PRECISION EK_GEMM_BF16

/// Elements of a word, and of a vector of words.
enum { WORD_ELEMENTS = 2, VECTOR_ELEMENTS = 32 };

EK_INLINE __m512 multiply_add(__m512 sum, __m512i x, __m512i y) {
    return _mm512_dpbf16_ps(sum, (__m512bh)x, (__m512bh)y);
}

EK_INLINE __mmask32 first_elements(ptrdiff_t count) { return count >= 32 ? 0xffffffffu : (1u << count) - 1; }

/// 16 words of scale * values, zeros after `count` elements.
EK_INLINE __m512i words_of_f32(const float *values, ptrdiff_t count, __m512 scale) {
    __mmask32 mask = first_elements(count);
    __m512 low = _mm512_maskz_loadu_ps((__mmask16)mask, values);
    __m512 high = _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), values + 16);
    return (__m512i)_mm512_cvtne2ps_pbh(_mm512_mul_ps(high, scale), _mm512_mul_ps(low, scale));
}

EK_INLINE __m512i words_of_bf16(const uint16_t *values, ptrdiff_t count) {
    return _mm512_maskz_loadu_epi16(first_elements(count), values);
}

/// The word of each of the columns in `mask`, from `rows` stored rows: two, or at an odd end one.
EK_INLINE __m512i line_of_f32(const float *values, ptrdiff_t stride, ptrdiff_t rows, __mmask16 mask, __m512 scale) {
    // Word i is element i of the first row and element i of the second, which stand in halves of one vector.
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19,
                         3, 18, 2, 17, 1, 16, 0);
    __m512 above = _mm512_maskz_loadu_ps(mask, values);
    __m512 below = rows > 1 ? _mm512_maskz_loadu_ps(mask, values + stride) : _mm512_setzero_ps();
    __m512bh halves = _mm512_cvtne2ps_pbh(_mm512_mul_ps(below, scale), _mm512_mul_ps(above, scale));
    return _mm512_permutexvar_epi16(order, (__m512i)halves);
}

EK_INLINE __m512i line_of_bf16(const uint16_t *values, ptrdiff_t stride, ptrdiff_t rows, __mmask16 mask) {
    __m512i above = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, values));
    if (rows == 1) return above;
    __m512i below = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, values + stride));
    return _mm512_or_si512(above, _mm512_slli_epi32(below, 16));
}
