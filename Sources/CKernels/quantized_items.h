// What the kernels for quantised weights share: the cut, and the walk over an item's rows of the weight.
#include <string.h>

#include "dequantize.h"
#include "quantized.h"

/// The products of up to MAX_LEFT_ROWS rows of x, from `row` on, with a row of the weight.
typedef void (*row_kernel)(const ek_quantized_product *product, const uint8_t *blocks, ptrdiff_t row, float *sums);

/// Rows of x that are multiplied at once, by the index of their kernel.
enum { ROW_COUNTS = 4, MAX_LEFT_ROWS = 8 };
static const ptrdiff_t row_counts[ROW_COUNTS] = {1, 2, 4, 8};

/// Rows of the weight that stay in the first-level cache while all rows of x meet them.
enum { WEIGHT_ROWS = 16 };

static inline ptrdiff_t bytes_of_row(const ek_quantized_product *product) {
    const ek_block_type *type = ek_find_block_type(product->ggml_type);
    return product->inputs / type->block_elements * type->block_bytes;
}

static inline const float *left_floats(const ek_quantized_product *product, ptrdiff_t row) {
    return (const float *)((const uint8_t *)product->left + row * product->left_bytes);
}

/// Computes the weight's rows first ..< end of an item with kernels for row_counts.
static inline void multiply_weight_rows(const ek_quantized_product *product, ptrdiff_t first, ptrdiff_t end,
                                        ptrdiff_t row_bytes, const row_kernel kernels[ROW_COUNTS],
                                        float (*dot)(const float *a, const float *b, ptrdiff_t count)) {
    ptrdiff_t rank = product->rank;
    for (ptrdiff_t row = 0; row < product->rows;) {
        int chosen = ROW_COUNTS - 1;
        while (row_counts[chosen] > product->rows - row) chosen--;
        for (ptrdiff_t j = first; j < end; j++) {
            ptrdiff_t place = product->places ? product->places[j] : j;
            float sums[MAX_LEFT_ROWS];
            kernels[chosen](product, product->blocks + place * row_bytes, row, sums);
            for (ptrdiff_t i = 0; i < row_counts[chosen]; i++) {
                float *y = product->y + (row + i) * product->ldy + j;
                if (rank > 0) {
                    sums[i] += product->scale * dot(product->p + (row + i) * rank, product->b + j * rank, rank);
                }
                *y = product->accumulate ? *y + sums[i] : sums[i];
            }
        }
        row += row_counts[chosen];
    }
}

/// Calls `multiply_weight_rows` for an item, WEIGHT_ROWS at a time.
static inline void multiply_item(const ek_quantized_product *product, ptrdiff_t item,
                                 const row_kernel kernels[ROW_COUNTS],
                                 float (*dot)(const float *a, const float *b, ptrdiff_t count)) {
    ptrdiff_t items = ek_quantized_items(product), row_bytes = bytes_of_row(product);
    ptrdiff_t last = (item + 1) * product->outputs / items;
    for (ptrdiff_t first = item * product->outputs / items; first < last; first += WEIGHT_ROWS) {
        ptrdiff_t end = first + WEIGHT_ROWS < last ? first + WEIGHT_ROWS : last;
        multiply_weight_rows(product, first, end, row_bytes, kernels, dot);
    }
}
