#pragma once
#include <stddef.h>
#include <stdint.h>

// The arithmetic of the engine. Every function works on one thread on the rows it is given; the caller hands rows to
// threads. Matrices are row-major f32. T rows (tokens), C or width columns, D head dimension, V vocabulary.
// "+= if accumulate": the output is added to, otherwise overwritten.

typedef struct {
    int32_t start;   // first key row
    int32_t count;   // number of key rows
    int32_t causal;  // 1: key row start+j is visible to query row i only if start+j <= i
    int32_t position;  // position of the first key, for windows
} ek_key_range;

/// A block of query rows of one head and the rows of keys that it can see, in ascending order.
typedef struct {
    const float *q, *k, *v;     // first element of this head (q) and of its key/value head
    ptrdiff_t q_stride, kv_stride;  // floats from one row to the next
    int32_t q_start, q_count;   // query rows, all of one segment
    int32_t q_position;         // position of the first query row
    int32_t window_behind;      // a query at position p sees keys at positions > p - window_behind
    int32_t window_ahead;       // ... and < p + window_ahead; INT32_MAX: no limit
    float alibi_slope;          // added to every score: slope * position of the key
    const ek_key_range *ranges;
    ptrdiff_t range_count;
    int32_t head_dim;
    float scale;
    float softcap;              // scores become softcap * tanh(score / softcap); 0: not used
    float *scratch;             // ek_attention_scratch() floats
} ek_attention_block;

enum { EK_ATTENTION_ROWS = 64, EK_ATTENTION_KEYS = 64 };

typedef enum {
    EK_SILU = 0,
    EK_GELU = 1,
    EK_GELU_TANH = 2,
    EK_RELU2 = 3,
    EK_RELU = 4,
    EK_TANH = 5,
    EK_QUICK_GELU = 6  // x * sigmoid(1.702 x)
} ek_activation;

/// The constants of an xIELU (Huang, Schlag 2024), alphas after the softplus.
typedef struct {
    float alpha_p, alpha_n, beta, epsilon;
} ek_xielu;

/// The factors of an AdamW step, computed in double as PyTorch does and rounded once.
typedef struct {
    float keep;         // 1 - learning rate * weight decay
    float step;         // learning rate / (1 - beta1^t)
    float first_rate;   // 1 - beta1
    float second_keep;  // beta2
    float second_rate;  // 1 - beta2
    float second_root;  // sqrt(1 - beta2^t)
    float epsilon;
} ek_adamw_factors;

typedef struct {
    // out: [q_count, D] with out_stride; lse: [q_count] with lse_stride. Nothing of size T x T outlives the call.
    void (*forward)(const ek_attention_block *block, float *out, ptrdiff_t out_stride, float *lse,
                    ptrdiff_t lse_stride);
    // One block of queries: dq is overwritten, dk and dv (this query head's own, [T, D] with dkv_stride) are added to.
    // delta[i] = sum(dout[i] * out[i]) is computed inside.
    void (*backward)(const ek_attention_block *block, const float *out, const float *dout,
                     ptrdiff_t out_stride, const float *lse, ptrdiff_t lse_stride, float *dq,
                     ptrdiff_t dq_stride, float *dk, float *dv, ptrdiff_t dkv_stride);
} ek_attention_kernels;

typedef struct {
    const char *name;

    // y[r] = x[r] / sqrt(mean(x[r]^2) + epsilon) * (gain + offset); inverse[r] is kept for the backward pass.
    void (*rms_norm_forward)(float *y, float *inverse, const float *x, const float *gain, float offset,
                             ptrdiff_t rows, ptrdiff_t width, float epsilon);
    // dx (+)= and dgain +=; either may be NULL.
    void (*rms_norm_backward)(float *dx, float *dgain, const float *dy, const float *x, const float *gain,
                              float offset, const float *inverse, ptrdiff_t rows, ptrdiff_t width, int accumulate);

    // y[r] = (x[r] - mean) / sqrt(variance + epsilon) * gain + bias; gain and bias may be NULL; y is not x.
    void (*layer_norm_forward)(float *y, float *mean, float *inverse, const float *x, const float *gain,
                               const float *bias, ptrdiff_t rows, ptrdiff_t width, float epsilon);
    // dx (+)=, dgain and dbias +=; each may be NULL.
    void (*layer_norm_backward)(float *dx, float *dgain, float *dbias, const float *dy, const float *x,
                                const float *gain, const float *mean, const float *inverse, ptrdiff_t rows,
                                ptrdiff_t width, int accumulate);

    // Rotates the first 2*half of each head's D elements: pairs (i, i+half), or (2i, 2i+1) if interleaved.
    // x: [rows, heads, D] with `stride` floats per row; cosines, sines: [rows, half]; direction -1 rotates back.
    void (*rotate)(float *y, const float *x, const float *cosines, const float *sines, ptrdiff_t rows, ptrdiff_t heads,
                   ptrdiff_t head_dim, ptrdiff_t half, int interleaved, float direction, int accumulate);

    // y = act(gate) * up, element by element; the backward pass adds to or overwrites dgate and dup.
    void (*gated_forward)(float *y, const float *gate, const float *up, ptrdiff_t count, ek_activation activation);
    void (*gated_backward)(float *dgate, float *dup, const float *dy, const float *gate, const float *up,
                           ptrdiff_t count, ek_activation activation, int accumulate_gate, int accumulate_up);

    // x > 0: alpha_p x^2 + beta x, else alpha_n (expm1(min(x, epsilon)) - x) + beta x.
    void (*xielu_forward)(float *y, const float *x, ptrdiff_t count, ek_xielu factors);
    void (*xielu_backward)(float *dx, const float *dy, const float *x, ptrdiff_t count, ek_xielu factors,
                           int accumulate);
    // sums[0] += dalpha_p, sums[1] += dalpha_n
    void (*xielu_backward_alphas)(double sums[2], const float *dy, const float *x, ptrdiff_t count, ek_xielu factors);

    // y (+)= scale * x
    void (*add_scaled)(float *y, const float *x, float scale, ptrdiff_t count, int accumulate);
    // sum = a + scale * b
    void (*sum)(float *sum, const float *a, const float *b, float scale, ptrdiff_t count);

    // For a row of V logits: returns log(sum(exp)) and replaces the row by weight * softmax.
    float (*softmax_row)(float *logits, ptrdiff_t vocabulary, float weight);

    ek_attention_kernels attention;

    // C (+)= A * B; A[m][k] at a[m*a_row + k*a_column], B row-major with ldb, C row-major with ldc. For small shapes.
    void (*gemm_small)(ptrdiff_t m, ptrdiff_t n, ptrdiff_t k, const float *a, ptrdiff_t a_row, ptrdiff_t a_column,
                       const float *b, ptrdiff_t ldb, float *c, ptrdiff_t ldc, int accumulate);

    // AdamW (Loshchilov, Hutter 2019) as PyTorch orders it.
    void (*adamw)(float *parameter, const float *gradient, float *first, float *second, ptrdiff_t count,
                  float gradient_scale, ek_adamw_factors factors);
    // sum(x^2) in double, in a fixed order.
    double (*squared_norm)(const float *x, ptrdiff_t count);

    // y = x * mask / (1 - p), where element i is kept if hash(key, offset + i) >= p * 2^32; y may be x.
    void (*dropout)(float *y, const float *x, ptrdiff_t count, uint64_t key, uint64_t offset, float p, int accumulate);

    void (*bf16_to_f32)(float *y, const uint16_t *x, ptrdiff_t count);
    void (*f32_to_bf16)(uint16_t *y, const float *x, ptrdiff_t count);
    void (*f16_to_f32)(float *y, const uint16_t *x, ptrdiff_t count);
} ek_kernels;

/// Floats of scratch that attention needs for a head of `head_dim`.
ptrdiff_t ek_attention_scratch(ptrdiff_t head_dim);

/// The instruction sets with kernels of their own, slowest first.
typedef enum { EK_ISA_GENERIC = 0, EK_ISA_AVX2 = 1, EK_ISA_AVX512 = 2, EK_ISA_AVX512_BF16 = 3 } ek_isa;

/// The best set that the processor has, or the one that ESPALIER_ISA names (generic, avx2, avx512, avx512-bf16) if
/// the processor has that too.
ek_isa ek_isa_selected(void);
int ek_isa_available(ek_isa isa);
const char *ek_isa_name(ek_isa isa);
const ek_kernels *ek_kernels_for(ek_isa isa);

/// Attention whose products are in bf16; NULL where the instruction set has none.
const ek_attention_kernels *ek_bf16_attention_for(ek_isa isa);
