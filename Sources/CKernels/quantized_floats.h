// Multiplying 32 elements with floats: the bytes become the values that dequantising gives, up to the rounding of one
// fused operation. The including file defines vec (of WIDTH floats), load, splat, multiply_add, floats_of (the bytes'
// part `v` of 32 / WIDTH) and sum_of.

typedef struct {
    vec parts[32 / WIDTH];
} sums;

EK_INLINE void clear(sums *s) {
#pragma clang loop unroll(full)
    for (int v = 0; v < 32 / WIDTH; v++) s->parts[v] = splat(0);
}

EK_INLINE void add_group(const int rows, const int sharing, const int has_offset, __m256i bytes, const factors *f,
                         int first, int last, const ek_quantized_product *product, ptrdiff_t row, ptrdiff_t k,
                         sums *all) {
    (void)sharing;
#pragma clang loop unroll(full)
    for (int v = 0; v < 32 / WIDTH; v++) {
        int own = v * WIDTH < 16 ? first : last;
        vec scale = splat(f->scales[own]), value = floats_of(bytes, v);
        value = has_offset ? multiply_add(value, scale, splat(f->offsets[own])) : value * scale;
#pragma clang loop unroll(full)
        for (int i = 0; i < rows; i++) {
            vec x = load(left_floats(product, row + i) + k + v * WIDTH);
            all[i].parts[v] = multiply_add(value, x, all[i].parts[v]);
        }
    }
}

EK_INLINE float total(const sums *s) {
    vec sum = s->parts[0];
#pragma clang loop unroll(full)
    for (int v = 1; v < 32 / WIDTH; v++) sum += s->parts[v];
    return sum_of(sum);
}

static float dot(const float *a, const float *b, ptrdiff_t count) {
    vec sum = splat(0);
    ptrdiff_t k = 0;
    for (; k + WIDTH <= count; k += WIDTH) sum = multiply_add(load(a + k), load(b + k), sum);
    float rest = 0;
    for (; k < count; k++) rest += a[k] * b[k];
    return sum_of(sum) + rest;
}

static ptrdiff_t left_bytes(ptrdiff_t inputs) { return inputs * (ptrdiff_t)sizeof(float); }
