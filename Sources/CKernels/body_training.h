// The optimiser, the norm of a gradient, and dropout.

static void adamw(float *parameter, const float *gradient, float *first, float *second, ptrdiff_t count,
                  float gradient_scale, ek_adamw_factors f) {
    for (ptrdiff_t i = 0; i < count; i++) {
        float g = gradient[i] * gradient_scale;
        float m = first[i] + (g - first[i]) * f.first_rate;
        float v = second[i] * f.second_keep + f.second_rate * g * g;
        first[i] = m;
        second[i] = v;
        parameter[i] = parameter[i] * f.keep - f.step * m / (sqrtf(v) / f.second_root + f.epsilon);
    }
}

static double squared_norm(const float *x, ptrdiff_t count) {
    double sums[8] = {0};
    ptrdiff_t i = 0;
    for (; i + 8 <= count; i += 8) {
        for (int j = 0; j < 8; j++) sums[j] += (double)x[i + j] * (double)x[i + j];
    }
    for (; i < count; i++) sums[0] += (double)x[i] * (double)x[i];
    return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

/// A 32-bit mix of a 64-bit key and a 64-bit counter: two rounds of MurmurHash3's finaliser.
EK_INLINE uint32_t mix(uint64_t key, uint64_t counter) {
    uint32_t x = (uint32_t)counter ^ (uint32_t)key;
    x = (x ^ x >> 16) * 0x85EBCA6Bu;
    x = (x ^ x >> 13) * 0xC2B2AE35u;
    x ^= x >> 16 ^ (uint32_t)(key >> 32) ^ (uint32_t)(counter >> 32) * 0x9E3779B1u;
    x = (x ^ x >> 16) * 0x85EBCA6Bu;
    x = (x ^ x >> 13) * 0xC2B2AE35u;
    return x ^ x >> 16;
}

static void dropout(float *y, const float *x, ptrdiff_t count, uint64_t key, uint64_t offset, float p,
                    int accumulate) {
    uint32_t threshold = (uint32_t)((double)p * 4294967296.0);
    float scale = 1.0f / (1.0f - p);
    for (ptrdiff_t i = 0; i < count; i++) {
        float kept = mix(key, offset + (uint64_t)i) >= threshold ? x[i] * scale : 0;
        y[i] = accumulate ? y[i] + kept : kept;
    }
}
