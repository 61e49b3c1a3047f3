#if defined(__x86_64__)
#include <immintrin.h>

#include "quantized_items.h"

#define EK_INLINE static inline __attribute__((always_inline))
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,bmi2"))), apply_to = function)

#define EK_TABLE ek_quantized_avx2
#define EK_PACK NULL

#include "quantized_expand.h"

enum { WIDTH = 8 };
typedef __m256 vec;

EK_INLINE vec load(const float *p) { return _mm256_loadu_ps(p); }
EK_INLINE vec splat(float x) { return _mm256_set1_ps(x); }
EK_INLINE vec multiply_add(vec a, vec b, vec c) { return _mm256_fmadd_ps(a, b, c); }

EK_INLINE vec floats_of(__m256i bytes, int v) {
    __m128i half = v < 2 ? _mm256_castsi256_si128(bytes) : _mm256_extracti128_si256(bytes, 1);
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v % 2 == 0 ? half : _mm_srli_si128(half, 8)));
}

EK_INLINE float sum_of(vec x) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}

#include "quantized_floats.h"
#include "quantized_rows.h"
#pragma clang attribute pop
#endif
