// A matrix product for small shapes: attention's blocks and low-rank factors. A's elements are broadcast, B's rows are
// read as vectors, a tile of EK_ROWS x EK_COLUMNS vectors of C stays in registers.

/// A tile of `rows` x `columns` vectors; both are constants once inlined.
EK_INLINE void gemm_tile(const int rows, const int columns, ptrdiff_t k, const float *a, ptrdiff_t a_row,
                         ptrdiff_t a_column, const float *b, ptrdiff_t ldb, float *c, ptrdiff_t ldc, int accumulate) {
    vec sums[EK_ROWS][EK_COLUMNS];
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++) {
#pragma clang loop unroll(full)
        for (int j = 0; j < columns; j++) sums[i][j] = accumulate ? load(c + i * ldc + j * EK_WIDTH) : splat(0);
    }
    for (ptrdiff_t p = 0; p < k; p++) {
        const float *row = b + p * ldb;
        vec in[EK_COLUMNS];
#pragma clang loop unroll(full)
        for (int j = 0; j < columns; j++) in[j] = load(row + j * EK_WIDTH);
#pragma clang loop unroll(full)
        for (int i = 0; i < rows; i++) {
            vec x = splat(a[i * a_row + p * a_column]);
#pragma clang loop unroll(full)
            for (int j = 0; j < columns; j++) sums[i][j] += x * in[j];
        }
    }
#pragma clang loop unroll(full)
    for (int i = 0; i < rows; i++) {
#pragma clang loop unroll(full)
        for (int j = 0; j < columns; j++) store(c + i * ldc + j * EK_WIDTH, sums[i][j]);
    }
}

EK_INLINE void gemm_columns(const int columns, ptrdiff_t m, ptrdiff_t k, const float *a, ptrdiff_t a_row,
                            ptrdiff_t a_column, const float *b, ptrdiff_t ldb, float *c, ptrdiff_t ldc,
                            int accumulate) {
    ptrdiff_t i = 0;
    for (; i + EK_ROWS <= m; i += EK_ROWS)
        gemm_tile(EK_ROWS, columns, k, a + i * a_row, a_row, a_column, b, ldb, c + i * ldc, ldc, accumulate);
    for (; i + 2 <= m; i += 2)
        gemm_tile(2, columns, k, a + i * a_row, a_row, a_column, b, ldb, c + i * ldc, ldc, accumulate);
    for (; i < m; i++)
        gemm_tile(1, columns, k, a + i * a_row, a_row, a_column, b, ldb, c + i * ldc, ldc, accumulate);
}

static void gemm_small(ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, const float *a, ptrdiff_t a_row, ptrdiff_t a_column,
                       const float *b, ptrdiff_t ldb, float *c, ptrdiff_t ldc, int accumulate) {
    ptrdiff_t j = 0;
    for (; j + EK_COLUMNS * EK_WIDTH <= n; j += EK_COLUMNS * EK_WIDTH)
        gemm_columns(EK_COLUMNS, m, k, a, a_row, a_column, b + j, ldb, c + j, ldc, accumulate);
    for (; j + EK_WIDTH <= n; j += EK_WIDTH)
        gemm_columns(1, m, k, a, a_row, a_column, b + j, ldb, c + j, ldc, accumulate);
    for (; j < n; j++) {
        for (ptrdiff_t i = 0; i < m; i++) {
            float sum = accumulate ? c[i * ldc + j] : 0;
            for (ptrdiff_t p = 0; p < k; p++) sum += a[i * a_row + p * a_column] * b[p * ldb + j];
            c[i * ldc + j] = sum;
        }
    }
}
