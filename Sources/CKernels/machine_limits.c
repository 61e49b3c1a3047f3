#include "machine_limits.h"

typedef float lane4 __attribute__((ext_vector_type(4)));
typedef float lane8 __attribute__((ext_vector_type(8)));
typedef float lane16 __attribute__((ext_vector_type(16)));

// Enough sums at once to hide the latency of an addition.
enum { SUMS = 14, STEPS = 4 };

#define MULTIPLY_ADD_LOOP(name, vec, ...)                                                                             \
    __VA_ARGS__ static double name(ptrdiff_t rounds) {                                                                \
        vec sums[SUMS], x = 0.999f, y = 0.5f;                                                                         \
        for (int i = 0; i < SUMS; i++) sums[i] = (float)i;                                                            \
        for (ptrdiff_t round = 0; round < rounds; round++) {                                                          \
            _Pragma("clang loop unroll(full)") for (int step = 0; step < STEPS; step++) {                             \
                _Pragma("clang loop unroll(full)") for (int i = 0; i < SUMS; i++) sums[i] = sums[i] * x + y;          \
            }                                                                                                         \
        }                                                                                                             \
        for (int i = 1; i < SUMS; i++) sums[0] += sums[i];                                                            \
        volatile float result = sums[0][0];                                                                           \
        (void)result;                                                                                                 \
        return (double)rounds * STEPS * SUMS * 2 * (sizeof(vec) / sizeof(float));                                     \
    }

MULTIPLY_ADD_LOOP(multiply_add_generic, lane4)

#if defined(__x86_64__)
#include <immintrin.h>

MULTIPLY_ADD_LOOP(multiply_add_avx2, lane8, __attribute__((target("avx2,fma"))))
MULTIPLY_ADD_LOOP(multiply_add_avx512, lane16, __attribute__((target("avx512f,fma"))))

__attribute__((target("avx512f,avx512bf16"))) static double multiply_pairs(ptrdiff_t rounds) {
    __m512 sums[SUMS];
    __m512bh x = (__m512bh)_mm512_set1_epi32(0x3c003c00), y = (__m512bh)_mm512_set1_epi32(0x3c003c00);
    for (int i = 0; i < SUMS; i++) sums[i] = _mm512_set1_ps((float)i);
    for (ptrdiff_t round = 0; round < rounds; round++) {
#pragma clang loop unroll(full)
        for (int step = 0; step < STEPS; step++) {
#pragma clang loop unroll(full)
            for (int i = 0; i < SUMS; i++) sums[i] = _mm512_dpbf16_ps(sums[i], x, y);
        }
    }
    for (int i = 1; i < SUMS; i++) sums[0] = _mm512_add_ps(sums[0], sums[i]);
    volatile float result = _mm512_cvtss_f32(sums[0]);
    (void)result;
    return (double)rounds * STEPS * SUMS * 64;
}

double ek_limit_f32(ek_isa isa, ptrdiff_t rounds) {
    if (isa >= EK_ISA_AVX512) return multiply_add_avx512(rounds);
    return isa == EK_ISA_AVX2 ? multiply_add_avx2(rounds) : multiply_add_generic(rounds);
}

double ek_limit_bf16(ek_isa isa, ptrdiff_t rounds) { return isa == EK_ISA_AVX512_BF16 ? multiply_pairs(rounds) : 0; }
#else
double ek_limit_f32(ek_isa isa, ptrdiff_t rounds) {
    (void)isa;
    return multiply_add_generic(rounds);
}

double ek_limit_bf16(ek_isa isa, ptrdiff_t rounds) {
    (void)isa;
    (void)rounds;
    return 0;
}
#endif

float ek_limit_read(const float *values, ptrdiff_t count) {
    const lane16 *vectors = (const lane16 *)values;
    lane16 sums[4] = {0, 0, 0, 0};
    for (ptrdiff_t i = 0; i < count / 16; i += 4) {
        for (int j = 0; j < 4; j++) sums[j] += vectors[i + j];
    }
    lane16 sum = sums[0] + sums[1] + sums[2] + sums[3];
    return sum[0] + sum[7] + sum[15];
}

void ek_limit_triad(float *out, const float *a, const float *b, float scale, ptrdiff_t count) {
    for (ptrdiff_t i = 0; i < count / 4; i++) {
        __builtin_nontemporal_store(((const lane4 *)a)[i] + scale * ((const lane4 *)b)[i], (lane4 *)out + i);
    }
}
