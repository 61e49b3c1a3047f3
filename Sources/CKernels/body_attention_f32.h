// The operands of attention's blocks and their products in f32. Every file of operands defines the same functions.

enum { QUERY_ROWS = EK_ATTENTION_ROWS, KEY_ROWS = EK_ATTENTION_KEYS };

EK_INLINE ptrdiff_t whole_vectors(ptrdiff_t count) { return (count + EK_WIDTH - 1) / EK_WIDTH * EK_WIDTH; }

/// Padding up to `width` is 0.
typedef struct {
    float *q;                 // [QUERY_ROWS, width], multiplied by the scale
    float *dout;              // [QUERY_ROWS, width]
    float *k_transposed;      // [width, KEY_ROWS]
    float *v_transposed;      // [width, KEY_ROWS]
    float *k, *v;             // [KEY_ROWS, width]
} attention_operands;

EK_INLINE float *place_operands(attention_operands *o, ptrdiff_t width, float *next) {
    o->q = next, next += QUERY_ROWS * width;
    o->dout = next, next += QUERY_ROWS * width;
    o->k_transposed = next, next += KEY_ROWS * width;
    o->v_transposed = next, next += KEY_ROWS * width;
    o->k = next, next += KEY_ROWS * width;
    o->v = next, next += KEY_ROWS * width;
    return next;
}

#include "body_attention_scratch.h"

static void copy_rows(float *to, ptrdiff_t width, const float *from, ptrdiff_t stride, ptrdiff_t rows,
                      ptrdiff_t head_dim, float scale) {
    for (ptrdiff_t r = 0; r < rows; r++) {
        for (ptrdiff_t d = 0; d < head_dim; d++) to[r * width + d] = from[r * stride + d] * scale;
        for (ptrdiff_t d = head_dim; d < width; d++) to[r * width + d] = 0;
    }
}

/// Rows [rows, head_dim] to columns [width, KEY_ROWS]; what is beyond the rows or the head's width is 0.
static void transpose_rows(float *to, ptrdiff_t width, const float *from, ptrdiff_t stride, ptrdiff_t rows,
                           ptrdiff_t head_dim) {
    memset(to, 0, sizeof(float) * (size_t)(width * KEY_ROWS));
    for (ptrdiff_t r0 = 0; r0 < rows; r0 += 8) {
        ptrdiff_t r1 = r0 + 8 < rows ? r0 + 8 : rows;
        for (ptrdiff_t d = 0; d < head_dim; d++) {
            for (ptrdiff_t r = r0; r < r1; r++) to[d * KEY_ROWS + r] = from[r * stride + d];
        }
    }
}

/// The queries of a block; with their output's gradient if `dout` is not NULL.
EK_INLINE void hold_queries(const attention_scratch *s, const ek_attention_block *block, const float *dout,
                            ptrdiff_t dout_stride) {
    copy_rows(s->o.q, s->width, block->q + block->q_start * block->q_stride, block->q_stride, block->q_count,
              block->head_dim, block->scale);
    if (dout) copy_rows(s->o.dout, s->width, dout, dout_stride, block->q_count, block->head_dim, 1);
}

/// `keys` rows of keys and values, for the forward or the backward pass.
EK_INLINE void hold_keys(const attention_scratch *s, const ek_attention_block *block, ptrdiff_t row, ptrdiff_t keys,
                         int is_backward) {
    const float *k = block->k + row * block->kv_stride, *v = block->v + row * block->kv_stride;
    transpose_rows(s->o.k_transposed, s->width, k, block->kv_stride, keys, block->head_dim);
    if (is_backward) {
        transpose_rows(s->o.v_transposed, s->width, v, block->kv_stride, keys, block->head_dim);
        copy_rows(s->o.k, s->width, k, block->kv_stride, keys, block->head_dim, 1);
    } else {
        copy_rows(s->o.v, s->width, v, block->kv_stride, keys, block->head_dim, 1);
    }
}

/// scores = q · kT
EK_INLINE void multiply_scores(const attention_scratch *s, ptrdiff_t rows, ptrdiff_t keys) {
    gemm_small(rows, whole_vectors(keys), s->width, s->o.q, s->width, 1, s->o.k_transposed, KEY_ROWS, s->scores,
               KEY_ROWS, 0);
}

/// out += scores · v
EK_INLINE void add_values(const attention_scratch *s, ptrdiff_t rows, ptrdiff_t keys) {
    gemm_small(rows, s->width, keys, s->scores, KEY_ROWS, 1, s->o.v, s->width, s->out, s->width, 1);
}

/// dscores = dout · vT
EK_INLINE void multiply_dscores(const attention_scratch *s, ptrdiff_t rows, ptrdiff_t keys) {
    gemm_small(rows, whole_vectors(keys), s->width, s->o.dout, s->width, 1, s->o.v_transposed, KEY_ROWS, s->dscores,
               KEY_ROWS, 0);
}

/// dv += scoresT · dout, dk += dscoresT · q, and out += dscores · k
EK_INLINE void add_gradients(const attention_scratch *s, ptrdiff_t rows, ptrdiff_t keys, float *dk, float *dv,
                             ptrdiff_t stride) {
    gemm_small(keys, s->head_dim, rows, s->scores, 1, KEY_ROWS, s->o.dout, s->width, dv, stride, 1);
    gemm_small(keys, s->head_dim, rows, s->dscores, 1, KEY_ROWS, s->o.q, s->width, dk, stride, 1);
    gemm_small(rows, s->width, keys, s->dscores, KEY_ROWS, 1, s->o.k, s->width, s->out, s->width, 1);
}
