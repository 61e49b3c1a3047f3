// Packing: the left side into tiles of 14 rows, the right side into panels of 32 or 16 columns.

/// The first `count` of 16 columns.
EK_INLINE __mmask16 first_columns(ptrdiff_t count) {
    return count >= 16 ? 0xffff : count <= 0 ? 0 : (__mmask16)((1u << count) - 1);
}

/// Transposes 16 vectors of 16 words.
EK_INLINE void transpose_words(__m512i v[16]) {
    __m512i t[16];
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++) {
        v[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        v[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        v[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        v[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    // Now v[4i + j] holds, in its 128-bit lane l, column 4l + j of rows 4i ... 4i + 3.
    for (int j = 0; j < 4; j++) {
        t[j] = _mm512_shuffle_i32x4(v[j], v[j + 4], 0x88);
        t[j + 4] = _mm512_shuffle_i32x4(v[j], v[j + 4], 0xdd);
        t[j + 8] = _mm512_shuffle_i32x4(v[j + 8], v[j + 12], 0x88);
        t[j + 12] = _mm512_shuffle_i32x4(v[j + 8], v[j + 12], 0xdd);
    }
    for (int j = 0; j < 4; j++) {
        v[j] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0x88);
        v[j + 8] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0xdd);
        v[j + 4] = _mm512_shuffle_i32x4(t[j + 4], t[j + 12], 0x88);
        v[j + 12] = _mm512_shuffle_i32x4(t[j + 4], t[j + 12], 0xdd);
    }
}

/// Stores 16 vectors of words along K as lines of 16 rows or columns, `step` words apart; `count` lines exist.
EK_INLINE void store_lines(uint32_t *out, ptrdiff_t step, __m512i v[16], ptrdiff_t count) {
    transpose_words(v);
    ptrdiff_t lines = count < 16 ? count : 16;
    for (ptrdiff_t i = 0; i < lines; i++) _mm512_store_si512(out + i * step, v[i]);
}

static void pack_left(uint32_t *packed, ptrdiff_t words, ptrdiff_t first, const float *values, ptrdiff_t stride,
                      int is_transposed, ptrdiff_t rows, ptrdiff_t depth, float scale, ptrdiff_t tile) {
    range own = piece(tile, ek_gemm_tiles(rows), rows);
    ptrdiff_t count = own.end - own.start, own_words = ek_gemm_words(EK_PRECISION, depth);
    uint32_t *out = packed + (tile * words + first) * EK_GEMM_TILE_STRIDE;
    __m512 factor = _mm512_set1_ps(scale);
    if (is_transposed) {
        for (ptrdiff_t w = 0; w < own_words; w++) {
            ptrdiff_t k = w * WORD_ELEMENTS;
            __m512i line = line_of_f32(values + k * stride + own.start, stride, depth - k, first_columns(count), factor);
            _mm512_store_si512(out + w * EK_GEMM_TILE_STRIDE, line);
        }
        return;
    }
    for (ptrdiff_t w = 0; w < own_words; w += 16) {
        ptrdiff_t k = w * WORD_ELEMENTS;
        __m512i v[16];
        for (ptrdiff_t i = 0; i < 16; i++) {
            v[i] = i < count ? words_of_f32(values + (own.start + i) * stride + k, depth - k, factor)
                             : _mm512_setzero_si512();
        }
        store_lines(out + w * EK_GEMM_TILE_STRIDE, EK_GEMM_TILE_STRIDE, v, own_words - w);
    }
}

/// Packs up to 16 columns of R that are stored as rows, `count` words from word `first` on, `step` words apart.
EK_INLINE void pack_stored_columns(uint32_t *out, ptrdiff_t step, const ek_gemm_factor *factor, ptrdiff_t column,
                                   ptrdiff_t columns, ptrdiff_t first, ptrdiff_t count) {
    for (ptrdiff_t w = 0; w < count; w += 16) {
        ptrdiff_t k = (first + w) * WORD_ELEMENTS;
        __m512i v[16];
        for (ptrdiff_t i = 0; i < 16; i++) {
            ptrdiff_t start = (column + i) * factor->stride + k;
            if (i >= columns) {
                v[i] = _mm512_setzero_si512();
            } else if (factor->is_f32) {
                v[i] = words_of_f32((const float *)factor->values + start, factor->depth - k, _mm512_set1_ps(1));
            } else {
                v[i] = words_of_bf16((const uint16_t *)factor->values + start, factor->depth - k);
            }
        }
        store_lines(out + w * step, step, v, count - w);
    }
}

/// Packs up to 16 columns of R that is stored by its own rows; as above.
EK_INLINE void pack_stored_rows(uint32_t *out, ptrdiff_t step, const ek_gemm_factor *factor, ptrdiff_t column,
                                ptrdiff_t columns, ptrdiff_t first, ptrdiff_t count) {
    __mmask16 mask = first_columns(columns);
    for (ptrdiff_t w = 0; w < count; w++) {
        ptrdiff_t k = (first + w) * WORD_ELEMENTS, start = k * factor->stride + column, rows = factor->depth - k;
        __m512i line = factor->is_f32 ? line_of_f32((const float *)factor->values + start, factor->stride, rows, mask,
                                                    _mm512_set1_ps(1))
                                      : line_of_bf16((const uint16_t *)factor->values + start, factor->stride, rows,
                                                     mask);
        _mm512_store_si512(out + w * step, line);
    }
}

/// Packs columns column ..< column + columns (at most 32) of all factors, `count` of their words from `first` on.
static void pack_panel(uint32_t *out, const ek_gemm_product *product, ptrdiff_t column, ptrdiff_t columns,
                       ptrdiff_t first, ptrdiff_t count) {
    int vectors = columns > 16 ? 2 : 1;
    ptrdiff_t factor_start = 0;
    for (int f = 0; f < product->factor_count; f++) {
        const ek_gemm_factor *factor = &product->factors[f];
        ptrdiff_t factor_end = factor_start + ek_gemm_words(EK_PRECISION, factor->depth);
        ptrdiff_t from = first > factor_start ? first : factor_start;
        ptrdiff_t to = first + count < factor_end ? first + count : factor_end;
        for (int j = 0; j < vectors && from < to; j++) {
            uint32_t *part = out + ((from - first) * vectors + j) * 16;
            if (factor->is_transposed) {
                pack_stored_columns(part, vectors * 16, factor, column + 16 * j, columns - 16 * j, from - factor_start,
                                    to - from);
            } else {
                pack_stored_rows(part, vectors * 16, factor, column + 16 * j, columns - 16 * j, from - factor_start,
                                 to - from);
            }
        }
        factor_start = factor_end;
    }
}
