// Few rows with a right side that is stored as its columns: decoding. Nothing is packed but the left rows; the time is
// that of reading R once.

/// The sums of 16 vectors' elements, in order; every vector's elements are added in the same order.
EK_INLINE __m512 sums_of_vectors(const __m512 v[16]) {
    __m512 pairs[8], quads[4], halves[2];
    for (int i = 0; i < 8; i++) {
        pairs[i] = _mm512_add_ps(_mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]));
    }
    for (int i = 0; i < 4; i++) {
        __m512d a = _mm512_castps_pd(pairs[2 * i]), b = _mm512_castps_pd(pairs[2 * i + 1]);
        quads[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    }
    for (int i = 0; i < 2; i++) {
        halves[i] = _mm512_add_ps(_mm512_shuffle_f32x4(quads[2 * i], quads[2 * i + 1], 0x88),
                                  _mm512_shuffle_f32x4(quads[2 * i], quads[2 * i + 1], 0xdd));
    }
    return _mm512_add_ps(_mm512_shuffle_f32x4(halves[0], halves[1], 0x88),
                         _mm512_shuffle_f32x4(halves[0], halves[1], 0xdd));
}

/// Adds to sums[i][j] the products of `rows` left rows, `left_words` apart, with the stored rows column + j. What will
/// be needed next is fetched `ahead` bytes before its turn.
EK_INLINE void add_dot_products(const int rows, const int columns, const int is_f32, const ek_gemm_factor *factor,
                                ptrdiff_t column, const uint32_t *left, ptrdiff_t left_words, ptrdiff_t ahead,
                                __m512 sums[4][4]) {
    for (ptrdiff_t k = 0; k < factor->depth; k += VECTOR_ELEMENTS) {
        ptrdiff_t start = column * factor->stride + k, count = factor->depth - k;
        __m512i in[4];
#pragma clang loop unroll(full)
        for (int j = 0; j < columns; j++, start += factor->stride) {
            if (is_f32) {
                const float *stored = (const float *)factor->values + start;
                in[j] = words_of_f32(stored, count, _mm512_set1_ps(1));
                _mm_prefetch((const char *)stored + ahead, _MM_HINT_T1);
            } else {
                const uint16_t *stored = (const uint16_t *)factor->values + start;
                in[j] = words_of_bf16(stored, count);
                _mm_prefetch((const char *)stored + ahead, _MM_HINT_T1);
            }
        }
#pragma clang loop unroll(full)
        for (int i = 0; i < rows; i++) {
            __m512i x = _mm512_load_si512(left + i * left_words + k / WORD_ELEMENTS);
#pragma clang loop unroll(full)
            for (int j = 0; j < columns; j++) sums[i][j] = multiply_add(sums[i][j], x, in[j]);
        }
    }
}

/// Adds all factors' products to sums[i][j].
EK_INLINE void add_all_dot_products(const int rows, const int columns, const ek_gemm_product *product, ptrdiff_t row,
                                    ptrdiff_t column, __m512 sums[4][4]) {
    const uint32_t *left = product->left + row * product->left_words;
    for (int f = 0; f < product->factor_count; f++) {
        const ek_gemm_factor *factor = &product->factors[f];
        ptrdiff_t ahead = columns == 1 ? 1024 : columns * factor->stride * (factor->is_f32 ? 4 : 2);
        if (factor->is_f32) {
            add_dot_products(rows, columns, 1, factor, column, left, product->left_words, ahead, sums);
        } else {
            add_dot_products(rows, columns, 0, factor, column, left, product->left_words, ahead, sums);
        }
        left += ek_gemm_row_words(EK_PRECISION, factor->depth);
    }
}

/// Computes columns column ..< end (at most 16) of `rows` rows (at most 4) from `row` on, `step` columns at a time.
EK_INLINE void multiply_rows_block(const int rows, const int step, const ek_gemm_product *product, ptrdiff_t row,
                                   ptrdiff_t column, ptrdiff_t end) {
    __m512 totals[4][16];
    for (int i = 0; i < rows; i++) {
        for (int j = 0; j < 16; j++) totals[i][j] = _mm512_setzero_ps();
    }
    ptrdiff_t j = column;
    for (; j + step <= end; j += step) {
        __m512 sums[4][4];
#pragma clang loop unroll(full)
        for (int i = 0; i < 4; i++) sums[i][0] = sums[i][1] = sums[i][2] = sums[i][3] = _mm512_setzero_ps();
        add_all_dot_products(rows, step, product, row, j, sums);
#pragma clang loop unroll(full)
        for (int i = 0; i < rows; i++) {
#pragma clang loop unroll(full)
            for (int u = 0; u < step; u++) totals[i][j - column + u] = sums[i][u];
        }
    }
    for (; j < end; j++) {
        __m512 sums[4][4];
        for (int i = 0; i < rows; i++) sums[i][0] = _mm512_setzero_ps();
        add_all_dot_products(rows, 1, product, row, j, sums);
        for (int i = 0; i < rows; i++) totals[i][j - column] = sums[i][0];
    }
    __mmask16 mask = first_columns(end - column);
    for (int i = 0; i < rows; i++) {
        float *out = product->c + (row + i) * product->ldc + column;
        __m512 result = sums_of_vectors(totals[i]);
        if (product->accumulate) result = _mm512_add_ps(result, _mm512_maskz_loadu_ps(mask, out));
        _mm512_mask_storeu_ps(out, mask, result);
    }
}

typedef void (*rows_kernel)(const ek_gemm_product *product, ptrdiff_t row, ptrdiff_t column, ptrdiff_t end);

#define ROWS_KERNEL(rows, step)                                                                                       \
    static void multiply_##rows##_by_##step(const ek_gemm_product *product, ptrdiff_t row, ptrdiff_t column,          \
                                            ptrdiff_t end) {                                                          \
        multiply_rows_block(rows, step, product, row, column, end);                                                   \
    }
#define ROWS_KERNELS(rows) ROWS_KERNEL(rows, 1) ROWS_KERNEL(rows, 4)

ROWS_KERNELS(1)
ROWS_KERNELS(2)
ROWS_KERNELS(3)
ROWS_KERNELS(4)

/// One stored row at a time is how memory is read fastest; beyond four rows, arithmetic counts more.
static const rows_kernel rows_kernels[4][2] = {{multiply_1_by_1, multiply_1_by_4},
                                               {multiply_2_by_1, multiply_2_by_4},
                                               {multiply_3_by_1, multiply_3_by_4},
                                               {multiply_4_by_1, multiply_4_by_4}};

static void multiply_rows(const ek_gemm_product *product, ptrdiff_t item) {
    range blocks = piece(item, ek_gemm_row_items(product), pieces_of(product->columns, 16));
    for (ptrdiff_t column = blocks.start * 16; column < blocks.end * 16; column += 16) {
        ptrdiff_t end = column + 16 < product->columns ? column + 16 : product->columns;
        for (ptrdiff_t row = 0; row < product->rows; row += 4) {
            ptrdiff_t rows = product->rows - row < 4 ? product->rows - row : 4;
            rows_kernels[rows - 1][product->rows > 4](product, row, column, end);
        }
    }
}

static void pack_rows(uint32_t *packed, ptrdiff_t words, ptrdiff_t first, const float *values, ptrdiff_t stride,
                      ptrdiff_t rows, ptrdiff_t depth, float scale) {
    __m512 factor = _mm512_set1_ps(scale);
    for (ptrdiff_t i = 0; i < rows; i++) {
        uint32_t *out = packed + i * words + first;
        for (ptrdiff_t k = 0; k < depth; k += VECTOR_ELEMENTS) {
            _mm512_store_si512(out + k / WORD_ELEMENTS, words_of_f32(values + i * stride + k, depth - k, factor));
        }
    }
}
