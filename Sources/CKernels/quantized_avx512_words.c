#if defined(__x86_64__)
#include <immintrin.h>

#include "quantized_items.h"

// x in 16 bits with a scale for every 32 elements: one instruction multiplies 32 elements and adds neighbours, exactly.

#define EK_INLINE static inline __attribute__((always_inline))
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma,f16c,bmi2"))), \
                             apply_to = function)

#define EK_TABLE ek_quantized_avx512_words
#define EK_PACK pack

#include "quantized_expand.h"

/// What belongs to 32 words: their scale, and the sums of the values of the first and the last 16.
typedef struct {
    float scale, first_sum, last_sum, sum;
} record;

/// A packed row: the words, then a record for every 32.
static ptrdiff_t left_bytes(ptrdiff_t inputs) {
    return (inputs * (ptrdiff_t)sizeof(int16_t) + inputs / 32 * (ptrdiff_t)sizeof(record) + 63) / 64 * 64;
}

static void pack(void *packed, const float *x, ptrdiff_t inputs) {
    int16_t *words = packed;
    record *records = (record *)(words + inputs);
    const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
    for (ptrdiff_t k = 0; k < inputs; k += 32) {
        __m512 first = _mm512_loadu_ps(x + k), last = _mm512_loadu_ps(x + k + 16);
        // As integers, magnitudes have the order of floats with NaN above all: a NaN is never lost.
        __m512i largest = _mm512_max_epi32(_mm512_and_si512(_mm512_castps_si512(first), magnitude),
                                           _mm512_and_si512(_mm512_castps_si512(last), magnitude));
        float most = _mm_cvtss_f32(_mm_castsi128_ps(_mm_cvtsi32_si128(_mm512_reduce_max_epi32(largest))));
        __m512 inverse = _mm512_set1_ps(most > 0 ? 32767 / most : 0);
        __m512i first_words = _mm512_cvtps_epi32(_mm512_mul_ps(first, inverse));
        __m512i last_words = _mm512_cvtps_epi32(_mm512_mul_ps(last, inverse));
        _mm256_store_si256((__m256i *)(words + k), _mm512_cvtsepi32_epi16(first_words));
        _mm256_store_si256((__m256i *)(words + k + 16), _mm512_cvtsepi32_epi16(last_words));
        float scale = most / 32767, first_sum = scale * (float)_mm512_reduce_add_epi32(first_words);
        float last_sum = scale * (float)_mm512_reduce_add_epi32(last_words);
        records[k / 32] = (record){scale, first_sum, last_sum, first_sum + last_sum};
    }
}

typedef struct {
    __m512 products;
    float offsets;
} sums;

EK_INLINE void clear(sums *s) {
    s->products = _mm512_setzero_ps();
    s->offsets = 0;
}

EK_INLINE void add_group(const int rows, const int sharing, const int has_offset, __m256i bytes, const factors *f,
                         int first, int last, const ek_quantized_product *product, ptrdiff_t row, ptrdiff_t k,
                         sums *all) {
    __m512i values = _mm512_cvtepi8_epi16(bytes);
    __m512 scales = _mm512_set1_ps(f->scales[first]);
    if (sharing == 16) scales = _mm512_mask_broadcastss_ps(scales, 0xff00, _mm_set_ss(f->scales[last]));
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++) {
        const int16_t *words = (const int16_t *)((const uint8_t *)product->left + (row + i) * product->left_bytes);
        const record *own = (const record *)(words + product->inputs) + k / 32;
        __m512 exact = _mm512_cvtepi32_ps(_mm512_madd_epi16(values, _mm512_loadu_si512(words + k)));
        __m512 scale = sharing == 16 ? _mm512_mul_ps(scales, _mm512_set1_ps(own->scale))
                                     : _mm512_set1_ps(f->scales[first] * own->scale);
        all[i].products = _mm512_fmadd_ps(exact, scale, all[i].products);
        // Fused by name: left to the compiler, it would depend on the number of rows.
        if (has_offset && sharing == 16) {
            all[i].offsets = __builtin_fmaf(f->offsets[first], own->first_sum, all[i].offsets);
            all[i].offsets = __builtin_fmaf(f->offsets[last], own->last_sum, all[i].offsets);
        } else if (has_offset) {
            all[i].offsets = __builtin_fmaf(f->offsets[first], own->sum, all[i].offsets);
        }
    }
}

EK_INLINE float total(const sums *s) { return _mm512_reduce_add_ps(s->products) + s->offsets; }

static float dot(const float *a, const float *b, ptrdiff_t count) {
    __m512 sum = _mm512_setzero_ps();
    for (ptrdiff_t k = 0; k < count; k += 16) {
        __mmask16 mask = count - k >= 16 ? 0xffff : (__mmask16)((1u << (count - k)) - 1);
        sum = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, a + k), _mm512_maskz_loadu_ps(mask, b + k), sum);
    }
    return _mm512_reduce_add_ps(sum);
}

#include "quantized_rows.h"
#pragma clang attribute pop
#endif
