// Attention whose products are in bf16: queries, keys, values, probabilities and their gradients are rounded as factors;
// sums, the softmax and what is kept of it are f32.
#if defined(__x86_64__)
#include <immintrin.h>
#include <math.h>
#include <string.h>

#include "gemm_cut.h"
#include "kernels.h"

#define EK_WIDTH 16
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,bmi2"))), \
                             apply_to = function)

#include "body_vector.h"
#include "gemm_words_bf16.h"
#include "gemm_pack.h"
#include "gemm_tile.h"

enum { QUERY_ROWS = EK_ATTENTION_ROWS, KEY_ROWS = EK_ATTENTION_KEYS };

EK_INLINE ptrdiff_t whole_vectors(ptrdiff_t count) { return (count + EK_WIDTH - 1) / EK_WIDTH * EK_WIDTH; }

/// Left sides are packed in tiles, right sides in panels.
typedef struct {
    float *q;                          // [QUERY_ROWS, width], multiplied by the scale
    uint32_t *q_left, *dout_left;      // [rows, head_dim]
    uint32_t *q_right, *dout_right;    // [rows, head_dim]
    uint32_t *kt_right, *vt_right;     // [head_dim, keys]
    uint32_t *k_right, *v_right;       // [keys, head_dim]
    uint32_t *scores_left;             // scores or dscores, or their transposes
} attention_operands;

EK_INLINE float *place_operands(attention_operands *o, ptrdiff_t width, float *next) {
    ptrdiff_t tiles = ek_gemm_tiles(QUERY_ROWS > KEY_ROWS ? QUERY_ROWS : KEY_ROWS);
    ptrdiff_t left = tiles * EK_GEMM_TILE_STRIDE * width / 2;
    ptrdiff_t panels = pieces_of(width, EK_GEMM_PANEL_COLUMNS) * EK_GEMM_PANEL_COLUMNS;
    uint32_t *word = (uint32_t *)(next + QUERY_ROWS * width);
    o->q = next;
    o->q_left = word, word += left;
    o->dout_left = word, word += left;
    o->q_right = word, word += QUERY_ROWS / 2 * panels;
    o->dout_right = word, word += QUERY_ROWS / 2 * panels;
    o->kt_right = word, word += width / 2 * KEY_ROWS;
    o->vt_right = word, word += width / 2 * KEY_ROWS;
    o->k_right = word, word += KEY_ROWS / 2 * panels;
    o->v_right = word, word += KEY_ROWS / 2 * panels;
    o->scores_left = word, word += tiles * EK_GEMM_TILE_STRIDE * (QUERY_ROWS > KEY_ROWS ? QUERY_ROWS : KEY_ROWS) / 2;
    return (float *)word;
}

#include "body_attention_scratch.h"

/// L [rows, depth], stored so or transposed.
static void pack_whole_left(uint32_t *to, const float *values, ptrdiff_t stride, int is_transposed, ptrdiff_t rows,
                            ptrdiff_t depth) {
    for (ptrdiff_t tile = 0; tile < ek_gemm_tiles(rows); tile++)
        pack_left(to, ek_gemm_words(EK_GEMM_BF16, depth), 0, values, stride, is_transposed, rows, depth, 1, tile);
}

/// R [depth, columns], stored so or transposed.
static void pack_whole_right(uint32_t *to, const float *values, ptrdiff_t stride, int is_transposed, ptrdiff_t depth,
                             ptrdiff_t columns) {
    ek_gemm_product product = {.precision = EK_GEMM_BF16, .columns = columns, .factor_count = 1};
    product.factors[0] = (ek_gemm_factor){values, stride, depth, 1, is_transposed};
    ptrdiff_t words = ek_gemm_words(EK_GEMM_BF16, depth);
    for (ptrdiff_t panel = 0; panel < pieces_of(columns, EK_GEMM_PANEL_COLUMNS); panel++) {
        range own = panel_columns(&product, panel);
        pack_panel(to + panel * words * EK_GEMM_PANEL_COLUMNS, &product, own.start, own.end - own.start, 0, words);
    }
}

/// C [rows, columns] (+)= L · R
static void multiply_packed(const uint32_t *left, const uint32_t *right, ptrdiff_t rows, ptrdiff_t columns,
                            ptrdiff_t depth, float *c, ptrdiff_t ldc, int accumulate) {
    ptrdiff_t words = ek_gemm_words(EK_GEMM_BF16, depth);
    ek_gemm_product product = {.precision = EK_GEMM_BF16, .rows = rows, .columns = columns, .left = left,
                               .left_words = words, .c = c, .ldc = ldc};
    multiply_tiles(&product, (range){0, ek_gemm_tiles(rows)}, (range){0, pieces_of(columns, EK_GEMM_PANEL_COLUMNS)},
                   (range){0, words}, right, accumulate);
}

EK_INLINE void hold_queries(const attention_scratch *s, const ek_attention_block *block, const float *dout,
                            ptrdiff_t dout_stride) {
    ptrdiff_t rows = block->q_count, head_dim = block->head_dim;
    const float *q = block->q + block->q_start * block->q_stride;
    for (ptrdiff_t r = 0; r < rows; r++) {
        for (ptrdiff_t d = 0; d < head_dim; d++) s->o.q[r * s->width + d] = q[r * block->q_stride + d] * block->scale;
    }
    pack_whole_left(s->o.q_left, s->o.q, s->width, 0, rows, head_dim);
    if (!dout) return;
    pack_whole_right(s->o.q_right, s->o.q, s->width, 0, rows, head_dim);
    pack_whole_left(s->o.dout_left, dout, dout_stride, 0, rows, head_dim);
    pack_whole_right(s->o.dout_right, dout, dout_stride, 0, rows, head_dim);
}

EK_INLINE void hold_keys(const attention_scratch *s, const ek_attention_block *block, ptrdiff_t row, ptrdiff_t keys,
                         int is_backward) {
    const float *k = block->k + row * block->kv_stride, *v = block->v + row * block->kv_stride;
    ptrdiff_t stride = block->kv_stride, head_dim = block->head_dim;
    pack_whole_right(s->o.kt_right, k, stride, 1, head_dim, keys);
    if (is_backward) {
        pack_whole_right(s->o.vt_right, v, stride, 1, head_dim, keys);
        pack_whole_right(s->o.k_right, k, stride, 0, keys, head_dim);
    } else {
        pack_whole_right(s->o.v_right, v, stride, 0, keys, head_dim);
    }
}

EK_INLINE void multiply_scores(const attention_scratch *s, ptrdiff_t rows, ptrdiff_t keys) {
    multiply_packed(s->o.q_left, s->o.kt_right, rows, keys, s->head_dim, s->scores, KEY_ROWS, 0);
}

EK_INLINE void add_values(const attention_scratch *s, ptrdiff_t rows, ptrdiff_t keys) {
    pack_whole_left(s->o.scores_left, s->scores, KEY_ROWS, 0, rows, keys);
    multiply_packed(s->o.scores_left, s->o.v_right, rows, s->head_dim, keys, s->out, s->width, 1);
}

EK_INLINE void multiply_dscores(const attention_scratch *s, ptrdiff_t rows, ptrdiff_t keys) {
    multiply_packed(s->o.dout_left, s->o.vt_right, rows, keys, s->head_dim, s->dscores, KEY_ROWS, 0);
}

EK_INLINE void add_gradients(const attention_scratch *s, ptrdiff_t rows, ptrdiff_t keys, float *dk, float *dv,
                             ptrdiff_t stride) {
    pack_whole_left(s->o.scores_left, s->scores, KEY_ROWS, 1, keys, rows);
    multiply_packed(s->o.scores_left, s->o.dout_right, keys, s->head_dim, rows, dv, stride, 1);
    pack_whole_left(s->o.scores_left, s->dscores, KEY_ROWS, 1, keys, rows);
    multiply_packed(s->o.scores_left, s->o.q_right, keys, s->head_dim, rows, dk, stride, 1);
    pack_whole_left(s->o.scores_left, s->dscores, KEY_ROWS, 0, rows, keys);
    multiply_packed(s->o.scores_left, s->o.k_right, rows, s->head_dim, keys, s->out, s->width, 1);
}

#include "body_attention.h"

/// A single query is not worth packing for.
static void attention_forward_bf16(const ek_attention_block *block, float *out, ptrdiff_t out_stride, float *lse,
                                   ptrdiff_t lse_stride) {
    if (block->q_count == 1) ek_kernels_for(EK_ISA_AVX512)->attention.forward(block, out, out_stride, lse, lse_stride);
    else attention_forward(block, out, out_stride, lse, lse_stride);
}

const ek_attention_kernels ek_attention_avx512_bf16 = {attention_forward_bf16, attention_backward};
#pragma clang attribute pop
#endif
