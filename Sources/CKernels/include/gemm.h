#pragma once
#include <stddef.h>
#include <stdint.h>

#include "kernels.h"

// Products of matrices: C [M, N] (+)= L [M, K] · R [K, N], with sums in f32. Factors are f32, or rounded to bf16
// (nearest, ties to even).
//
// Both sides are packed by words along K: a word is an f32, or a pair of bf16 neighbours that one instruction
// multiplies and adds. L is packed by itself, so that several products can share it; R is packed as it is used, from
// f32 or bf16 in memory, so that a mapped file is enough.

typedef enum { EK_GEMM_F32 = 0, EK_GEMM_BF16 = 1 } ek_gemm_precision;

/// L's rows are packed in tiles of at most this many; R's columns in panels of at most that many.
enum { EK_GEMM_TILE_ROWS = 14, EK_GEMM_PANEL_COLUMNS = 32, EK_GEMM_MAX_FACTORS = 2 };

/// Words from one place along K to the next in a packed tile.
enum { EK_GEMM_TILE_STRIDE = 16 };

/// A part of the right side: `depth` rows of R.
typedef struct {
    const void *values;   // bf16, or f32 if is_f32
    ptrdiff_t stride;     // elements from one stored row to the next
    ptrdiff_t depth;
    int32_t is_f32;
    int32_t is_transposed;  // 0: stored as R's rows, [depth, N]; 1: as its columns, [N, depth]
} ek_gemm_factor;

/// A product of a packed left side with factors that stand on each other along K.
typedef struct {
    ek_gemm_precision precision;
    ptrdiff_t rows, columns;  // M, N
    const uint32_t *left;     // packed: `ek_gemm_words` of every factor's depth, one after the other ...
    ptrdiff_t left_words;     // ... in tiles of this many words for each row
    ek_gemm_factor factors[EK_GEMM_MAX_FACTORS];
    int32_t factor_count;
    int32_t accumulate;
    float *c;
    ptrdiff_t ldc;
} ek_gemm_product;

/// How a product is cut into items that any thread may compute in any order: it follows from the sizes alone.
typedef struct {
    ptrdiff_t row_pieces, column_pieces;  // items = row_pieces * column_pieces
    ptrdiff_t depth_pieces;               // inside an item, one after the other
    size_t scratch_bytes;                 // what an item needs, 64-byte-aligned
} ek_gemm_cut;

/// The words that a depth takes: an odd one is filled up with a zero.
static inline ptrdiff_t ek_gemm_words(ek_gemm_precision precision, ptrdiff_t depth) {
    return precision == EK_GEMM_BF16 ? (depth + 1) / 2 : depth;
}

static inline ptrdiff_t ek_gemm_tiles(ptrdiff_t rows) { return (rows + EK_GEMM_TILE_ROWS - 1) / EK_GEMM_TILE_ROWS; }

/// All words of a packed left side of `rows` rows with `words` each.
static inline ptrdiff_t ek_gemm_packed_words(ptrdiff_t rows, ptrdiff_t words) {
    return ek_gemm_tiles(rows) * words * EK_GEMM_TILE_STRIDE;
}

/// At most this many rows are multiplied without packing R, if R is stored as its columns. Their left side is packed
/// row after row instead of in tiles, and every factor's depth is filled up to `ek_gemm_row_words`.
enum { EK_GEMM_FEW_ROWS = 16 };

static inline ptrdiff_t ek_gemm_row_words(ek_gemm_precision precision, ptrdiff_t depth) {
    return (ek_gemm_words(precision, depth) + 15) / 16 * 16;
}

/// The items of such a product.
ptrdiff_t ek_gemm_row_items(const ek_gemm_product *product);

typedef struct {
    ek_gemm_precision precision;
    // Words of a packed left side from one place along K to the next: EK_GEMM_TILE_STRIDE, or 1 where rows stand one
    // after the other.
    ptrdiff_t left_step;
    ek_gemm_cut (*cut)(const ek_gemm_product *product);

    // Packs tile `tile` of scale * L [rows, depth] into words first ..< first + ek_gemm_words(depth) of a packed side
    // with `words` a row in all. L[m][k] stands at values[m * stride + k], or [k * stride + m] if transposed.
    void (*pack_left)(uint32_t *packed, ptrdiff_t words, ptrdiff_t first, const float *values, ptrdiff_t stride,
                      int is_transposed, ptrdiff_t rows, ptrdiff_t depth, float scale, ptrdiff_t tile);
    // Computes item `item` of a product cut as `cut`; `scratch` is the item's own.
    void (*multiply)(const ek_gemm_product *product, const ek_gemm_cut *cut, ptrdiff_t item, void *scratch);

    // The same for few rows: packs all of them, and computes an item of `ek_gemm_row_items`.
    void (*pack_rows)(uint32_t *packed, ptrdiff_t words, ptrdiff_t first, const float *values, ptrdiff_t stride,
                      ptrdiff_t rows, ptrdiff_t depth, float scale);
    void (*multiply_rows)(const ek_gemm_product *product, ptrdiff_t item);
} ek_gemm_kernels;

/// NULL where the instruction set has none of this precision.
const ek_gemm_kernels *ek_gemm_kernels_for(ek_isa isa, ek_gemm_precision precision);
