#if defined(__x86_64__)
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,bmi2"))), apply_to = function)
#define EK_TABLE ek_kernels_avx2
#define EK_NAME "avx2"
#define EK_WIDTH 8
#define EK_ROWS 6
#define EK_COLUMNS 2
#include "body.h"
#pragma clang attribute pop
#endif
