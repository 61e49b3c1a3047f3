#pragma once
#include <stddef.h>
#include <stdint.h>

#include "kernels.h"

// Products of f32 matrices in bfloat16: C [M, N] (+)= L [M, K] · R [K, N], where L's and R's elements are rounded to
// bf16 (nearest, ties to even) unless they are bf16 already, and all sums are f32.
//
// Both sides are packed by pairs of neighbours along K, which one instruction multiplies and adds. L is packed by
// itself, so that several products can share it; R is packed as it is used, so that a mapped file is enough.

/// L's rows are packed in tiles of at most this many; R's columns in panels of at most that many.
enum { EK_BF16_TILE_ROWS = 14, EK_BF16_PANEL_COLUMNS = 32, EK_BF16_MAX_FACTORS = 2 };

/// Words (pairs of bf16) from one pair of a packed tile to the next.
enum { EK_BF16_TILE_STRIDE = 16 };

/// A part of the right side: `depth` rows of R.
typedef struct {
    const void *values;   // bf16, or f32 if is_f32
    ptrdiff_t stride;     // elements from one stored row to the next
    ptrdiff_t depth;
    int32_t is_f32;
    int32_t is_transposed;  // 0: stored as R's rows, [depth, N]; 1: as its columns, [N, depth]
} ek_bf16_factor;

/// A product of a packed left side with factors that stand on each other along K.
typedef struct {
    ptrdiff_t rows, columns;  // M, N
    const uint32_t *left;     // packed: `ek_bf16_pairs` of every factor's depth, one after the other ...
    ptrdiff_t left_pairs;     // ... in tiles of this many pairs
    ek_bf16_factor factors[EK_BF16_MAX_FACTORS];
    int32_t factor_count;
    int32_t accumulate;
    float *c;
    ptrdiff_t ldc;
} ek_bf16_product;

/// How a product is cut into items that any thread may compute in any order: it follows from the sizes alone.
typedef struct {
    ptrdiff_t row_pieces, column_pieces;  // items = row_pieces * column_pieces
    ptrdiff_t depth_pieces;               // inside an item, one after the other
    size_t scratch_bytes;                 // what an item needs, 64-byte-aligned
} ek_bf16_cut;

/// The pairs that a depth takes: an odd one is filled up with zeros.
static inline ptrdiff_t ek_bf16_pairs(ptrdiff_t depth) { return (depth + 1) / 2; }

static inline ptrdiff_t ek_bf16_tiles(ptrdiff_t rows) { return (rows + EK_BF16_TILE_ROWS - 1) / EK_BF16_TILE_ROWS; }

/// Words of a packed left side of `rows` rows and `pairs` pairs.
static inline ptrdiff_t ek_bf16_packed_words(ptrdiff_t rows, ptrdiff_t pairs) {
    return ek_bf16_tiles(rows) * pairs * EK_BF16_TILE_STRIDE;
}

ek_bf16_cut ek_bf16_cut_of(const ek_bf16_product *product);

typedef struct {
    // Packs tile `tile` of scale * L [rows, depth] into pairs first_pair ..< first_pair + ek_bf16_pairs(depth) of a
    // packed side with `pairs` in all. L[m][k] stands at values[m * stride + k], or [k * stride + m] if transposed.
    void (*pack_left)(uint32_t *packed, ptrdiff_t pairs, ptrdiff_t first_pair, const float *values, ptrdiff_t stride,
                      int is_transposed, ptrdiff_t rows, ptrdiff_t depth, float scale, ptrdiff_t tile);
    // Computes item `item` of a product cut as `cut`; `scratch` is the item's own.
    void (*multiply)(const ek_bf16_product *product, const ek_bf16_cut *cut, ptrdiff_t item, void *scratch);
} ek_bf16_kernels;

/// NULL where the instruction set has no bf16 products.
const ek_bf16_kernels *ek_bf16_kernels_for(ek_isa isa);
