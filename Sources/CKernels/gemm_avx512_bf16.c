#if defined(__x86_64__)
#include <immintrin.h>

#include "gemm_cut.h"

#define EK_INLINE static inline __attribute__((always_inline))
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,fma,bmi2"))), \
                             apply_to = function)

#define EK_TABLE ek_gemm_avx512_bf16

#include "gemm_words_bf16.h"
#include "gemm_body.h"
#pragma clang attribute pop
#endif
