#include "quantized_items.h"

// The cut, the choice of kernels, and those for any processor: a piece of a row is dequantised and multiplied.

// An item reads this much of the weight: enough to outweigh handing it out.
enum { BYTES_PER_ITEM = 32 << 10 };

ptrdiff_t ek_quantized_items(const ek_quantized_product *product) {
    ptrdiff_t pieces = (product->outputs * bytes_of_row(product) + BYTES_PER_ITEM - 1) / BYTES_PER_ITEM;
    // An even number, so that two threads finish together.
    ptrdiff_t items = pieces <= 1 ? 1 : (pieces + 1) / 2 * 2;
    return items < product->outputs ? items : product->outputs;
}

/// Elements that are dequantised at once: a whole number of blocks of every type.
enum { PIECE = 256, LANES = 8 };

static float dot(const float *a, const float *b, ptrdiff_t count) {
    float sums[LANES] = {0};
    ptrdiff_t k = 0;
    for (; k + LANES <= count; k += LANES) {
        for (int lane = 0; lane < LANES; lane++) sums[lane] += a[k + lane] * b[k + lane];
    }
    for (int lane = 0; k < count; k++, lane++) sums[lane] += a[k] * b[k];
    float total = 0;
    for (int lane = 0; lane < LANES; lane++) total += sums[lane];
    return total;
}

static void multiply_row(const ek_quantized_product *product, const uint8_t *blocks, ptrdiff_t row, ptrdiff_t rows,
                         float *sums) {
    const ek_block_type *type = ek_find_block_type(product->ggml_type);
    float values[PIECE];
    for (ptrdiff_t i = 0; i < rows; i++) sums[i] = 0;
    for (ptrdiff_t k = 0; k < product->inputs; k += PIECE) {
        ptrdiff_t count = product->inputs - k < PIECE ? product->inputs - k : PIECE;
        type->dequantize(blocks + k / type->block_elements * type->block_bytes, values, count);
        for (ptrdiff_t i = 0; i < rows; i++) sums[i] += dot(values, left_floats(product, row + i) + k, count);
    }
}

#define ROW_KERNEL(rows)                                                                                              \
    static void multiply_##rows(const ek_quantized_product *product, const uint8_t *blocks, ptrdiff_t row,            \
                                float *sums) {                                                                        \
        multiply_row(product, blocks, row, rows, sums);                                                               \
    }

ROW_KERNEL(1)
ROW_KERNEL(2)
ROW_KERNEL(4)
ROW_KERNEL(8)

static void multiply(const ek_quantized_product *product, ptrdiff_t item) {
    static const row_kernel kernels[ROW_COUNTS] = {multiply_1, multiply_2, multiply_4, multiply_8};
    multiply_item(product, item, kernels, dot);
}

static ptrdiff_t float_bytes(ptrdiff_t inputs) { return inputs * (ptrdiff_t)sizeof(float); }

static const ek_quantized_kernels any_processor = {float_bytes, NULL, multiply};

#if defined(__x86_64__)
extern const ek_quantized_kernels ek_quantized_avx2, ek_quantized_avx512, ek_quantized_avx512_words;
#endif

const ek_quantized_kernels *ek_quantized_kernels_for(ek_isa isa, int is_exact) {
#if defined(__x86_64__)
    if (isa >= EK_ISA_AVX512) return is_exact ? &ek_quantized_avx512 : &ek_quantized_avx512_words;
    if (isa == EK_ISA_AVX2) return &ek_quantized_avx2;
#endif
    (void)isa;
    (void)is_exact;
    return &any_processor;
}
