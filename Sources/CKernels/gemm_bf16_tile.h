// The inner kernels of the bf16 product: a tile of up to 14 rows x 32 columns of C stays in registers, 28 sums of 16
// floats each, which is what it takes to hide the latency of vdpbf16ps on two loads a step.

/// `rows` and `vectors` (of 16 columns) are constants once inlined; `mask` selects the columns of the last vector.
EK_INLINE void multiply_tile(const int rows, const int vectors, const uint32_t *restrict left,
                             const uint32_t *restrict right, float *restrict c, ptrdiff_t ldc, ptrdiff_t pairs,
                             __mmask16 mask, int accumulate) {
    __m512 sums[EK_BF16_TILE_ROWS][2];
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++) {
#pragma clang loop unroll(full)
        for (int j = 0; j < vectors; j++) {
            sums[i][j] = _mm512_setzero_ps();
            // The tile of C is on its way while the sums are computed.
            _mm_prefetch((const char *)(c + i * ldc + 16 * j), _MM_HINT_T0);
        }
    }
#pragma clang loop unroll(disable)
    for (ptrdiff_t p = 0; p < pairs; p++) {
        const uint32_t *columns = right + p * vectors * 16;
        __m512bh in[2];
#pragma clang loop unroll(full)
        for (int j = 0; j < vectors; j++) {
            in[j] = (__m512bh)_mm512_load_si512(columns + 16 * j);
            _mm_prefetch((const char *)(columns + 16 * j + 16 * vectors * EK_PREFETCH), _MM_HINT_T0);
        }
#pragma clang loop unroll(full)
        for (int i = 0; i < rows; i++) {
            __m512bh x = (__m512bh)_mm512_set1_epi32((int)left[p * EK_BF16_TILE_STRIDE + i]);
#pragma clang loop unroll(full)
            for (int j = 0; j < vectors; j++) sums[i][j] = _mm512_dpbf16_ps(sums[i][j], x, in[j]);
        }
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++) {
#pragma clang loop unroll(full)
        for (int j = 0; j < vectors; j++) {
            float *out = c + i * ldc + 16 * j;
            __mmask16 m = j == vectors - 1 ? mask : (__mmask16)0xffff;
            __m512 sum = sums[i][j];
            if (accumulate) sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(m, out));
            _mm512_mask_storeu_ps(out, m, sum);
        }
    }
}

typedef void (*tile_kernel)(const uint32_t *left, const uint32_t *right, float *c, ptrdiff_t ldc, ptrdiff_t pairs,
                            __mmask16 mask, int accumulate);

#define TILE_KERNEL(rows, vectors)                                                                                    \
    static void tile_##rows##x##vectors(const uint32_t *left, const uint32_t *right, float *c, ptrdiff_t ldc,         \
                                        ptrdiff_t pairs, __mmask16 mask, int accumulate) {                            \
        multiply_tile(rows, vectors, left, right, c, ldc, pairs, mask, accumulate);                                   \
    }
#define TILE_KERNELS(rows) TILE_KERNEL(rows, 1) TILE_KERNEL(rows, 2)

TILE_KERNELS(1)
TILE_KERNELS(2)
TILE_KERNELS(3)
TILE_KERNELS(4)
TILE_KERNELS(5)
TILE_KERNELS(6)
TILE_KERNELS(7)
TILE_KERNELS(8)
TILE_KERNELS(9)
TILE_KERNELS(10)
TILE_KERNELS(11)
TILE_KERNELS(12)
TILE_KERNELS(13)
TILE_KERNELS(14)

#define TILE_ENTRY(rows) {tile_##rows##x1, tile_##rows##x2}

/// By rows - 1 and vectors - 1.
static const tile_kernel tile_kernels[EK_BF16_TILE_ROWS][2] = {
    TILE_ENTRY(1), TILE_ENTRY(2), TILE_ENTRY(3),  TILE_ENTRY(4),  TILE_ENTRY(5),  TILE_ENTRY(6),  TILE_ENTRY(7),
    TILE_ENTRY(8), TILE_ENTRY(9), TILE_ENTRY(10), TILE_ENTRY(11), TILE_ENTRY(12), TILE_ENTRY(13), TILE_ENTRY(14),
};
