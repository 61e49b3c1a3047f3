// A block's scratch space, around the operands that the including file has defined.

typedef struct {
    ptrdiff_t head_dim;
    ptrdiff_t width;          // head_dim rounded up to whole vectors
    float *scores, *dscores;  // [QUERY_ROWS, KEY_ROWS]
    float *out;               // [QUERY_ROWS, width]
    float *row_max, *row_sum; // [QUERY_ROWS]
    attention_operands o;
} attention_scratch;

EK_INLINE attention_scratch divide_scratch(const ek_attention_block *block) {
    attention_scratch s;
    s.head_dim = block->head_dim;
    s.width = whole_vectors(s.head_dim);
    float *next = place_operands(&s.o, s.width, block->scratch);
    s.out = next, next += QUERY_ROWS * s.width;
    s.scores = next, next += QUERY_ROWS * KEY_ROWS;
    s.dscores = next, next += QUERY_ROWS * KEY_ROWS;
    s.row_max = next, next += QUERY_ROWS;
    s.row_sum = next;
    return s;
}
