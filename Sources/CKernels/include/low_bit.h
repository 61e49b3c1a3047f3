#pragma once
#include <stddef.h>
#include <stdint.h>

/* Weights in four or eight bits that a frozen base is kept in while an adapter is trained (Dettmers et al. 2023,
   QLoRA). The levels of NF4 are the paper's; codes, packing and scales are those of bitsandbytes. */

enum { EK_NF4_BLOCK = 64 };

/* The sixteen levels, ascending. */
extern const float ek_nf4_levels[16];

/* Cuts `count` floats into blocks of EK_NF4_BLOCK, the last of which may be short: scales[b] = max |x|, and of each
   element the nearest level of x / scale. The first element of a pair stands in the high half of its byte. */
void ek_encode_nf4(const float *x, ptrdiff_t count, uint8_t *packed, float *scales);

/* Elements first to first + count - 1; scales[0] belongs to the block of element `first`. */
void ek_decode_nf4(const uint8_t *packed, const float *scales, ptrdiff_t first, ptrdiff_t count, float *out);

/* One row: scale = max |x| / 127, and x / scale to the nearest integer, ties to even. Returns the scale. */
float ek_encode_int8(const float *x, ptrdiff_t count, int8_t *out);
void ek_decode_int8(const int8_t *x, float scale, ptrdiff_t count, float *out);
