#include "gemm_cut.h"

// Sizes of the cut. A packed panel of 32 columns and 1024 words takes 128 KiB: three of them stay in the second-level
// cache beside the tiles that stream by. Where the reduction is far deeper, more panels of fewer words are better.
enum { MAX_WORDS = 1024, PANELS = 3, DEEP = 4096, DEEP_WORDS = 512, DEEP_PANELS = 6 };

// R is packed for every piece of this many rows, which costs some 2 % of the piece.
enum { ROWS_PER_PIECE = 448 };

// Fewer items than this are cut into single panels, so that more threads than two have something to do.
enum { ENOUGH_ITEMS = 32 };

// An item of few rows reads this much of R: enough to outweigh handing it out.
enum { BYTES_PER_ROW_ITEM = 64 << 10 };

/// At least 1, and even if it is not 1, so that two threads finish together.
static ptrdiff_t one_or_even(ptrdiff_t count) { return count <= 1 ? 1 : (count + 1) / 2 * 2; }

ek_gemm_cut ek_gemm_own_cut(const ek_gemm_product *product) {
    ek_gemm_cut cut;
    ptrdiff_t panels = pieces_of(product->columns, EK_GEMM_PANEL_COLUMNS), words = all_words(product);
    int is_deep = words > DEEP;
    cut.row_pieces = one_or_even((product->rows + ROWS_PER_PIECE / 2) / ROWS_PER_PIECE);
    cut.depth_pieces = pieces_of(words, is_deep ? DEEP_WORDS : MAX_WORDS);
    if (cut.depth_pieces < 1) cut.depth_pieces = 1;
    cut.column_pieces = pieces_of(panels, is_deep ? DEEP_PANELS : PANELS);
    if (cut.row_pieces % 2 == 1) cut.column_pieces = one_or_even(cut.column_pieces);
    if (!is_deep && cut.row_pieces * cut.column_pieces < ENOUGH_ITEMS) cut.column_pieces = panels;
    if (cut.column_pieces > panels) cut.column_pieces = panels;
    cut.scratch_bytes = (size_t)(pieces_of(panels, cut.column_pieces) * EK_GEMM_PANEL_COLUMNS *
                                 pieces_of(words, cut.depth_pieces) * 4);
    return cut;
}

ptrdiff_t ek_gemm_row_items(const ek_gemm_product *product) {
    ptrdiff_t bytes = 0;
    for (int f = 0; f < product->factor_count; f++) {
        bytes += product->columns * product->factors[f].depth * (product->factors[f].is_f32 ? 4 : 2);
    }
    ptrdiff_t blocks = pieces_of(product->columns, 16);
    ptrdiff_t items = one_or_even(pieces_of(bytes, BYTES_PER_ROW_ITEM));
    return items < blocks ? items : blocks;
}

#if defined(__x86_64__)
extern const ek_gemm_kernels ek_gemm_avx512, ek_gemm_avx512_bf16;
#endif

const ek_gemm_kernels *ek_gemm_kernels_for(ek_isa isa, ek_gemm_precision precision) {
#if defined(__x86_64__)
    if (precision == EK_GEMM_BF16) return isa == EK_ISA_AVX512_BF16 ? &ek_gemm_avx512_bf16 : NULL;
    if (isa >= EK_ISA_AVX512) return &ek_gemm_avx512;
#endif
    (void)isa;
    (void)precision;
    return NULL;
}
