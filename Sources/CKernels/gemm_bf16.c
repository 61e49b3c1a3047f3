#include "gemm_bf16.h"

// Sizes of the cut. A panel of 32 columns and 1024 pairs takes 128 KiB: four of them stay in the second-level cache.
enum { MAX_PAIRS = 1024, MAX_PANELS = 4, ROWS_PER_PIECE = 448 };

static ptrdiff_t pieces_of(ptrdiff_t count, ptrdiff_t size) { return (count + size - 1) / size; }

static ptrdiff_t all_pairs(const ek_bf16_product *product) {
    ptrdiff_t pairs = 0;
    for (int f = 0; f < product->factor_count; f++) pairs += ek_bf16_pairs(product->factors[f].depth);
    return pairs;
}

/// Rows are cut first, but not so small that packing R for each piece would show; then columns, into an even number of
/// items where that is possible, so that two threads finish together.
ek_bf16_cut ek_bf16_cut_of(const ek_bf16_product *product) {
    ek_bf16_cut cut;
    ptrdiff_t panels = pieces_of(product->columns, EK_BF16_PANEL_COLUMNS);
    cut.row_pieces = (product->rows + ROWS_PER_PIECE / 2) / ROWS_PER_PIECE;
    if (cut.row_pieces < 1) cut.row_pieces = 1;
    if (cut.row_pieces > 1) cut.row_pieces = (cut.row_pieces + 1) / 2 * 2;
    cut.column_pieces = pieces_of(panels, MAX_PANELS);
    ptrdiff_t pairs = all_pairs(product);
    cut.depth_pieces = pieces_of(pairs, MAX_PAIRS);
    if (cut.depth_pieces < 1) cut.depth_pieces = 1;
    if (cut.row_pieces % 2 == 1 && cut.column_pieces % 2 == 1 && panels > 1) cut.column_pieces += 1;
    cut.scratch_bytes = (size_t)(pieces_of(panels, cut.column_pieces) * EK_BF16_PANEL_COLUMNS *
                                 pieces_of(pairs, cut.depth_pieces) * 4);
    return cut;
}

#if defined(__x86_64__)
#include <immintrin.h>

#define EK_INLINE static inline __attribute__((always_inline))
#ifndef EK_PREFETCH
#define EK_PREFETCH 16
#endif

#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,bmi2"))), apply_to = function)
#include "gemm_bf16_pack.h"
#include "gemm_bf16_tile.h"

static void multiply(const ek_bf16_product *product, const ek_bf16_cut *cut, ptrdiff_t item, void *scratch) {
    ptrdiff_t tiles = ek_bf16_tiles(product->rows), panels = pieces_of(product->columns, EK_BF16_PANEL_COLUMNS);
    ptrdiff_t row_piece = item % cut->row_pieces, column_piece = item / cut->row_pieces;
    ptrdiff_t first_tile = row_piece * tiles / cut->row_pieces, end_tile = (row_piece + 1) * tiles / cut->row_pieces;
    ptrdiff_t first_panel = column_piece * panels / cut->column_pieces;
    ptrdiff_t end_panel = (column_piece + 1) * panels / cut->column_pieces;
    ptrdiff_t pairs = all_pairs(product);
    for (ptrdiff_t d = 0; d < cut->depth_pieces; d++) {
        ptrdiff_t first = d * pairs / cut->depth_pieces, count = (d + 1) * pairs / cut->depth_pieces - first;
        uint32_t *packed = scratch;
        for (ptrdiff_t panel = first_panel; panel < end_panel; panel++) {
            ptrdiff_t column = panel * EK_BF16_PANEL_COLUMNS, columns = product->columns - column;
            if (columns > EK_BF16_PANEL_COLUMNS) columns = EK_BF16_PANEL_COLUMNS;
            pack_panel(packed + (panel - first_panel) * count * EK_BF16_PANEL_COLUMNS, product, column, columns, first,
                       count);
        }
        int accumulate = product->accumulate || d > 0;
        for (ptrdiff_t tile = first_tile; tile < end_tile; tile++) {
            ptrdiff_t row = tile * product->rows / tiles, rows = (tile + 1) * product->rows / tiles - row;
            const uint32_t *left = product->left + (tile * product->left_pairs + first) * EK_BF16_TILE_STRIDE;
            for (ptrdiff_t panel = first_panel; panel < end_panel; panel++) {
                ptrdiff_t column = panel * EK_BF16_PANEL_COLUMNS, columns = product->columns - column;
                int vectors = columns > 16 ? 2 : 1;
                __mmask16 mask = (__mmask16)first_bits(columns - 16 * (vectors - 1) > 16 ? 16 : columns - 16 * (vectors - 1));
                tile_kernels[rows - 1][vectors - 1](left, packed + (panel - first_panel) * count * EK_BF16_PANEL_COLUMNS,
                                                    product->c + row * product->ldc + column, product->ldc, count, mask,
                                                    accumulate);
            }
        }
    }
}

static const ek_bf16_kernels avx512_bf16_kernels = {.pack_left = pack_left, .multiply = multiply};
#pragma clang attribute pop

const ek_bf16_kernels *ek_bf16_kernels_for(ek_isa isa) {
    return isa == EK_ISA_AVX512_BF16 ? &avx512_bf16_kernels : NULL;
}
#else
const ek_bf16_kernels *ek_bf16_kernels_for(ek_isa isa) {
    (void)isa;
    return NULL;
}
#endif
