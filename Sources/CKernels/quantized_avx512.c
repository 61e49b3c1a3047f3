#if defined(__x86_64__)
#include <immintrin.h>

#include "quantized_items.h"

#define EK_INLINE static inline __attribute__((always_inline))
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma,f16c,bmi2"))), \
                             apply_to = function)

#define EK_TABLE ek_quantized_avx512
#define EK_PACK NULL

#include "quantized_expand.h"

enum { WIDTH = 16 };
typedef __m512 vec;

EK_INLINE vec load(const float *p) { return _mm512_loadu_ps(p); }
EK_INLINE vec splat(float x) { return _mm512_set1_ps(x); }
EK_INLINE vec multiply_add(vec a, vec b, vec c) { return _mm512_fmadd_ps(a, b, c); }

EK_INLINE vec floats_of(__m256i bytes, int v) {
    __m128i half = v == 0 ? _mm256_castsi256_si128(bytes) : _mm256_extracti128_si256(bytes, 1);
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(half));
}

EK_INLINE float sum_of(vec x) { return _mm512_reduce_add_ps(x); }

#include "quantized_floats.h"
#include "quantized_rows.h"
#pragma clang attribute pop
#endif
