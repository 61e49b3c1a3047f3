// The kernels for quantised weights, written once over a way to multiply 32 elements. The including file sets EK_TABLE
// and EK_PACK and defines `sums`, `clear`, `add_group`, `total`, `dot` and `left_bytes`.

/// A kernel for `rows` rows of x and blocks of `elements` elements in `bytes` bytes.
#define ROW_KERNEL(name, elements, bytes, rows)                                                                       \
    static void name##_by_##rows(const ek_quantized_product *product, const uint8_t *blocks, ptrdiff_t row,           \
                                 float *totals) {                                                                     \
        sums all[rows];                                                                                               \
        _Pragma("clang loop unroll(full)") for (int i = 0; i < rows; i++) clear(&all[i]);                             \
        for (ptrdiff_t k = 0; k < product->inputs; k += elements, blocks += bytes) {                                  \
            factors f;                                                                                                \
            factors_##name(blocks, &f);                                                                               \
            _Pragma("clang loop unroll(full)") for (int s = 0; s < elements / 32; s++) {                              \
                int first = s * (32 / FACTORS_##name), last = first + 32 / FACTORS_##name - 1;                        \
                add_group(rows, FACTORS_##name, OFFSET_##name, group_##name(blocks, s), &f, first, last, product,     \
                          row, k + 32 * s, all);                                                                      \
            }                                                                                                         \
        }                                                                                                             \
        _Pragma("clang loop unroll(full)") for (int i = 0; i < rows; i++) totals[i] = total(&all[i]);                 \
    }

#define TYPE(name, elements, bytes)                                                                                   \
    ROW_KERNEL(name, elements, bytes, 1)                                                                              \
    ROW_KERNEL(name, elements, bytes, 2)                                                                              \
    ROW_KERNEL(name, elements, bytes, 4)                                                                              \
    ROW_KERNEL(name, elements, bytes, 8)                                                                              \
    static const row_kernel kernels_##name[ROW_COUNTS] = {name##_by_1, name##_by_2, name##_by_4, name##_by_8};

TYPE(q4_0, 32, 18)
TYPE(q4_1, 32, 20)
TYPE(q5_0, 32, 22)
TYPE(q5_1, 32, 24)
TYPE(q8_0, 32, 34)
TYPE(iq4_nl, 32, 18)
TYPE(q2_k, 256, 84)
TYPE(q3_k, 256, 110)
TYPE(q4_k, 256, 144)
TYPE(q5_k, 256, 176)
TYPE(q6_k, 256, 210)
TYPE(iq4_xs, 256, 136)

/// By the type's number in a GGUF file.
static const row_kernel *const kernels_of_type[24] = {
    [2] = kernels_q4_0,  [3] = kernels_q4_1,  [6] = kernels_q5_0,    [7] = kernels_q5_1,
    [8] = kernels_q8_0,  [10] = kernels_q2_k, [11] = kernels_q3_k,   [12] = kernels_q4_k,
    [13] = kernels_q5_k, [14] = kernels_q6_k, [20] = kernels_iq4_nl, [23] = kernels_iq4_xs,
};

static void multiply(const ek_quantized_product *product, ptrdiff_t item) {
    multiply_item(product, item, kernels_of_type[product->ggml_type], dot);
}

const ek_quantized_kernels EK_TABLE = {left_bytes, EK_PACK, multiply};
