// Vectors of EK_WIDTH floats: loads, reductions and elementary functions.

typedef float vec __attribute__((ext_vector_type(EK_WIDTH)));
typedef int32_t ivec __attribute__((ext_vector_type(EK_WIDTH)));
typedef vec loose_vec __attribute__((aligned(4)));

#define EK_INLINE static inline __attribute__((always_inline))

EK_INLINE vec load(const float *p) { return *(const loose_vec *)p; }
EK_INLINE void store(float *p, vec x) { *(loose_vec *)p = x; }
EK_INLINE vec splat(float x) { return (vec)x; }

/// The first n < EK_WIDTH elements at p, the others `fill`.
EK_INLINE vec load_tail(const float *p, ptrdiff_t n, float fill) {
    float padded[EK_WIDTH];
    for (int i = 0; i < EK_WIDTH; i++) padded[i] = i < n ? p[i] : fill;
    return load(padded);
}

EK_INLINE void store_tail(float *p, vec x, ptrdiff_t n) {
    float padded[EK_WIDTH];
    store(padded, x);
    for (ptrdiff_t i = 0; i < n; i++) p[i] = padded[i];
}

/// The sum of the elements, by halves: the order is part of the result's promise to be the same every time.
EK_INLINE float sum_of(vec x) {
    float part[EK_WIDTH];
    store(part, x);
    for (int half = EK_WIDTH / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) part[i] += part[i + half];
    }
    return part[0];
}

EK_INLINE float max_of(vec x) {
    float part[EK_WIDTH];
    store(part, x);
    for (int half = EK_WIDTH / 2; half > 0; half /= 2) {
        for (int i = 0; i < half; i++) part[i] = part[i] > part[i + half] ? part[i] : part[i + half];
    }
    return part[0];
}

EK_INLINE vec max_vec(vec a, vec b) { return a > b ? a : b; }
EK_INLINE vec min_vec(vec a, vec b) { return a < b ? a : b; }

/// e^x to about 1 ulp between -87.3 and 88; 0 below, e^88 above. Range reduction as in Cephes' expf.
EK_INLINE vec exp_vec(vec x) {
    const vec round = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
    vec clamped = min_vec(max_vec(x, splat(-87.33f)), splat(88.0f));
    vec n = (clamped * 1.44269504088896341f + round) - round;
    vec r = clamped - n * 0.693359375f;
    r = r - n * -2.12194440e-4f;
    vec p = splat(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * (r * r) + r + 1.0f;
    ivec exponent = (__builtin_convertvector(n, ivec) + 127) << 23;
    vec power;
    memcpy(&power, &exponent, sizeof power);
    vec result = p * power;
    return x < -87.33f ? splat(0.0f) : result;
}

/// e^x - 1, exact near 0 too, where the difference would cancel.
EK_INLINE vec expm1_vec(vec x) {
    vec p = 1.0f + x * (1.0f / 8);
    p = 1.0f + x * (1.0f / 7) * p;
    p = 1.0f + x * (1.0f / 6) * p;
    p = 1.0f + x * (1.0f / 5) * p;
    p = 1.0f + x * (1.0f / 4) * p;
    p = 1.0f + x * (1.0f / 3) * p;
    p = 1.0f + x * (1.0f / 2) * p;
    return x * x < 0.25f ? x * p : exp_vec(x) - 1.0f;
}

EK_INLINE vec sigmoid_vec(vec x) { return 1.0f / (1.0f + exp_vec(-x)); }

/// tanh(x) with an absolute error below 1e-7.
EK_INLINE vec tanh_vec(vec x) {
    vec clamped = min_vec(max_vec(x, splat(-15.0f)), splat(15.0f));
    vec e = exp_vec(2.0f * clamped);
    vec squared = clamped * clamped;
    // Near 0 the quotient cancels; there the Taylor series to x^7 is exact to f32.
    vec series = clamped * (1.0f + squared * (-0.333333333f + squared * (0.133333333f - squared * 0.0539682540f)));
    return squared < 0.01f ? series : (e - 1.0f) / (e + 1.0f);
}

/// erf(x) with an absolute error below 2e-7: a rational minimax approximation on [-4, 4], where f32's erf reaches 1.
EK_INLINE vec erf_vec(vec x) {
    vec clamped = min_vec(max_vec(x, splat(-4.0f)), splat(4.0f));
    vec s = clamped * clamped;
    vec p = splat(-2.72614225801306e-10f);
    p = p * s + 2.77068142495902e-08f;
    p = p * s + -2.10102402082508e-06f;
    p = p * s + -5.69250639462346e-05f;
    p = p * s + -7.34990630326855e-04f;
    p = p * s + -2.95459980854025e-03f;
    p = p * s + -1.60960333262415e-02f;
    vec q = splat(-1.45660718464996e-05f);
    q = q * s + -2.13374055278905e-04f;
    q = q * s + -1.68282697438203e-03f;
    q = q * s + -7.37332916720468e-03f;
    q = q * s + -1.42647390514189e-02f;
    return clamped * p / q;
}

EK_INLINE float dot(const float *a, const float *b, ptrdiff_t count) {
    vec s0 = splat(0), s1 = splat(0);
    ptrdiff_t i = 0;
    for (; i + 2 * EK_WIDTH <= count; i += 2 * EK_WIDTH) {
        s0 += load(a + i) * load(b + i);
        s1 += load(a + i + EK_WIDTH) * load(b + i + EK_WIDTH);
    }
    float rest = 0;
    for (; i < count; i++) rest += a[i] * b[i];
    return sum_of(s0 + s1) + rest;
}
