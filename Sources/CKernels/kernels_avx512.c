#if defined(__x86_64__)
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,fma,f16c,bmi2"))), \
                             apply_to = function)
#define EK_TABLE ek_kernels_avx512
#define EK_NAME "avx512"
#define EK_WIDTH 16
#define EK_ROWS 6
#define EK_COLUMNS 4
#include "body.h"
#pragma clang attribute pop
#endif
