#pragma once
#include <stddef.h>

#include "kernels.h"

// Loops that do nothing but what a limit of the machine is about: the measures that kernels are held against.

/// Multiplies and adds in registers; returns the floating-point operations done, some hundreds a round.
double ek_limit_f32(ek_isa isa, ptrdiff_t rounds);
/// The same with pairs of bf16; 0 where the instruction set has none.
double ek_limit_bf16(ek_isa isa, ptrdiff_t rounds);

/// Reads `count` floats, a multiple of 64 at an address of 64 bytes, and returns a sum of some of them.
float ek_limit_read(const float *values, ptrdiff_t count);
/// out = a + scale * b with stores that bypass the caches; count and addresses as above.
void ek_limit_triad(float *out, const float *a, const float *b, float scale, ptrdiff_t count);
