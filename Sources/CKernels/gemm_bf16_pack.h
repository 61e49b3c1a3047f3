// Packing for the bf16 product: the left side into tiles of 14 rows, the right side into panels of 32 or 16 columns.

/// The first `count` (at most 32) of the mask's bits.
EK_INLINE __mmask32 first_bits(ptrdiff_t count) {
    return count >= 32 ? 0xffffffffu : count <= 0 ? 0u : (1u << count) - 1;
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

/// Up to 32 floats from `values` on as bf16, zeros after `count`.
EK_INLINE __m512i rounded(const float *values, ptrdiff_t count, __m512 scale) {
    __mmask32 mask = first_bits(count);
    __m512 low = _mm512_maskz_loadu_ps((__mmask16)mask, values);
    __m512 high = _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), values + 16);
    return (__m512i)_mm512_cvtne2ps_pbh(_mm512_mul_ps(high, scale), _mm512_mul_ps(low, scale));
}

/// Word i of the result is (low's bf16 i, high's bf16 i), for the 16 of `first` (in halves of one vector).
EK_INLINE __m512i interleaved_halves(__m512i halves) {
    const __m512i order =
        _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4, 19,
                         3, 18, 2, 17, 1, 16, 0);
    return _mm512_permutexvar_epi16(order, halves);
}

/// 16 columns of two rows of floats as pairs; `below` is NULL where the depth is odd and this is its last row.
EK_INLINE __m512i rounded_pairs(const float *above, const float *below, __mmask16 mask, __m512 scale) {
    __m512 high = below ? _mm512_maskz_loadu_ps(mask, below) : _mm512_setzero_ps();
    __m512 low = _mm512_maskz_loadu_ps(mask, above);
    return interleaved_halves(
        (__m512i)_mm512_cvtne2ps_pbh(_mm512_mul_ps(high, scale), _mm512_mul_ps(low, scale)));
}

static void pack_left(uint32_t *packed, ptrdiff_t pairs, ptrdiff_t first_pair, const float *values, ptrdiff_t stride,
                      int is_transposed, ptrdiff_t rows, ptrdiff_t depth, float scale, ptrdiff_t tile) {
    ptrdiff_t tiles = ek_bf16_tiles(rows);
    ptrdiff_t first = tile * rows / tiles, count = (tile + 1) * rows / tiles - first;
    ptrdiff_t own = ek_bf16_pairs(depth);
    uint32_t *out = packed + (tile * pairs + first_pair) * EK_BF16_TILE_STRIDE;
    __m512 factor = _mm512_set1_ps(scale);
    if (is_transposed) {
        __mmask16 mask = (__mmask16)first_bits(count);
        for (ptrdiff_t p = 0; p < own; p++) {
            const float *above = values + 2 * p * stride + first;
            const float *below = 2 * p + 1 < depth ? above + stride : NULL;
            _mm512_store_si512(out + p * EK_BF16_TILE_STRIDE, rounded_pairs(above, below, mask, factor));
        }
        return;
    }
    for (ptrdiff_t p = 0; p < own; p += 16) {
        __m512i v[16];
        for (ptrdiff_t i = 0; i < 16; i++) {
            v[i] = i < count ? rounded(values + (first + i) * stride + 2 * p, depth - 2 * p, factor)
                             : _mm512_setzero_si512();
        }
        transpose_words(v);
        ptrdiff_t lines = own - p < 16 ? own - p : 16;
        for (ptrdiff_t i = 0; i < lines; i++) _mm512_store_si512(out + (p + i) * EK_BF16_TILE_STRIDE, v[i]);
    }
}

/// Packs 16 columns of R that are stored as rows, pairs first ..< first + count, `step` words apart.
EK_INLINE void pack_stored_columns(uint32_t *out, ptrdiff_t step, const ek_bf16_factor *factor, ptrdiff_t column,
                                   ptrdiff_t columns, ptrdiff_t first, ptrdiff_t count) {
    for (ptrdiff_t p = 0; p < count; p += 16) {
        ptrdiff_t k = 2 * (first + p);
        __m512i v[16];
        for (ptrdiff_t i = 0; i < 16; i++) {
            ptrdiff_t start = (column + i) * factor->stride + k;
            if (i >= columns) {
                v[i] = _mm512_setzero_si512();
            } else if (factor->is_f32) {
                v[i] = rounded((const float *)factor->values + start, factor->depth - k, _mm512_set1_ps(1));
            } else {
                v[i] = _mm512_maskz_loadu_epi16(first_bits(factor->depth - k),
                                                (const uint16_t *)factor->values + start);
            }
        }
        transpose_words(v);
        ptrdiff_t lines = count - p < 16 ? count - p : 16;
        for (ptrdiff_t i = 0; i < lines; i++) _mm512_store_si512(out + (p + i) * step, v[i]);
    }
}

/// Packs up to 32 columns of R that is stored by its own rows.
EK_INLINE void pack_stored_rows(uint32_t *out, int vectors, const ek_bf16_factor *factor, ptrdiff_t column,
                                ptrdiff_t columns, ptrdiff_t first, ptrdiff_t count) {
    const __m512i low = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6,
                                         37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    __mmask32 mask = first_bits(columns);
    for (ptrdiff_t p = 0; p < count; p++) {
        ptrdiff_t k = 2 * (first + p);
        ptrdiff_t start = k * factor->stride + column;
        int has_below = k + 1 < factor->depth;
        uint32_t *line = out + p * vectors * 16;
        if (factor->is_f32) {
            const float *above = (const float *)factor->values + start;
            const float *below = has_below ? above + factor->stride : NULL;
            _mm512_store_si512(line, rounded_pairs(above, below, (__mmask16)mask, _mm512_set1_ps(1)));
            if (vectors == 1) continue;
            _mm512_store_si512(line + 16, rounded_pairs(above + 16, below ? below + 16 : NULL, (__mmask16)(mask >> 16),
                                                        _mm512_set1_ps(1)));
        } else {
            const uint16_t *above = (const uint16_t *)factor->values + start;
            __m512i x = _mm512_maskz_loadu_epi16(mask, above);
            __m512i y = has_below ? _mm512_maskz_loadu_epi16(mask, above + factor->stride) : _mm512_setzero_si512();
            _mm512_store_si512(line, _mm512_permutex2var_epi16(x, low, y));
            if (vectors == 2) _mm512_store_si512(line + 16, _mm512_permutex2var_epi16(x, high, y));
        }
    }
}

/// Packs columns column ..< column + columns (at most 32) of all factors, pairs first ..< first + count of their sum.
static void pack_panel(uint32_t *out, const ek_bf16_product *product, ptrdiff_t column, ptrdiff_t columns,
                       ptrdiff_t first, ptrdiff_t count) {
    int vectors = columns > 16 ? 2 : 1;
    ptrdiff_t factor_start = 0;
    for (int f = 0; f < product->factor_count; f++) {
        const ek_bf16_factor *factor = &product->factors[f];
        ptrdiff_t factor_end = factor_start + ek_bf16_pairs(factor->depth);
        ptrdiff_t from = first > factor_start ? first : factor_start;
        ptrdiff_t to = first + count < factor_end ? first + count : factor_end;
        if (from < to) {
            uint32_t *part = out + (from - first) * vectors * 16;
            if (factor->is_transposed) {
                for (int j = 0; j < vectors; j++) {
                    pack_stored_columns(part + 16 * j, vectors * 16, factor, column + 16 * j, columns - 16 * j,
                                        from - factor_start, to - from);
                }
            } else {
                pack_stored_rows(part, vectors, factor, column, columns, from - factor_start, to - from);
            }
        }
        factor_start = factor_end;
    }
}
