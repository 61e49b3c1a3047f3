#pragma once
#include <stddef.h>
#include <stdint.h>

/* Stored element types to float and back. Blocks may stand at any address; all multi-byte fields are little endian.
   Names and layouts are those of ggml; `count` is a number of elements, a multiple of the block's. Every product and
   sum is rounded to float by itself (no fused multiply-add), so results do not depend on the processor. */

typedef void (*ek_dequantize_function)(const void *blocks, float *out, ptrdiff_t count);

typedef struct ek_block_type {
    uint32_t ggml_type;
    int32_t block_elements;
    int32_t block_bytes;
    const char *name;
    /* Null for a type whose size is known but whose values cannot be read. */
    ek_dequantize_function dequantize;
} ek_block_type;

/* The type with this number in a GGUF file; null if unknown or removed from the format. */
const ek_block_type *ek_find_block_type(uint32_t ggml_type);

/* The types in order of their numbers; `index` from 0 to ek_block_type_count() - 1. */
const ek_block_type *ek_block_type_at(ptrdiff_t index);
ptrdiff_t ek_block_type_count(void);

void ek_convert_f32(const void *source, float *out, ptrdiff_t count);
void ek_convert_f16(const void *source, float *out, ptrdiff_t count);
void ek_convert_bf16(const void *source, float *out, ptrdiff_t count);
void ek_convert_f64(const void *source, float *out, ptrdiff_t count);
void ek_convert_i8(const void *source, float *out, ptrdiff_t count);
void ek_convert_i16(const void *source, float *out, ptrdiff_t count);
void ek_convert_i32(const void *source, float *out, ptrdiff_t count);
void ek_convert_i64(const void *source, float *out, ptrdiff_t count);
void ek_convert_u8(const void *source, float *out, ptrdiff_t count);
void ek_convert_u16(const void *source, float *out, ptrdiff_t count);
void ek_convert_u32(const void *source, float *out, ptrdiff_t count);
void ek_convert_u64(const void *source, float *out, ptrdiff_t count);
/* Any byte but 0 is 1. */
void ek_convert_bool(const void *source, float *out, ptrdiff_t count);

void ek_dequantize_q4_0(const void *blocks, float *out, ptrdiff_t count);
void ek_dequantize_q4_1(const void *blocks, float *out, ptrdiff_t count);
void ek_dequantize_q5_0(const void *blocks, float *out, ptrdiff_t count);
void ek_dequantize_q5_1(const void *blocks, float *out, ptrdiff_t count);
void ek_dequantize_q8_0(const void *blocks, float *out, ptrdiff_t count);
void ek_dequantize_q2_k(const void *blocks, float *out, ptrdiff_t count);
void ek_dequantize_q3_k(const void *blocks, float *out, ptrdiff_t count);
void ek_dequantize_q4_k(const void *blocks, float *out, ptrdiff_t count);
void ek_dequantize_q5_k(const void *blocks, float *out, ptrdiff_t count);
void ek_dequantize_q6_k(const void *blocks, float *out, ptrdiff_t count);
void ek_dequantize_iq4_nl(const void *blocks, float *out, ptrdiff_t count);
void ek_dequantize_iq4_xs(const void *blocks, float *out, ptrdiff_t count);

/* Nearest value, ties to even; what is too large becomes an infinity and a NaN stays one. */
void ek_encode_f16(const float *source, void *out, ptrdiff_t count);
void ek_encode_bf16(const float *source, void *out, ptrdiff_t count);

/* How many of `count` floats are NaN or infinite. */
ptrdiff_t ek_count_nonfinite(const float *values, ptrdiff_t count);
