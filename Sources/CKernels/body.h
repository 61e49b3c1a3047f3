// The kernels, written once over vectors of EK_WIDTH floats and compiled once for every instruction set. The including
// file sets EK_TABLE, EK_NAME, EK_WIDTH and the register tile of the small matrix product, EK_ROWS x EK_COLUMNS.
#include <math.h>
#include <string.h>

#include "kernels.h"

// The order matters: each part uses the ones above.
#include "body_vector.h"
#include "body_elementwise.h"
#include "body_normalization.h"
#include "body_gemm.h"
#include "body_attention_f32.h"
#include "body_attention.h"
#include "body_attention_one.h"
#include "body_training.h"

const ek_kernels EK_TABLE = {
    .name = EK_NAME,
    .rms_norm_forward = rms_norm_forward,
    .rms_norm_backward = rms_norm_backward,
    .layer_norm_forward = layer_norm_forward,
    .layer_norm_backward = layer_norm_backward,
    .rotate = rotate,
    .gated_forward = gated_forward,
    .gated_backward = gated_backward,
    .xielu_forward = xielu_forward,
    .xielu_backward = xielu_backward,
    .xielu_backward_alphas = xielu_backward_alphas,
    .add_scaled = add_scaled,
    .sum = sum_scaled,
    .softmax_row = softmax_row,
    .attention = {attention_forward_f32, attention_backward},
    .gemm_small = gemm_small,
    .adamw = adamw,
    .squared_norm = squared_norm,
    .dropout = dropout,
    .bf16_to_f32 = bf16_to_f32,
    .f32_to_bf16 = f32_to_bf16,
    .f16_to_f32 = f16_to_f32,
};
