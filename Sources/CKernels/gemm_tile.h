// Many rows: a tile of up to 14 rows x 32 columns of C stays in registers, 28 sums of 16 floats each, which hides the
// latency of the multiply-adds.

/// `rows` and `vectors` (of 16 columns) are constants once inlined; `mask` selects the columns of the last vector.
/// `ahead`, as many packed words, is fetched meanwhile: the next tile, which may come from memory.
EK_INLINE void multiply_tile(const int rows, const int vectors, const uint32_t *restrict left,
                             const uint32_t *restrict right, float *restrict c, ptrdiff_t ldc, ptrdiff_t words,
                             __mmask16 mask, int accumulate, const uint32_t *ahead) {
    __m512 sums[EK_GEMM_TILE_ROWS][2];
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
    for (ptrdiff_t w = 0; w < words; w++) {
        const uint32_t *columns = right + w * vectors * 16;
        __m512i in[2];
#pragma clang loop unroll(full)
        for (int j = 0; j < vectors; j++) in[j] = _mm512_load_si512(columns + 16 * j);
        _mm_prefetch((const char *)(ahead + w * EK_GEMM_TILE_STRIDE), _MM_HINT_T0);
#pragma clang loop unroll(full)
        for (int i = 0; i < rows; i++) {
            __m512i x = _mm512_set1_epi32((int)left[w * EK_GEMM_TILE_STRIDE + i]);
#pragma clang loop unroll(full)
            for (int j = 0; j < vectors; j++) sums[i][j] = multiply_add(sums[i][j], x, in[j]);
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

typedef void (*tile_kernel)(const uint32_t *left, const uint32_t *right, float *c, ptrdiff_t ldc, ptrdiff_t words,
                            __mmask16 mask, int accumulate, const uint32_t *ahead);

#define TILE_KERNEL(rows, vectors)                                                                                    \
    static void tile_##rows##x##vectors(const uint32_t *left, const uint32_t *right, float *c, ptrdiff_t ldc,         \
                                        ptrdiff_t words, __mmask16 mask, int accumulate, const uint32_t *ahead) {     \
        multiply_tile(rows, vectors, left, right, c, ldc, words, mask, accumulate, ahead);                            \
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
static const tile_kernel tile_kernels[EK_GEMM_TILE_ROWS][2] = {
    TILE_ENTRY(1), TILE_ENTRY(2), TILE_ENTRY(3),  TILE_ENTRY(4),  TILE_ENTRY(5),  TILE_ENTRY(6),  TILE_ENTRY(7),
    TILE_ENTRY(8), TILE_ENTRY(9), TILE_ENTRY(10), TILE_ENTRY(11), TILE_ENTRY(12), TILE_ENTRY(13), TILE_ENTRY(14),
};

/// The columns of a panel, the last of which may be narrow.
static range panel_columns(const ek_gemm_product *product, ptrdiff_t panel) {
    range columns = {panel * EK_GEMM_PANEL_COLUMNS, (panel + 1) * EK_GEMM_PANEL_COLUMNS};
    if (columns.end > product->columns) columns.end = product->columns;
    return columns;
}

/// Multiplies the packed tiles `tiles` with packed panels, over the words `depth`.
static void multiply_tiles(const ek_gemm_product *product, range tiles, range panels, range depth,
                           const uint32_t *packed, int accumulate) {
    ptrdiff_t all_tiles = ek_gemm_tiles(product->rows), words = depth.end - depth.start;
    for (ptrdiff_t tile = tiles.start; tile < tiles.end; tile++) {
        range rows = piece(tile, all_tiles, product->rows);
        const uint32_t *left = product->left + (tile * product->left_words + depth.start) * EK_GEMM_TILE_STRIDE;
        const uint32_t *next = tile + 1 < tiles.end ? left + product->left_words * EK_GEMM_TILE_STRIDE : left;
        for (ptrdiff_t panel = panels.start; panel < panels.end; panel++) {
            range columns = panel_columns(product, panel);
            int vectors = columns.end - columns.start > 16 ? 2 : 1;
            ptrdiff_t in_last = columns.end - columns.start - 16 * (vectors - 1);
            tile_kernels[rows.end - rows.start - 1][vectors - 1](
                left, packed + (panel - panels.start) * words * EK_GEMM_PANEL_COLUMNS,
                product->c + rows.start * product->ldc + columns.start, product->ldc, words,
                first_columns(in_last), accumulate, panel == panels.start ? next : left);
        }
    }
}
