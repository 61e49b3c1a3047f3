// Attention of a single query.

/// One query, as in decoding: keys and values are read where they lie, because copies would be used only once.
static void attend_one(const ek_attention_block *block, float *out, ptrdiff_t out_stride, float *lse,
                       ptrdiff_t lse_stride) {
    attention_scratch scratch = divide_scratch(block), *s = &scratch;
    hold_queries(s, block, NULL, 0);
    memset(s->out, 0, sizeof(float) * (size_t)s->width);
    s->row_max[0] = masked_score, s->row_sum[0] = 0;
    for (ptrdiff_t r = 0; r < block->range_count; r++) {
        const ek_key_range *range = &block->ranges[r];
        for (ptrdiff_t first = 0; first < range->count; first += KEY_ROWS) {
            ptrdiff_t keys = range->count - first < KEY_ROWS ? range->count - first : KEY_ROWS, low, high;
            find_visible(block, range, first, keys, 0, &low, &high);
            if (low == high) continue;
            ptrdiff_t count = high - low, row0 = (range->start + first + low) * block->kv_stride;
            ptrdiff_t padded = whole_vectors(count);
            for (ptrdiff_t j = 0; j < count; j++)
                s->scores[j] = dot(s->o.q, block->k + row0 + j * block->kv_stride, block->head_dim);
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
    finish_rows(block, s, out, out_stride, lse, lse_stride);
}

static void attention_forward_f32(const ek_attention_block *block, float *out, ptrdiff_t out_stride, float *lse,
                                  ptrdiff_t lse_stride) {
    (block->q_count == 1 ? attend_one : attention_forward)(block, out, out_stride, lse, lse_stride);
}
