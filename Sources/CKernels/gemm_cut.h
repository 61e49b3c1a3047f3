// What the cut of a product and its kernels share.
#include "gemm.h"

typedef struct {
    ptrdiff_t start, end;
} range;

static inline ptrdiff_t pieces_of(ptrdiff_t count, ptrdiff_t size) { return (count + size - 1) / size; }

/// Piece `index` of `pieces` nearly equal ones of 0 ..< count.
static inline range piece(ptrdiff_t index, ptrdiff_t pieces, ptrdiff_t count) {
    return (range){index * count / pieces, (index + 1) * count / pieces};
}

static inline ptrdiff_t all_words(const ek_gemm_product *product) {
    ptrdiff_t words = 0;
    for (int f = 0; f < product->factor_count; f++) {
        words += ek_gemm_words(product->precision, product->factors[f].depth);
    }
    return words;
}

/// The cut of the package's own kernels.
ek_gemm_cut ek_gemm_own_cut(const ek_gemm_product *product);
