#pragma once
#include "gemm.h"

// oneDNN as a provider of products in bf16, where the machine has the library: libdnnl.so.3 or .2, found at run time
// and never required. It brings AMX on processors that have it.

/// NULL where the library is missing, has another interface, or this processor has no bf16 products of its own (which
/// compute the few rows of decoding). Every item is computed on the calling thread alone.
const ek_gemm_kernels *ek_onednn_kernels(void);

/// "3.13.0", or why `ek_onednn_kernels` is NULL.
const char *ek_onednn_status(void);

/// Whether the processor multiplies bf16 in tiles (AMX).
int ek_has_amx_bf16(void);
