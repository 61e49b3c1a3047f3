#pragma once
#include <stddef.h>
#include <stdint.h>

#include "kernels.h"

// Few rows times a weight that stays in the blocks of its file: decoding. Blocks are expanded in registers as they
// are read, so that the time is that of reading them.

/// y [rows, outputs] (+)= x [rows, inputs] · wᵀ, plus scale · p [rows, rank] · bᵀ where there is a low-rank factor.
typedef struct {
    const uint8_t *blocks;  // w [outputs, inputs], row after row, at any address
    uint32_t ggml_type;     // one that `ek_find_block_type` can dequantise
    ptrdiff_t outputs, inputs;  // inputs: a multiple of the type's block
    const int32_t *places;  // where each row of w stands among the stored ones; NULL: in order
    const void *left;       // x: packed, or for kernels that do not pack the floats themselves
    ptrdiff_t left_bytes;   // from one row of x to the next
    ptrdiff_t rows;
    const float *p, *b;     // b [outputs, rank]
    ptrdiff_t rank;         // 0: none
    float scale;
    int32_t accumulate;
    float *y;
    ptrdiff_t ldy;
} ek_quantized_product;

/// How many items any threads may compute in any order; it follows from the weight's size alone.
ptrdiff_t ek_quantized_items(const ek_quantized_product *product);

typedef struct {
    // Bytes of a packed row of x, 64-byte-aligned.
    ptrdiff_t (*left_bytes)(ptrdiff_t inputs);
    // Packs a row; NULL: products take the floats.
    void (*pack)(void *packed, const float *x, ptrdiff_t inputs);
    void (*multiply)(const ek_quantized_product *product, ptrdiff_t item);
} ek_quantized_kernels;

/// - is_exact: x as it is, times the values that dequantising gives; otherwise x is rounded to 16 bits with a scale for
///   every 32 elements, which is finer than bf16, where that is faster.
const ek_quantized_kernels *ek_quantized_kernels_for(ek_isa isa, int is_exact);
