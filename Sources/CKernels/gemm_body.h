// A product's kernels, written once over words and compiled for f32 and for bf16. The including file sets EK_TABLE and
// EK_PRECISION, and defines WORD_ELEMENTS, VECTOR_ELEMENTS, multiply_add, words_of_f32, words_of_bf16, line_of_f32 and
// line_of_bf16.

#include "gemm_pack.h"
#include "gemm_tile.h"
#include "gemm_rows.h"

static void multiply(const ek_gemm_product *product, const ek_gemm_cut *cut, ptrdiff_t item, void *scratch) {
    range tiles = piece(item % cut->row_pieces, cut->row_pieces, ek_gemm_tiles(product->rows));
    range panels = piece(item / cut->row_pieces, cut->column_pieces,
                         pieces_of(product->columns, EK_GEMM_PANEL_COLUMNS));
    uint32_t *packed = scratch;
    for (ptrdiff_t d = 0; d < cut->depth_pieces; d++) {
        range depth = piece(d, cut->depth_pieces, all_words(product));
        ptrdiff_t words = depth.end - depth.start;
        for (ptrdiff_t panel = panels.start; panel < panels.end; panel++) {
            range columns = panel_columns(product, panel);
            pack_panel(packed + (panel - panels.start) * words * EK_GEMM_PANEL_COLUMNS, product, columns.start,
                       columns.end - columns.start, depth.start, words);
        }
        multiply_tiles(product, tiles, panels, depth, packed, product->accumulate || d > 0);
    }
}

const ek_gemm_kernels EK_TABLE = {
    .precision = EK_PRECISION,
    .left_step = EK_GEMM_TILE_STRIDE,
    .cut = ek_gemm_own_cut,
    .pack_left = pack_left,
    .multiply = multiply,
    .pack_rows = pack_rows,
    .multiply_rows = multiply_rows,
};
