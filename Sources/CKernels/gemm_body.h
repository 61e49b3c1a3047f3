// A product's kernels, written once over words and compiled for f32 and for bf16. The including file sets EK_TABLE and
// EK_PRECISION, and defines WORD_ELEMENTS, VECTOR_ELEMENTS, multiply_add, words_of_f32, words_of_bf16, line_of_f32 and
// line_of_bf16.

/// The first `count` of 16 columns.
EK_INLINE __mmask16 first_columns(ptrdiff_t count) {
    return count >= 16 ? 0xffff : count <= 0 ? 0 : (__mmask16)((1u << count) - 1);
}

#include "gemm_pack.h"
#include "gemm_tile.h"
#include "gemm_rows.h"

const ek_gemm_kernels EK_TABLE = {
    .precision = EK_PRECISION,
    .left_step = EK_GEMM_TILE_STRIDE,
    .cut = ek_gemm_own_cut,
    .pack_left = pack_left,
    .multiply = multiply,
    .pack_rows = pack_rows,
    .multiply_rows = multiply_rows,
};
