#include <stdlib.h>
#include <string.h>

#include "kernels.h"

extern const ek_kernels ek_kernels_generic;
#if defined(__x86_64__)
extern const ek_kernels ek_kernels_avx2;
extern const ek_kernels ek_kernels_avx512;
extern const ek_attention_kernels ek_attention_avx512_bf16;
#endif

static const char *const names[] = {"generic", "avx2", "avx512", "avx512-bf16"};

const char *ek_isa_name(ek_isa isa) { return names[isa]; }

int ek_isa_available(ek_isa isa) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    int avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    switch (isa) {
        case EK_ISA_GENERIC: return 1;
        case EK_ISA_AVX2: return avx2;
        case EK_ISA_AVX512: return avx512;
        case EK_ISA_AVX512_BF16: return avx512 && __builtin_cpu_supports("avx512bf16");
    }
#endif
    return isa == EK_ISA_GENERIC;
}

ek_isa ek_isa_selected(void) {
    const char *wanted = getenv("ESPALIER_ISA");
    for (int isa = EK_ISA_AVX512_BF16; isa > EK_ISA_GENERIC; isa--) {
        if (ek_isa_available((ek_isa)isa) && (!wanted || strcmp(wanted, names[isa]) == 0)) return (ek_isa)isa;
    }
    // A name that is unknown or not available must not silently run something faster than was asked for.
    return EK_ISA_GENERIC;
}

const ek_kernels *ek_kernels_for(ek_isa isa) {
#if defined(__x86_64__)
    if (isa == EK_ISA_AVX2) return &ek_kernels_avx2;
    if (isa >= EK_ISA_AVX512) return &ek_kernels_avx512;
#endif
    return &ek_kernels_generic;
}

const ek_attention_kernels *ek_bf16_attention_for(ek_isa isa) {
#if defined(__x86_64__)
    if (isa == EK_ISA_AVX512_BF16) return &ek_attention_avx512_bf16;
#endif
    (void)isa;
    return NULL;
}

ptrdiff_t ek_attention_scratch(ptrdiff_t head_dim) {
    // Enough for the operands of either precision, the widest of which are panels of 32 columns.
    ptrdiff_t width = (head_dim + 31) / 32 * 32;
    return (3 * EK_ATTENTION_ROWS + 4 * EK_ATTENTION_KEYS) * width + 3 * EK_ATTENTION_ROWS * EK_ATTENTION_KEYS +
           2 * EK_ATTENTION_ROWS;
}
