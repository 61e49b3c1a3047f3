// Attention in blocks with a running softmax (Dao 2023): no matrix of tokens x tokens exists, forwards or backwards.

enum { QUERY_ROWS = EK_ATTENTION_ROWS, KEY_ROWS = EK_ATTENTION_KEYS };

// Below any real score; a finite value keeps the arithmetic free of inf - inf.
static const float masked_score = -1e30f;

typedef struct {
    ptrdiff_t width;          // head_dim rounded up to whole vectors; the padding is 0
    float *q;                 // [QUERY_ROWS, width], multiplied by the scale
    float *k_transposed;      // [width, KEY_ROWS]
    float *k, *v;             // [KEY_ROWS, width]
    float *v_transposed;      // [width, KEY_ROWS]
    float *scores, *dscores;  // [QUERY_ROWS, KEY_ROWS]
    float *out;               // [QUERY_ROWS, width]
    float *dout;              // [QUERY_ROWS, width]
    float *row_max, *row_sum; // [QUERY_ROWS]
} attention_scratch;

EK_INLINE attention_scratch divide_scratch(const ek_attention_block *block) {
    attention_scratch s;
    s.width = (block->head_dim + EK_WIDTH - 1) / EK_WIDTH * EK_WIDTH;
    float *next = block->scratch;
    ptrdiff_t q_size = QUERY_ROWS * s.width, k_size = KEY_ROWS * s.width;
    s.q = next, next += q_size;
    s.k_transposed = next, next += k_size;
    s.k = next, next += k_size;
    s.v = next, next += k_size;
    s.v_transposed = next, next += k_size;
    s.scores = next, next += QUERY_ROWS * KEY_ROWS;
    s.dscores = next, next += QUERY_ROWS * KEY_ROWS;
    s.out = next, next += q_size;
    s.dout = next, next += q_size;
    s.row_max = next, next += QUERY_ROWS;
    s.row_sum = next;
    return s;
}

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

/// Of `keys` keys from row `first` of `range`, query i of the block sees one run: low ..< high.
EK_INLINE void find_visible(const ek_attention_block *block, const ek_key_range *range, ptrdiff_t first,
                            ptrdiff_t keys, ptrdiff_t i, ptrdiff_t *low, ptrdiff_t *high) {
    int64_t q_position = (int64_t)block->q_position + i;
    int64_t offset = (int64_t)range->position + first;
    int64_t from = q_position - block->window_behind + 1 - offset;
    int64_t to = q_position + block->window_ahead - offset;
    if (range->causal) {
        int64_t visible = (int64_t)block->q_start + i + 1 - (range->start + first);
        to = to < visible ? to : visible;
    }
    from = from < 0 ? 0 : from > keys ? keys : from;
    *low = from;
    *high = to < from ? from : to > keys ? keys : to;
}

/// The scores of the block's queries against `keys` keys from row `first` of `range`, with what is not visible masked.
EK_INLINE void compute_scores(const ek_attention_block *block, const attention_scratch *s, const ek_key_range *range,
                              ptrdiff_t first, ptrdiff_t keys) {
    ptrdiff_t padded = (keys + EK_WIDTH - 1) / EK_WIDTH * EK_WIDTH;
    gemm_small(block->q_count, padded, s->width, s->q, s->width, 1, s->k_transposed, KEY_ROWS, s->scores, KEY_ROWS, 0);
    for (ptrdiff_t i = 0; i < block->q_count; i++) {
        float *row = s->scores + i * KEY_ROWS;
        if (block->softcap > 0) {
            for (ptrdiff_t j = 0; j < padded; j += EK_WIDTH)
                store(row + j, block->softcap * tanh_vec(load(row + j) / block->softcap));
        }
        if (block->alibi_slope != 0) {
            for (ptrdiff_t j = 0; j < keys; j++)
                row[j] += block->alibi_slope * (float)(range->position + first + j);
        }
        ptrdiff_t low, high;
        find_visible(block, range, first, keys, i, &low, &high);
        for (ptrdiff_t j = 0; j < low; j++) row[j] = masked_score;
        for (ptrdiff_t j = high; j < padded; j++) row[j] = masked_score;
    }
}

/// Whether any query of the block sees any of `keys` keys from row `first` of `range`.
EK_INLINE int any_visible(const ek_attention_block *block, const ek_key_range *range, ptrdiff_t first,
                          ptrdiff_t keys) {
    int64_t q_last = (int64_t)block->q_position + block->q_count - 1;
    int64_t k_first = (int64_t)range->position + first, k_last = k_first + keys - 1;
    if (range->causal && range->start + first > (int64_t)block->q_start + block->q_count - 1) return 0;
    return k_last > (int64_t)block->q_position - block->window_behind && k_first < q_last + block->window_ahead;
}

/// Turns row i's scores into exponentials over the highest so far; the sum and the output so far shrink to match.
EK_INLINE void advance_softmax(const attention_scratch *s, ptrdiff_t i, ptrdiff_t padded) {
    float *row = s->scores + i * KEY_ROWS;
    vec top = load(row);
    for (ptrdiff_t j = EK_WIDTH; j < padded; j += EK_WIDTH) top = max_vec(top, load(row + j));
    float highest = max_of(top), before = s->row_max[i];
    float maximum = highest > before ? highest : before;
    if (maximum <= masked_score) {
        for (ptrdiff_t j = 0; j < padded; j++) row[j] = 0;
        return;
    }
    vec sum = splat(0);
    for (ptrdiff_t j = 0; j < padded; j += EK_WIDTH) {
        vec p = exp_vec(load(row + j) - maximum);
        store(row + j, p);
        sum += p;
    }
    float shrink = before <= masked_score ? 0 : expf(before - maximum);
    s->row_max[i] = maximum;
    s->row_sum[i] = s->row_sum[i] * shrink + sum_of(sum);
    if (shrink == 1) return;
    float *out = s->out + i * s->width;
    for (ptrdiff_t d = 0; d < s->width; d += EK_WIDTH) store(out + d, load(out + d) * shrink);
}

/// One query, as in decoding: keys and values are read where they lie, because copies would be used only once.
static void attend_one(const ek_attention_block *block, const attention_scratch *s) {
    for (ptrdiff_t r = 0; r < block->range_count; r++) {
        const ek_key_range *range = &block->ranges[r];
        for (ptrdiff_t first = 0; first < range->count; first += KEY_ROWS) {
            ptrdiff_t keys = range->count - first < KEY_ROWS ? range->count - first : KEY_ROWS, low, high;
            find_visible(block, range, first, keys, 0, &low, &high);
            if (low == high) continue;
            ptrdiff_t count = high - low, row0 = (range->start + first + low) * block->kv_stride;
            ptrdiff_t padded = (count + EK_WIDTH - 1) / EK_WIDTH * EK_WIDTH;
            for (ptrdiff_t j = 0; j < count; j++)
                s->scores[j] = dot(s->q, block->k + row0 + j * block->kv_stride, block->head_dim);
            for (ptrdiff_t j = 0; j < padded && block->softcap > 0; j += EK_WIDTH)
                store(s->scores + j, block->softcap * tanh_vec(load(s->scores + j) / block->softcap));
            for (ptrdiff_t j = 0; j < count && block->alibi_slope != 0; j++)
                s->scores[j] += block->alibi_slope * (float)(range->position + first + low + j);
            for (ptrdiff_t j = count; j < padded; j++) s->scores[j] = masked_score;
            advance_softmax(s, 0, padded);
            gemm_small(1, block->head_dim, count, s->scores, KEY_ROWS, 1, block->v + row0, block->kv_stride, s->out,
                       s->width, 1);
        }
    }
}

static void attention_forward(const ek_attention_block *block, float *out, ptrdiff_t out_stride, float *lse,
                              ptrdiff_t lse_stride) {
    attention_scratch s = divide_scratch(block);
    ptrdiff_t rows = block->q_count;
    copy_rows(s.q, s.width, block->q + block->q_start * block->q_stride, block->q_stride, rows, block->head_dim,
              block->scale);
    memset(s.out, 0, sizeof(float) * (size_t)(rows * s.width));
    for (ptrdiff_t i = 0; i < rows; i++) s.row_max[i] = masked_score, s.row_sum[i] = 0;
    if (rows == 1) attend_one(block, &s);
    for (ptrdiff_t r = 0; r < block->range_count && rows > 1; r++) {
        const ek_key_range *range = &block->ranges[r];
        for (ptrdiff_t first = 0; first < range->count; first += KEY_ROWS) {
            ptrdiff_t keys = range->count - first < KEY_ROWS ? range->count - first : KEY_ROWS;
            if (!any_visible(block, range, first, keys)) continue;
            ptrdiff_t padded = (keys + EK_WIDTH - 1) / EK_WIDTH * EK_WIDTH;
            ptrdiff_t row0 = (range->start + first) * block->kv_stride;
            transpose_rows(s.k_transposed, s.width, block->k + row0, block->kv_stride, keys, block->head_dim);
            copy_rows(s.v, s.width, block->v + row0, block->kv_stride, keys, block->head_dim, 1);
            compute_scores(block, &s, range, first, keys);
            for (ptrdiff_t i = 0; i < rows; i++) {
                advance_softmax(&s, i, padded);
            }
            gemm_small(rows, s.width, keys, s.scores, KEY_ROWS, 1, s.v, s.width, s.out, s.width, 1);
        }
    }
    for (ptrdiff_t i = 0; i < rows; i++) {
        float inverse = s.row_sum[i] > 0 ? 1.0f / s.row_sum[i] : 0;
        float *row = out + i * out_stride;
        for (ptrdiff_t d = 0; d < block->head_dim; d++) row[d] = s.out[i * s.width + d] * inverse;
        if (lse) lse[i * lse_stride] = s.row_max[i] + logf(s.row_sum[i]);
    }
}

/// scores becomes the probabilities, dscores (the gradient of the probabilities) that of the raw scores.
EK_INLINE void softmax_gradient(const ek_attention_block *block, const attention_scratch *s, ptrdiff_t padded,
                                const float *lse, ptrdiff_t lse_stride) {
    for (ptrdiff_t i = 0; i < block->q_count; i++) {
        float *row = s->scores + i * KEY_ROWS, *drow = s->dscores + i * KEY_ROWS;
        vec shift = splat(lse[i * lse_stride]), delta = splat(s->row_sum[i]);
        for (ptrdiff_t j = 0; j < padded; j += EK_WIDTH) {
            vec score = load(row + j);
            vec p = exp_vec(score - shift);
            vec d = p * (load(drow + j) - delta);
            if (block->softcap > 0) {
                vec t = score / block->softcap;
                d = score <= masked_score ? splat(0) : d * (1.0f - t * t);
            }
            store(row + j, p);
            store(drow + j, d);
        }
    }
}

static void attention_backward(const ek_attention_block *block, const float *out, const float *dout,
                               ptrdiff_t out_stride, const float *lse, ptrdiff_t lse_stride, float *dq,
                               ptrdiff_t dq_stride, float *dk, float *dv, ptrdiff_t dkv_stride) {
    attention_scratch s = divide_scratch(block);
    ptrdiff_t rows = block->q_count, head_dim = block->head_dim;
    copy_rows(s.q, s.width, block->q + block->q_start * block->q_stride, block->q_stride, rows, head_dim,
              block->scale);
    copy_rows(s.dout, s.width, dout, out_stride, rows, head_dim, 1);
    for (ptrdiff_t i = 0; i < rows; i++)  // here row_sum holds delta = dout . out
        s.row_sum[i] = dot(dout + i * out_stride, out + i * out_stride, head_dim);
    float *dq_local = s.out;
    memset(dq_local, 0, sizeof(float) * (size_t)(rows * s.width));
    for (ptrdiff_t r = 0; r < block->range_count; r++) {
        const ek_key_range *range = &block->ranges[r];
        for (ptrdiff_t first = 0; first < range->count; first += KEY_ROWS) {
            ptrdiff_t keys = range->count - first < KEY_ROWS ? range->count - first : KEY_ROWS;
            if (!any_visible(block, range, first, keys)) continue;
            ptrdiff_t padded = (keys + EK_WIDTH - 1) / EK_WIDTH * EK_WIDTH;
            ptrdiff_t key_row = range->start + first, row0 = key_row * block->kv_stride;
            transpose_rows(s.k_transposed, s.width, block->k + row0, block->kv_stride, keys, head_dim);
            transpose_rows(s.v_transposed, s.width, block->v + row0, block->kv_stride, keys, head_dim);
            copy_rows(s.k, s.width, block->k + row0, block->kv_stride, keys, head_dim, 1);
            compute_scores(block, &s, range, first, keys);
            gemm_small(rows, padded, s.width, s.dout, s.width, 1, s.v_transposed, KEY_ROWS, s.dscores, KEY_ROWS, 0);
            softmax_gradient(block, &s, padded, lse, lse_stride);
            gemm_small(keys, head_dim, rows, s.scores, 1, KEY_ROWS, s.dout, s.width, dv + key_row * dkv_stride,
                       dkv_stride, 1);
            gemm_small(keys, head_dim, rows, s.dscores, 1, KEY_ROWS, s.q, s.width, dk + key_row * dkv_stride,
                       dkv_stride, 1);
            gemm_small(rows, s.width, keys, s.dscores, KEY_ROWS, 1, s.k, s.width, dq_local, s.width, 1);
        }
    }
    for (ptrdiff_t i = 0; i < rows; i++) {
        for (ptrdiff_t d = 0; d < head_dim; d++) dq[i * dq_stride + d] = dq_local[i * s.width + d] * block->scale;
    }
}
