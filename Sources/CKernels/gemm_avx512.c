#if defined(__x86_64__)
#include <immintrin.h>

#include "gemm_cut.h"

#define EK_INLINE static inline __attribute__((always_inline))
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma,bmi2"))), \
                             apply_to = function)

#define EK_TABLE ek_gemm_avx512
#define EK_PRECISION EK_GEMM_F32

/// Elements of a word, and of a vector of words.
enum { WORD_ELEMENTS = 1, VECTOR_ELEMENTS = 16 };

EK_INLINE __m512 multiply_add(__m512 sum, __m512i x, __m512i y) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(x), _mm512_castsi512_ps(y), sum);
}

/// 16 words of scale * values, zeros after `count` elements.
EK_INLINE __m512i words_of_f32(const float *values, ptrdiff_t count, __m512 scale) {
    __mmask16 mask = count >= 16 ? 0xffff : (__mmask16)((1u << count) - 1);
    return _mm512_castps_si512(_mm512_mul_ps(_mm512_maskz_loadu_ps(mask, values), scale));
}

EK_INLINE __m512i words_of_bf16(const uint16_t *values, ptrdiff_t count) {
    __mmask16 mask = count >= 16 ? 0xffff : (__mmask16)((1u << count) - 1);
    return _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, values)), 16);
}

/// The word of each of the columns in `mask`, from `rows` stored rows.
EK_INLINE __m512i line_of_f32(const float *values, ptrdiff_t stride, ptrdiff_t rows, __mmask16 mask, __m512 scale) {
    (void)stride;
    (void)rows;
    return _mm512_castps_si512(_mm512_mul_ps(_mm512_maskz_loadu_ps(mask, values), scale));
}

EK_INLINE __m512i line_of_bf16(const uint16_t *values, ptrdiff_t stride, ptrdiff_t rows, __mmask16 mask) {
    (void)stride;
    (void)rows;
    return _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(mask, values)), 16);
}

#include "gemm_body.h"
#pragma clang attribute pop
#endif
