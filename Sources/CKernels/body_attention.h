// Attention in blocks with a running softmax (Dao 2023): no matrix of tokens x tokens exists, forwards or backwards.

// The including file has defined the operands and their products: place_operands, hold_queries, hold_keys,
// multiply_scores, add_values, multiply_dscores and add_gradients.

// Below any real score; a finite value keeps the arithmetic free of inf - inf.
static const float masked_score = -1e30f;

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
    ptrdiff_t padded = whole_vectors(keys);
    multiply_scores(s, block->q_count, keys);
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

/// Divides the outputs by the sums of their exponentials, and keeps the logarithms of those for the backward pass.
EK_INLINE void finish_rows(const ek_attention_block *block, const attention_scratch *s, float *out,
                           ptrdiff_t out_stride, float *lse, ptrdiff_t lse_stride) {
    for (ptrdiff_t i = 0; i < block->q_count; i++) {
        float inverse = s->row_sum[i] > 0 ? 1.0f / s->row_sum[i] : 0;
        float *row = out + i * out_stride;
        for (ptrdiff_t d = 0; d < block->head_dim; d++) row[d] = s->out[i * s->width + d] * inverse;
        if (lse) lse[i * lse_stride] = s->row_max[i] + logf(s->row_sum[i]);
    }
}

static void attention_forward(const ek_attention_block *block, float *out, ptrdiff_t out_stride, float *lse,
                              ptrdiff_t lse_stride) {
    attention_scratch s = divide_scratch(block);
    ptrdiff_t rows = block->q_count;
    hold_queries(&s, block, NULL, 0);
    memset(s.out, 0, sizeof(float) * (size_t)(rows * s.width));
    for (ptrdiff_t i = 0; i < rows; i++) s.row_max[i] = masked_score, s.row_sum[i] = 0;
    for (ptrdiff_t r = 0; r < block->range_count; r++) {
        const ek_key_range *range = &block->ranges[r];
        for (ptrdiff_t first = 0; first < range->count; first += KEY_ROWS) {
            ptrdiff_t keys = range->count - first < KEY_ROWS ? range->count - first : KEY_ROWS;
            if (!any_visible(block, range, first, keys)) continue;
            hold_keys(&s, block, range->start + first, keys, 0);
            compute_scores(block, &s, range, first, keys);
            for (ptrdiff_t i = 0; i < rows; i++) advance_softmax(&s, i, whole_vectors(keys));
            add_values(&s, rows, keys);
        }
    }
    finish_rows(block, &s, out, out_stride, lse, lse_stride);
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
    hold_queries(&s, block, dout, out_stride);
    for (ptrdiff_t i = 0; i < rows; i++)  // here row_sum holds delta = dout . out
        s.row_sum[i] = dot(dout + i * out_stride, out + i * out_stride, head_dim);
    memset(s.out, 0, sizeof(float) * (size_t)(rows * s.width));  // here out holds dq
    for (ptrdiff_t r = 0; r < block->range_count; r++) {
        const ek_key_range *range = &block->ranges[r];
        for (ptrdiff_t first = 0; first < range->count; first += KEY_ROWS) {
            ptrdiff_t keys = range->count - first < KEY_ROWS ? range->count - first : KEY_ROWS;
            if (!any_visible(block, range, first, keys)) continue;
            ptrdiff_t key_row = range->start + first;
            hold_keys(&s, block, key_row, keys, 1);
            compute_scores(block, &s, range, first, keys);
            multiply_dscores(&s, rows, keys);
            softmax_gradient(block, &s, whole_vectors(keys), lse, lse_stride);
            add_gradients(&s, rows, keys, dk + key_row * dkv_stride, dv + key_row * dkv_stride, dkv_stride);
        }
    }
    for (ptrdiff_t i = 0; i < rows; i++) {
        for (ptrdiff_t d = 0; d < head_dim; d++) dq[i * dq_stride + d] = s.out[i * s.width + d] * block->scale;
    }
}
